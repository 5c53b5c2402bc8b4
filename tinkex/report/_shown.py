"""Sanitising of untrusted text for display: control and bidirectional characters become visible signs."""

from __future__ import annotations

import unicodedata
from typing import Final

_KEPT: Final = frozenset("\n\t\u200c\u200d")  # joiners are part of emoji and of several scripts


def shown(text: str) -> str:
    r"""Replace control characters, direction marks and lone surrogates by signs for them; lines and tabs stay.

    >>> shown("a\x1b[31m\u202eb")
    'a␛[31m⟨U+202E⟩b'
    """
    return text if text.isprintable() else "".join(map(_sign, text))


def _sign(character: str) -> str:
    if character.isprintable() or character in _KEPT:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if unicodedata.category(character) == "Cs":
        return "\ufffd"
    return " " if unicodedata.category(character) == "Zs" else f"⟨U+{code:04X}⟩"


def shortened(text: str, most: int) -> str:
    """Truncate a text to so many characters, with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"
