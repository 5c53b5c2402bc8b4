"""Redaction: what was sent to the server or a proxy in headers, taken out of their words before these are shown."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

from tinkex._transport.http11 import Response

MASK: Final = "[redacted]"
SHORTEST_SECRET: Final = 4
"""Characters; what is shorter is no secret, and would mangle the words it stands in."""
_SHORTEST_VALUE: Final = 8  # of a header whose name does not say that it is secret
_SECRET_NAME: Final = re.compile(r"auth|cookie|credential|key|pass|secret|session|signature|token", re.IGNORECASE)
_PUBLIC_NAMES: Final = frozenset(
    {"accept", "accept-charset", "accept-encoding", "accept-language", "content-type", "user-agent"}
)


def header_secrets(headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is secret in header fields: their values, and the parts that a server would quote by themselves.

    That is the credential without its scheme, user and password of Basic authentication, and each cookie. Values of
    less than eight characters count where the name of the header says so, and those of Accept and the like never do.
    """
    for name, value in headers:
        if name.lower() in _PUBLIC_NAMES:
            continue
        shortest = SHORTEST_SECRET if _SECRET_NAME.search(name) else _SHORTEST_VALUE
        for part in (value, *_parts(name, value)):
            if len(part) >= shortest:
                yield part


def url_secrets(url: str | None) -> Iterator[str]:
    """The password in a URL, as it is written there and as it is meant."""
    password = urlsplit(url).password if url else None
    for part in (password, unquote(password)) if password else ():
        if len(part) >= SHORTEST_SECRET:
            yield part


def mask(text: str, secrets: Iterable[str | None]) -> str:
    """Replace each secret in a text."""
    for secret in secrets:
        if secret and len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    return text


def redact(response: Response, secrets: Iterable[str | None]) -> None:
    """Replace each secret in the body and the headers of a response."""
    for secret in secrets:
        if secret:
            for encoding in ("latin-1", "utf-8"):
                response.body = response.body.replace(secret.encode(encoding), MASK.encode())
            response.headers = {name: value.replace(secret, MASK) for name, value in response.headers.items()}


def _parts(name: str, value: str) -> Iterator[str]:
    if name.lower() == "cookie":
        yield from (pair.partition("=")[2].strip() for pair in value.split(";"))
    scheme, space, credential = value.partition(" ")
    if space and _SECRET_NAME.search(name):
        yield credential
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credential, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield from (pair, pair.partition(":")[2])
