"""Response head: the status line and header fields of a response, read at once (RFC 9112, RFC 9110 section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

_KEPT_BYTES = 2048  # of a head; a server's answers of one kind, within a second, have the same
ResponseHead = tuple[int, Mapping[str, str], bool]
"""What a head says; shared between the responses that have the same, so it is never changed."""
_VERSIONS = frozenset({"HTTP/1.1", "HTTP/1.0"})


class HTTPFormatError(Exception):
    """The peer sent something that is not an acceptable HTTP/1.1 response."""


def read_head(head: bytes) -> ResponseHead:
    """Status, header fields and whether the connection stays, of a head without the empty line that ends it.

    The names of the fields are in lower case, and those that come twice are joined. Raises HTTPFormatError.
    """
    return _kept(head) if len(head) <= _KEPT_BYTES else _read(head)


def _read(head: bytes) -> ResponseHead:
    text = head.decode("latin-1")
    status_line, *lines = text.split("\r\n")
    if text.count("\r") != len(lines) or text.count("\n") != len(lines) or "\0" in text:
        raise HTTPFormatError(f"a stray control character in its head: {text[:80]!r}")
    version, _, rest = status_line.partition(" ")
    digits, after = rest[:3], rest[3:4]
    if (
        version not in _VERSIONS
        or not (digits.isascii() and digits.isdigit())
        or after.strip()
        or not 100 <= int(digits) < 600
    ):
        raise HTTPFormatError(f"not an HTTP/1.1 status line: {status_line[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name.strip() != name:
            raise HTTPFormatError(f"not an HTTP header line: {line[:80]!r}")
        name, value = name.lower(), value.strip()
        if name in headers:
            value = _join(name, headers[name], value)
        headers[name] = value
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
    return int(digits), headers, keep_alive


_kept = lru_cache(maxsize=128)(_read)


def _join(name: str, first: str, second: str) -> str:
    if name != "content-length":
        return f"{first}, {second}"
    if first != second:
        raise HTTPFormatError("two different Content-Length headers")
    return first
