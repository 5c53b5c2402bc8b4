"""Decode token ids for readers: without special tokens, and run by run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tinkex.tokenizers._adapters import Tokenizer

_INCOMPLETE: Final = "\ufffd"
_LONGEST_CHARACTER: Final = 8  # tokens; what is not readable after so many never will be


def text_decoder(tokenizer: Tokenizer) -> Callable[[list[int]], str]:
    """Return the tokenizer's `decode`, without special tokens where it has the keyword `skip_special_tokens`."""
    known: Any = tokenizer
    decode = functools.partial(known.decode, skip_special_tokens=True)
    with contextlib.suppress(Exception):  # one that wants at least one token
        try:
            decode([])
        except TypeError:
            return tokenizer.decode
    return decode


def token_runs(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> Iterator[tuple[int, int, str]]:
    """Split token ids into the shortest runs that decode to whole characters: start, end and text of each.

    Each run is decoded after the one before it, since many tokenizers leave out a space at the beginning of a text.
    """
    before = start = 0
    for end in range(1, len(ids) + 1):
        known = decode(ids[before:start]) if start else ""
        text = decode(ids[before:end])
        text = text.removeprefix(known) if text.startswith(known) else decode(ids[start:end])
        if text.endswith(_INCOMPLETE) and end < len(ids) and end - start < _LONGEST_CHARACTER:
            continue
        yield start, end, text
        before, start = start, end
