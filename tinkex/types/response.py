"""Sample response, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import field, fields, frozen

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import shown, whole
from tinkex.types._forms.columns import Column, OptionalColumn, float_column
from tinkex.types._json.form import mapping, present, table, word
from tinkex.types._json.numbers import json_numbers, json_rows, read_numbers, read_rows
from tinkex.types.sequence import SampledSequence
from tinkex.types.tensor import TensorData
from tinkex.types.topk import Row, TopkLogprobs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _prompt_logprobs(values: Iterable[float | None] | Column | None) -> Column | None:
    return None if values is None else float_column("prompt_logprobs", values, OptionalColumn)


def _topk_prompt_logprobs(rows: Iterable[Row] | None) -> TopkLogprobs | None:
    return table(rows)


@with_field_docs
@frozen(eq=False, repr=False)
class PromptAltTokens(Fieldwise):
    """Other tokens the model might have had at each prompt position after the first.

    Row i of both tensors, of shape `(len(prompt) - 1, k)`, belongs to prompt position i + 1.
    """

    tokens: TensorData
    """Token ids (int64), drawn with replacement at the request's temperature."""
    logprobs: TensorData
    """Their log-probabilities (float32)."""

    def to_dict(self) -> dict[str, Any]:
        """Return both tensors as a JSON object."""
        return {"tokens": self.tokens.to_dict(), "logprobs": self.logprobs.to_dict()}

    @classmethod
    def from_dict(cls, plain: Any) -> PromptAltTokens:
        """Read what `to_dict` made, or a server sent."""
        plain = mapping("prompt_alt_tokens", plain)
        return cls(TensorData.from_dict(plain.get("tokens")), TensorData.from_dict(plain.get("logprobs")))


@with_field_docs
@frozen(eq=False, repr=False)
class Usage(Fieldwise):
    """Token usage of a sample."""

    prompt_tokens: int = 0
    """Tokens of the prompt; pictures of unknown length count as 0."""
    sampled_tokens: int = 0
    """Tokens of all sequences together."""
    prompt_cache_hit_tokens: int = 0
    """Prompt tokens the server found in its prefix cache, and bills as such."""


@with_field_docs
@frozen(eq=False, repr=False)
class Timing(Fieldwise):
    """Time spent in each phase of a sample, in seconds."""

    queued: float = 0.0
    """Waiting for a place in the client."""
    submit: float = 0.0
    """Sending the request, pauses and retries included."""
    wait: float = 0.0
    """Waiting for the server to finish."""
    fetch: float = 0.0
    """Reading and decoding the result."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.queued + self.submit + self.wait + self.fetch


def _sequences(values: Iterable[SampledSequence]) -> tuple[SampledSequence, ...]:
    sequences = tuple(values)
    for index, sequence in enumerate(sequences):
        if not isinstance(sequence, SampledSequence):
            raise TypeError(f"sequences[{index}] must be a SampledSequence, got {shown(sequence)}")
    return sequences


def _cache_hits(value: int | None) -> int:
    return 0 if value is None else whole("prompt_cache_hit_tokens", value, 0)


@with_field_docs
@frozen(eq=False, repr=False)
class SampleResponse(Fieldwise):
    """Response to a sample. Immutable; safe to share between threads.

    Two responses are equal when the server computed the same; `request_id`, `usage` and `timing` do not count. Lists
    are made on first use and kept, so treat them as read-only. Tests can make one of plain lists:

    >>> response = SampleResponse([SampledSequence([5, 7])], prompt_logprobs=[None, -1.0])
    >>> response.sequences[0].tokens, response.prompt_logprobs
    ([5, 7], [None, -1.0])
    """

    sequences: tuple[SampledSequence, ...] = field(converter=_sequences)
    """As many as `num_samples` asked for."""
    _prompt_logprobs: Column | None = field(default=None, alias="prompt_logprobs", converter=_prompt_logprobs)
    _topk_prompt_logprobs: TopkLogprobs | None = field(
        default=None, alias="topk_prompt_logprobs", converter=_topk_prompt_logprobs
    )
    target_prompt_logprobs: TensorData | None = None
    """Log-probabilities of the asked-for ids, float32 in the request's shape and layout, 0 where it had -1."""
    prompt_alt_tokens: PromptAltTokens | None = None
    """Other tokens at each prompt position; None unless `prompt_alt_tokens_k` was asked for."""
    prompt_cache_hit_tokens: int = field(default=0, converter=_cache_hits)
    """Prompt tokens billed as prefix-cache hits; 0 also where the server does not say."""
    request_id: str | None = field(default=None, eq=False)
    """The server's id of the request."""
    usage: Usage | None = field(default=None, eq=False)
    """Token counts; None in a response made by hand."""
    timing: Timing | None = field(default=None, eq=False)
    """Where the time went; None in a response made by hand."""

    @property
    def prompt_logprobs(self) -> list[float | None] | None:
        """The log-probability of each prompt token, None where undefined, as the first always is.

        None instead of the list if the server sent none.
        """
        return None if self._prompt_logprobs is None else self._prompt_logprobs.values

    @property
    def topk_prompt_logprobs(self) -> TopkLogprobs | None:
        """The likeliest tokens at each prompt position; None unless asked for."""
        return self._topk_prompt_logprobs

    @property
    def prompt_logprobs_np(self) -> NDArray[np.float32] | None:
        """The prompt's log-probabilities as a NumPy array of float32, NaN where undefined, or None."""
        return None if self._prompt_logprobs is None else self._prompt_logprobs.numpy("float32")

    def _finished(
        self,
        sequences: tuple[SampledSequence, ...],
        prompt_logprobs: Column | None,
        topk_prompt_logprobs: TopkLogprobs | None,
        target_prompt_logprobs: TensorData | None,
        prompt_alt_tokens: PromptAltTokens | None,
        request_id: str | None,
        usage: Usage,
        timing: Timing | None,
    ) -> SampleResponse:
        """Return a response with these parts and the rest of this one; all are checked already."""
        made = object.__new__(SampleResponse)
        put = object.__setattr__
        put(made, "sequences", sequences)
        put(made, "_prompt_logprobs", prompt_logprobs)
        put(made, "_topk_prompt_logprobs", topk_prompt_logprobs)
        put(made, "target_prompt_logprobs", target_prompt_logprobs)
        put(made, "prompt_alt_tokens", prompt_alt_tokens)
        put(made, "prompt_cache_hit_tokens", self.prompt_cache_hit_tokens)
        put(made, "request_id", request_id)
        put(made, "usage", usage)
        put(made, "timing", timing)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return the response as a JSON object that `from_dict` reads; absent fields are left out.

        JSON has no number for the log-probability of an impossible token: minus infinity is -9999.0, as in OpenAI's
        API, and NaN is None. `from_dict` reads -9999.0 as minus infinity.
        """
        prompt_logprobs = self.prompt_logprobs
        return present(
            sequences=[sequence.to_dict() for sequence in self.sequences],
            prompt_logprobs=prompt_logprobs and json_numbers(prompt_logprobs),
            topk_prompt_logprobs=json_rows(self._topk_prompt_logprobs),
            target_prompt_logprobs=self.target_prompt_logprobs and self.target_prompt_logprobs.to_dict(),
            prompt_alt_tokens=self.prompt_alt_tokens and self.prompt_alt_tokens.to_dict(),
            prompt_cache_hit_tokens=self.prompt_cache_hit_tokens,
            request_id=self.request_id,
            usage=self.usage and _as_dict(self.usage),
            timing=self.timing and _as_dict(self.timing),
        )

    @classmethod
    def from_dict(cls, plain: Any) -> SampleResponse:
        """Read what `to_dict` made, or a server sent; unknown keys are ignored.

        Raises:
            TypeError: Something in it has the wrong type.
            ValueError: Its parts do not fit together.
        """
        plain = mapping("response", plain)
        sequences = plain.get("sequences")
        if not isinstance(sequences, (list, tuple)):
            raise TypeError(f"sequences must be a list, got {shown(sequences)}")
        target, alternatives = plain.get("target_prompt_logprobs"), plain.get("prompt_alt_tokens")
        return cls(
            sequences=[SampledSequence.from_dict(sequence) for sequence in sequences],
            prompt_logprobs=read_numbers("prompt_logprobs", plain.get("prompt_logprobs"), OptionalColumn),
            topk_prompt_logprobs=read_rows(plain.get("topk_prompt_logprobs")),
            target_prompt_logprobs=None if target is None else TensorData.from_dict(target),
            prompt_alt_tokens=None if alternatives is None else PromptAltTokens.from_dict(alternatives),
            prompt_cache_hit_tokens=plain.get("prompt_cache_hit_tokens"),
            request_id=word(plain.get("request_id")),
            usage=_facts(Usage, plain.get("usage")),
            timing=_facts(Timing, plain.get("timing")),
        )

    def __repr__(self) -> str:
        parts = [f"sequences={list(self.sequences)!r}"]
        if self._prompt_logprobs is not None:
            parts.append(f"prompt_logprobs={self._prompt_logprobs!r}")
        if self.request_id is not None:
            parts.append(f"request_id={self.request_id!r}")
        return f"SampleResponse({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return what notebooks show: each sequence as it shows itself, and what is known of the prompt."""
        from tinkex.types._forms.notebook import block, count, likelihood, note

        parts = [each._repr_html_() for each in self.sequences[:_MOST_SHOWN]]
        if left := len(self.sequences) - len(parts):
            parts.append(note(f"… {count(left, 'more sequence')}"))
        if self.prompt_logprobs is not None:
            says = [f"prompt of {count(len(self.prompt_logprobs), 'token')}", *likelihood(self.prompt_logprobs[1:])]
            parts.insert(0, note(" · ".join(says)))
        return block(parts)


_MOST_SHOWN: Final = 8  # sequences in a notebook


def _as_dict(facts: Usage | Timing) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in _NAMES[type(facts)]}


def _facts(kind: type[Any], plain: Any) -> Any:
    if not isinstance(plain, Mapping):
        return None
    return kind(**{name: plain[name] for name in _NAMES[kind] if name in plain})


_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in (Usage, Timing)}
