"""What servers say when something is wrong, in whichever of their dialects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinkex.errors import clean_text

_MESSAGE_KEYS = ("detail", "error", "error_message", "message", "msg")
_MOST_DETAILS = 5


def words_of(value: Any) -> str | None:
    """Return the message in an error object, a list of complaints or a text; None if there is none."""
    return _words(value, depth=3)


def _words(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return clean_text(value) or None
    if depth and isinstance(value, Mapping):
        return next(filter(None, [_words(value.get(key), depth - 1) for key in _MESSAGE_KEYS]), None)
    if depth and isinstance(value, list):
        complaints = [_complaint(item, depth - 1) for item in value[:_MOST_DETAILS]]
        return clean_text("; ".join(filter(None, complaints))) or None
    return None


def _complaint(value: Any, depth: int) -> str | None:
    """Return one entry of FastAPI's list, with the place it complains about."""
    words = _words(value, depth)
    place = value.get("loc") if isinstance(value, Mapping) else None
    if words is None or not isinstance(place, list):
        return words
    return f"{'.'.join(str(step) for step in place[:8] if isinstance(step, (str, int)))}: {words}"


def category_of(value: Any) -> str:
    """Return whose fault an error object says it is: "user", "server" or "unknown"."""
    if not isinstance(value, Mapping):
        return "unknown"
    said = value.get("category")
    if isinstance(said, str):
        return next((kind for kind in ("user", "server") if said.lower().startswith(kind)), "unknown")
    return category_of(value.get("error"))
