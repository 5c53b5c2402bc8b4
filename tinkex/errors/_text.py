"""Sanitise untrusted text for logs and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

BODY_LIMIT = 2000
"""The most characters of an answer that an error keeps."""

_CREDENTIAL = r"(tml-|eyJ)[\w.~+/=-]{8,}"  # here and elsewhere: compiled with its first use, not by every start
_MASK = "[redacted]"


def clean_text(text: str, limit: int = 2000, *, secrets: Iterable[str] = ()) -> str:
    r"""Sanitise untrusted text for a log line or an error.

    Line breaks and tabs become spaces, other unprintable characters go, and so does everything that looks like a Tinker
    credential or is one of *secrets*. Longer results are cut to *limit* characters.

    >>> clean_text("no such\nmodel\x1b for tml-0123456789abc")
    'no such model for [redacted]'
    """
    for secret in secrets:
        text = text.replace(secret, _MASK) if secret else text
    # Cut before the slow part, with room for what is dropped below.
    spaced = " ".join(text[: 2 * limit].split())
    printable = "".join(filter(str.isprintable, spaced))
    masked = re.sub(_CREDENTIAL, _MASK, printable)
    return masked if len(masked) <= limit else masked[: limit - 1] + "…"


def bounded_body(body: Any) -> Any:
    """Keep the body of an answer as it is if it is short and holds no credential, else as cleaned text."""
    if body is None or isinstance(body, str):
        return body if body is None else clean_text(body, BODY_LIMIT)
    try:
        text = json.dumps(body, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f"an answer of type {type(body).__name__} that cannot be shown"
    short = len(text) <= BODY_LIMIT and not re.search(_CREDENTIAL, text)
    return body if short else clean_text(text, BODY_LIMIT)


def sample_facts(request_id: str | None, phase: str | None, may_have_run: bool) -> Iterator[str]:
    """The facts of an error about a sample, in words."""
    yield from known_facts(("request {}", request_id), ("while {}", phase))
    if may_have_run:
        yield "the work may have been done and billed"


def known_facts(*facts: tuple[str, object]) -> Iterator[str]:
    """Those facts, as pairs of a format and a value, whose value is known."""
    return (text.format(value) for text, value in facts if value is not None)


def known_category(category: object) -> str:
    """Return "user", "server" or "unknown": servers write "user", "User" and "user_error" for the same thing."""
    text = category.lower() if isinstance(category, str) else ""
    return next((known for known in ("user", "server") if text.startswith(known)), "unknown")
