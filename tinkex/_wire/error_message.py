"""Decode the bodies of error responses (4xx and 5xx)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tinkex._validation.fieldwise import Record
from tinkex._wire.json_bytes import decode_json
from tinkex.errors import clean_text
from tinkex.errors._text import known_category

_MESSAGE_KEYS = ("detail", "error", "error_message", "message", "msg")
_MOST_DETAILS = 5
_LONGEST = 2**20
_LONGEST_TEXT = 10_000
_TRACEBACK = "Traceback (most recent call last)"
_FRAME = '\n  File "'
_TITLE = r"(?i)<title[^>]*>([^<]*)</title"


class ErrorBody(Record):
    """Decoded body of an error response. What it does not say is None."""

    __slots__ = ("category", "is_json", "message", "queue_state", "reason", "value")

    def __init__(
        self,
        message: str | None = None,
        is_json: bool = False,
        category: str | None = None,
        queue_state: str | None = None,
        reason: str | None = None,
        value: Any = None,
    ) -> None:
        self.message = message  # the server's words
        self.is_json = is_json  # a JSON object with words in it: then the API itself speaks, not a proxy on the way
        self.category = category  # "user", "server" or "unknown", where the body says so or implies it
        self.queue_state = queue_state  # the server's word for the state of its queue
        self.reason = reason  # its explanation of that for people
        self.value = value  # the JSON object itself


def decode_error_body(content_type: str, body: bytes | bytearray) -> ErrorBody:
    """Read the body of an error response; never fails."""
    value = None
    if len(body) <= _LONGEST:
        with suppress(ValueError):
            value = decode_json(body)
    if not isinstance(value, Mapping):
        return ErrorBody(_text_message(content_type, body))
    message, category = message_of(value), category_of(value)
    state, reason = (clean(value.get(key)) for key in ("queue_state", "queue_state_reason"))
    return ErrorBody(message, message is not None, None if category == "unknown" else category, state, reason, value)


def _text_message(content_type: str, body: bytes | bytearray) -> str | None:
    text = body[:_LONGEST_TEXT].decode(errors="replace")
    if "html" in content_type.lower() or text.lstrip()[:1] == "<":
        import html  # its table of names is slow to import, and this answer is not from the API

        title = re.search(_TITLE, text)
        text = html.unescape(title[1]) if title else ""
    return clean_words(text) or None


def clean(value: object) -> str | None:
    """Sanitise text; None for anything else."""
    return clean_words(value) if isinstance(value, str) else None


def clean_words(text: str, limit: int = 2000) -> str:
    """Sanitise a server's words, and leave only the exception of a traceback that they hold."""
    words, traceback, _ = text.partition(_TRACEBACK)
    if traceback:
        last = text[max(len(words), text.rfind(_FRAME) + 1) :]
        raised = "\n".join(itertools.dropwhile(lambda line: line[:1] in " \t\r", last.split("\n")[1:]))
        words += raised if raised.strip() not in words else ""
    return clean_text(words, limit)


def message_of(value: Any, depth: int = 3) -> str | None:
    """Find the message in an error object, a list of complaints or a text, in each dialect of servers."""
    if isinstance(value, str):
        return clean_words(value) or None
    if depth and isinstance(value, Mapping):
        return next(filter(None, [message_of(value.get(key), depth - 1) for key in _MESSAGE_KEYS]), None)
    if depth and isinstance(value, list):
        complaints = [_complaint(item, depth - 1) for item in value[:_MOST_DETAILS]]
        return clean_text("; ".join(filter(None, complaints))) or None
    return None


def _complaint(value: Any, depth: int) -> str | None:
    """Read one entry of FastAPI's list, with the place it complains about."""
    message = message_of(value, depth)
    place = value.get("loc") if isinstance(value, Mapping) else None
    if message is None or not isinstance(place, list):
        return message
    return f"{'.'.join(str(step) for step in place[:8] if isinstance(step, (str, int)))}: {message}"


def category_of(value: Any) -> str:
    """Read whose fault an error object says it is: "user", "server" or "unknown"."""
    if not isinstance(value, Mapping):
        return "unknown"
    category = value.get("category")
    return known_category(category) if isinstance(category, str) else category_of(value.get("error"))
