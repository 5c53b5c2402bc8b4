"""What a tokenizer is to tinkex, and how other libraries' tokenizers are brought into that form."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import attrs

from tinkex.errors import TinkexError


class TokenizerError(TinkexError):
    """A tokenizer cannot be had; the message names the model, what was tried and what helps."""


class Tokenizer(Protocol):
    """What tinkex asks of a tokenizer."""

    def encode(self, text: str, /) -> list[int]:
        """Turn text into token ids, with the special tokens that the model puts around every text."""

    def decode(self, ids: Sequence[int], /) -> str:
        """Turn token ids into text."""


@attrs.frozen(repr=False)
class LoadedTokenizer:
    """A ``tokenizer.json`` in memory; safe to share between threads."""

    name: str
    _inner: Any

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids; special tokens written in the text are read as such."""
        return list(self._inner.encode(checked_text(text)).ids)

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Turn token ids into text, special tokens included unless they are to be skipped."""
        return str(self._inner.decode(checked_ids(ids), skip_special_tokens=skip_special_tokens))

    def __repr__(self) -> str:
        return f"<tokenizer of {self.name}>"


@attrs.frozen(repr=False)
class AdaptedTokenizer:
    """A tokenizer of the caller's, its answers brought into one form; as safe to share as the original."""

    _inner: Any

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids, the way the original does by default."""
        encoded = self._inner.encode(checked_text(text))
        return checked_ids(getattr(encoded, "ids", encoded))

    def decode(self, ids: Iterable[int], **options: Any) -> str:
        """Turn token ids into text; options are the original's own."""
        return str(self._inner.decode(checked_ids(ids), **options))

    def __repr__(self) -> str:
        return f"<tokenizer {self._inner!r}>"


def adapt(candidate: object) -> LoadedTokenizer | AdaptedTokenizer:
    """Bring an object with ``encode`` and ``decode`` into tinkex's form; TypeError for any other."""
    if isinstance(candidate, LoadedTokenizer | AdaptedTokenizer):
        return candidate
    methods = (getattr(candidate, "encode", None), getattr(candidate, "decode", None))
    if isinstance(candidate, type) or not all(map(callable, methods)):
        raise TypeError(
            "tokenizer: expected a model name, a path or an object with encode and decode,"
            f" got {type(candidate).__name__}"
        )
    return AdaptedTokenizer(candidate)


def checked_text(text: object) -> str:
    """Return the text, or say what is wrong with it."""
    if not isinstance(text, str):
        raise TypeError(f"text: expected str, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text: not valid Unicode at character {error.start} (a lone surrogate)") from None
    return text


def checked_ids(ids: Iterable[int]) -> list[int]:
    """Return token ids as a list of plain integers, whatever sequence they came in."""
    checked = list(map(operator.index, ids))
    if checked and min(checked) < 0:
        raise ValueError(f"token ids: expected non-negative integers, got {min(checked)}")
    return checked
