"""Phrases by which servers say what their status or category does not."""

from __future__ import annotations

import re

# They are compiled, and then kept, by `re` itself: most programs never meet one. Anchored, since a server may quote a
# prompt.
_RATE_LIMITED = r"(?i)\W*(error\W+)?(rate[ -]?limit(s|ed)?\b|too many requests\b|[rt]p[ms] limit\b)"
_THINGS = r"(session|sampler|sampling client|slot)s?\b"
_SLOTS_FULL = (
    rf"(?i)\W*(\w+\W+){{0,3}}(max(imum)?|too many|no (more|free|available))\b[^.]{{0,40}}\b{_THINGS}"
    rf"|\W*(\w+\W+){{0,6}}{_THINGS}[^.]{{0,40}}\b(limit|full|exhausted|in use|taken)\b"
)
_SESSION = r"(?i)\b(session|sampler)s?\b"
_UNKNOWN = r"(?i)\b(not found|does not exist|unknown|no such)\b"
_NO_ROUTE = r"(?i)(404\W*)?not found\W*|.*(/api/v1/|\broute\b).*"


def says_rate_limited(message: str | None) -> bool:
    """Whether a server's words begin with a rate limit: the request was put off, and has not run.

    >>> says_rate_limited("Rate limit exceeded: RPS limit exceeded: 3/3.0 requests/s")
    True
    """
    return message is not None and re.match(_RATE_LIMITED, message) is not None


def says_slots_full(message: str | None) -> bool:
    """Whether a server's words are that something which clients hold for long, such as sessions, has run out.

    >>> says_slots_full("Max 5 concurrent sessions"), says_slots_full("Max 5 concurrent requests")
    (True, False)
    """
    return message is not None and re.match(_SLOTS_FULL, message[:500]) is not None


def says_session(message: str | None) -> bool:
    """Whether a server's words are about a session, or a sampling session.

    >>> says_session("Sampling session s-1 does not exist"), says_session("no such picture")
    (True, False)
    """
    return message is not None and re.search(_SESSION, message) is not None


def says_unknown(message: str | None, name: str) -> bool:
    """Whether a server's words are that it does not know what goes by this name.

    >>> says_unknown("Failed to retrieve future: Session s-1 not found.", "s-1")
    True
    """
    return message is not None and name in message and re.search(_UNKNOWN, message) is not None


def says_no_route(message: str | None) -> bool:
    """Whether the words of a 404 are those of a router that has no such path, and not about an id.

    >>> says_no_route("Not Found"), says_no_route("Session s-1 not found")
    (True, False)
    """
    return message is None or re.fullmatch(_NO_ROUTE, message) is not None
