"""Sampling parameters: how to draw tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from attrs import field, frozen

from tinkex._validation.calls import with_explained_init
from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import real, shown, whole
from tinkex.types._forms.tokens import token_tuple

Stop = str | tuple[str, ...] | tuple[int, ...] | None


def _max_tokens(value: int | None) -> int | None:
    return None if value is None else whole("max_tokens", value, 1)


def _seed(value: int | None) -> int | None:
    return None if value is None else whole("seed", value, -(2**63), 2**64 - 1)


def _temperature(value: float) -> float:
    number = real("temperature", value)
    if number < 0:
        raise ValueError(f"temperature must be at least 0, got {number}")
    return number


def _top_k(value: int) -> int:
    return whole("top_k", value, -1)


def _top_p(value: float) -> float:
    number = real("top_p", value)
    if not 0 < number <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {number}")
    return number


def _stop(value: str | Sequence[str] | Sequence[int] | None) -> Stop:
    if value is None:
        return None
    if isinstance(value, str):
        return _stop_text("stop", value)
    if isinstance(value, (bytes, bytearray, Mapping, AbstractSet)) or not isinstance(value, Iterable):
        raise TypeError(f"stop must be a string, strings or token ids, got {shown(value)}")
    items: tuple[Any, ...] = tuple(value)
    texts = [isinstance(item, str) for item in items]
    if not any(texts):
        return token_tuple("stop", items)
    if not all(texts):
        raise TypeError("stop must be all strings or all token ids, not a mix")
    return tuple([_stop_text(f"stop[{i}]", text) for i, text in enumerate(items)])


def _stop_text(name: str, text: str) -> str:
    if not text:
        raise ValueError(f"{name} must not be an empty string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is not valid Unicode text: {shown(text)}") from None
    return text


@with_explained_init
@with_field_docs
@frozen(eq=False, repr=False)
class SamplingParams(Fieldwise):
    """Sampling parameters: how to draw tokens. Immutable; safe to share between threads and samples.

    - *max_tokens*: most tokens to generate, at least 1. `SampleRequest` wants it set.
    - *seed*: for repeatable draws; None lets the server choose.
    - *stop*: a string, several strings, or several token ids, any of which ends a sequence.
      None stops at the model's own end token, where the server knows it; an empty list at
      nothing but *max_tokens*.
    - *temperature*: 0 is greedy; 1 draws from the model's distribution.
    - *top_k*: draw from the k likeliest tokens; -1 for all. (0 is sent as it is: most
      servers take it as all.)
    - *top_p*: draw from the likeliest tokens that hold this share, above 0 and at most 1.

    An unknown name, a wrong type (bool is no number) or a value out of range raises TypeError
    or ValueError that names the field.

    >>> SamplingParams(max_tokens=16, stop=["."]).stop
    ('.',)
    """

    max_tokens: int | None = field(default=None, converter=_max_tokens)
    seed: int | None = field(default=None, converter=_seed)
    stop: Stop = field(default=None, converter=_stop)
    temperature: float = field(default=1.0, converter=_temperature)
    top_k: int = field(default=-1, converter=_top_k)
    top_p: float = field(default=1.0, converter=_top_p)
    # The parameters as JSON, kept by the encoder.
    _encoded: bytes | None = field(default=None, init=False, repr=False, eq=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return SamplingParams, (self.max_tokens, self.seed, self.stop, self.temperature, self.top_k, self.top_p)
