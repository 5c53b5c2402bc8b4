"""Sampled sequence: one of the sequences of a response."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from attrs import field, frozen

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import shown
from tinkex.types._forms.columns import Column, float_column, int_column
from tinkex.types._json.form import mapping, present, table, word
from tinkex.types._json.numbers import json_numbers, json_rows, read_numbers, read_rows
from tinkex.types.topk import Row, TopkLogprobs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

StopReason = Literal["length", "stop"]
"""The reasons for which sequences end today; `stop_reason` itself may be a newer word."""


class TextDecoder(Protocol):
    """Decoder interface: any tokenizer with `decode`, which turns token ids into text."""

    def decode(self, tokens: list[int], /) -> str:
        """Return the text."""


def _tokens(values: Iterable[int] | Column) -> Column:
    return int_column("tokens", values)


def _logprobs(values: Iterable[float | None] | Column | None) -> Column | None:
    return None if values is None else float_column("logprobs", values)


def _topk_logprobs(rows: Iterable[Row] | None) -> TopkLogprobs | None:
    return table(rows)


def _stop_reason(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"stop_reason must be a string, got {shown(value)}")
    return value


@with_field_docs
@frozen(eq=False, repr=False)
class SampledSequence(Fieldwise):
    """One sampled sequence. Immutable; lists are made on first use and kept, so treat them as read-only.

    >>> sequence = SampledSequence([5, 7], logprobs=[-0.5, -1.0], stop_reason="length")
    >>> sequence.tokens, sum(sequence.logprobs)
    ([5, 7], -1.5)
    """

    _tokens: Column = field(alias="tokens", converter=_tokens)
    _logprobs: Column | None = field(default=None, alias="logprobs", converter=_logprobs)
    _topk_logprobs: TopkLogprobs | None = field(default=None, alias="topk_logprobs", converter=_topk_logprobs)
    stop_reason: str = field(default="stop", converter=_stop_reason)
    """Why it ended: "stop", or "length" at `max_tokens`; a newer server may have other words."""
    sequence_id: str | None = None
    """The server's id of this sequence; None where the server gives none."""

    def __attrs_post_init__(self) -> None:
        count = len(self._tokens)
        if self._logprobs is not None and len(self._logprobs) != count:
            if len(self._logprobs):
                raise ValueError(f"logprobs must be as many as the {count} tokens, got {len(self._logprobs)}")
            # Some servers write an empty list for "not asked for".
            object.__setattr__(self, "_logprobs", None)
        if self._topk_logprobs is not None and self._topk_logprobs.length != count:
            raise ValueError(f"topk_logprobs must have {count} rows, one a token, got {self._topk_logprobs.length}")

    @property
    def tokens(self) -> list[int]:
        """The sampled token ids."""
        return self._tokens.values

    @property
    def logprobs(self) -> list[float] | None:
        """The log-probability of each token, NaN where the server gave none; None if it sent none at all."""
        return None if self._logprobs is None else self._logprobs.values

    @property
    def topk_logprobs(self) -> TopkLogprobs | None:
        """The likeliest tokens at each position; None unless `topk_sample_logprobs` was asked for."""
        return self._topk_logprobs

    @property
    def tokens_np(self) -> NDArray[np.int32]:
        """The token ids as a NumPy array of int32: where possible a read-only view, without a copy."""
        return self._tokens.numpy("int32")  # type: ignore[no-any-return]

    @property
    def logprobs_np(self) -> NDArray[np.float32] | None:
        """The log-probabilities as a NumPy array of float32, or None; a view as for `tokens_np`."""
        return None if self._logprobs is None else self._logprobs.numpy("float32")

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self._tokens)

    def text(self, tokenizer: TextDecoder, **options: Any) -> str:
        """Return the tokens as text.

        *options* are those of the tokenizer's `decode`: `skip_special_tokens=True` leaves out the token that ended a
        chat model's answer, and every other control token: on gpt-oss the names of the channels then run into the text.
        `tinkex.chat.ChatFormat.parse` takes an answer apart.
        """
        decode: Any = tokenizer.decode
        return str(decode(self.tokens, **options))

    def with_id(self, sequence_id: str) -> SampledSequence:
        """Return the same sequence under another id; what is in it is shared, not checked again."""
        made = object.__new__(SampledSequence)
        for name in _SHARED:
            object.__setattr__(made, name, getattr(self, name))
        object.__setattr__(made, "sequence_id", sequence_id)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return the sequence as a JSON object; absent fields are left out.

        JSON has no number for the log-probability of an impossible token: minus infinity is -9999.0, as in OpenAI's
        API, and NaN is None. `from_dict` reads -9999.0 as minus infinity.
        """
        logprobs = self.logprobs
        return present(
            tokens=self.tokens,
            logprobs=logprobs and json_numbers(logprobs),
            topk_logprobs=json_rows(self._topk_logprobs),
            stop_reason=self.stop_reason,
            sequence_id=self.sequence_id,
        )

    @classmethod
    def from_dict(cls, plain: Any) -> SampledSequence:
        """Read what `to_dict` made, or a server sent; unknown keys are ignored."""
        plain = mapping("sequence", plain)
        topk = plain.get("topk_logprobs")
        return cls(
            plain.get("tokens"),
            read_numbers("logprobs", plain.get("logprobs")),
            read_rows(plain.get("topk_sampled_logprobs") if topk is None else topk),
            _stop_reason(plain.get("stop_reason") or "stop").lower(),
            word(plain.get("sequence_id")),
        )

    def __repr__(self) -> str:
        parts = [f"tokens={self._tokens!r}", f"stop_reason={self.stop_reason!r}"]
        if self._logprobs is not None:
            parts.insert(1, f"logprobs={self._logprobs!r}")
        if self.sequence_id is not None:
            parts.append(f"sequence_id={self.sequence_id!r}")
        return f"SampledSequence({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return what notebooks show: its tokens, coloured by log-probability, the likeliest others on pointing."""
        from tinkex.types._forms.notebook import sequence_html  # as few samples as are shown need it

        return sequence_html(self.tokens, self.logprobs, self.topk_logprobs, self.stop_reason)


_SHARED = ("_tokens", "_logprobs", "_topk_logprobs", "stop_reason")
