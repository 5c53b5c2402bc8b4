"""Decode the bodies of error responses (4xx and 5xx)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import field, frozen

from tinkex._wire.json_bytes import decode_json
from tinkex._wire.words import category_of, words_of
from tinkex.errors import clean_text

_LONGEST = 2**20
_LONGEST_TEXT = 10_000
_TITLE = re.compile(r"<title[^>]*>([^<]*)</title", re.IGNORECASE)


@frozen
class ErrorBody:
    """Decoded body of an error response."""

    message: str | None = None
    """The server's words; None if it has none."""
    is_json: bool = False
    """Whether it is a JSON object with words in it: then the API itself speaks, not a proxy on the way."""
    category: str | None = None
    """"user", "server" or "unknown", where the body says so or implies it; None where it does not."""
    queue_state: str | None = None
    """The server's word for the state of its queue; None if it gave none."""
    reason: str | None = None
    """The server's explanation of that for people; None if it gave none."""
    value: Any = field(default=None, eq=False, repr=False)
    """The JSON object itself; None if it is none."""


def decode_error_body(content_type: str, body: bytes | bytearray) -> ErrorBody:
    """Read the body of an error response; never fails."""
    value = None
    if len(body) <= _LONGEST:
        with suppress(ValueError):
            value = decode_json(body)
    if not isinstance(value, Mapping):
        return ErrorBody(_plain_words(content_type, body))
    words, category = words_of(value), category_of(value)
    state, reason = (_short(value.get(key)) for key in ("queue_state", "queue_state_reason"))
    return ErrorBody(words, words is not None, None if category == "unknown" else category, state, reason, value)


def _plain_words(content_type: str, body: bytes | bytearray) -> str | None:
    text = body[:_LONGEST_TEXT].decode(errors="replace")
    if "html" in content_type.lower() or text.lstrip()[:1] == "<":
        import html  # its table of names is slow to import, and this answer is not from the API

        title = _TITLE.search(text)
        text = html.unescape(title[1]) if title else ""
    return clean_text(text) or None


def _short(value: object) -> str | None:
    return clean_text(value) if isinstance(value, str) else None
