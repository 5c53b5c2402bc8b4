"""Redaction: what was sent to the server or a proxy in headers, taken out of their words before these are shown."""

from __future__ import annotations

import binascii
import functools
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

from tinkex._transport.http11 import Response

MASK: Final = "[redacted]"
SHORTEST_SECRET: Final = 4
"""Characters; what is shorter is no secret, and would mangle the words it stands in."""
_SHORTEST_VALUE: Final = 8  # of a header whose name does not say that it is secret
_SHORTEST_BASE64: Final = 6
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})  # as html.escape has it
_URLSAFE: Final = str.maketrans("+/", "-_")
_TELLTALE: Final = r"(?i)auth|cookie|credential|key|pass|secret|session|signature|token"
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
        shortest = SHORTEST_SECRET if re.search(_TELLTALE, name) else _SHORTEST_VALUE
        for part in (value, *_parts(name, value)):
            if len(part) >= shortest:
                yield part


def url_secrets(url: str | None) -> Iterator[str]:
    """The password in a URL, as it is written there and as it is meant, and what Basic authentication makes of it."""
    parts = urlsplit(url or "")
    if parts.password:
        meant = unquote(parts.password)
        yield from (part for part in (parts.password, meant) if len(part) >= SHORTEST_SECRET)
        yield f"{unquote(parts.username or '')}:{meant}"


def mask(text: str, secrets: Iterable[str | None]) -> str:
    """Replace each secret in a text, also where it is encoded in one of the usual ways."""
    for secret in secrets:
        if secret and len(secret) >= SHORTEST_SECRET:
            for form in _forms(secret):
                text = text.replace(form, MASK)
    return text


def redact(response: Response, secrets: Iterable[str | None]) -> None:
    """Replace each secret in the body and the headers of a response, as `mask` does."""
    secrets = [secret for secret in secrets if secret and len(secret) >= SHORTEST_SECRET]
    for form in chain.from_iterable(map(_forms, secrets)):
        for encoding in ("latin-1", "utf-8"):
            response.body = response.body.replace(form.encode(encoding, "replace"), MASK.encode())
    response.headers = {name: mask(value, secrets) for name, value in response.headers.items()}


@functools.lru_cache(maxsize=64)
def _forms(secret: str) -> tuple[str, ...]:
    """A secret as it is, in URLs, in JSON, in HTML, and as it stands in the base64 of a text with it; longest first."""
    forms = {secret, secret.translate(_HTML)}
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        forms |= {quoted, re.sub("%..", lambda found: found[0].lower(), quoted)}
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        forms |= {escaped, escaped.replace("/", "\\/"), json.dumps(escaped)[1:-1]}
    for encoding in ("latin-1", "utf-8"):
        encoded = secret.encode(encoding, "replace")
        for before in range(3):  # bytes that stand before it in a group of three
            begin, end = (0, 2, 3)[before], 8 * (before + len(encoded)) // 6  # characters that it alone decides
            if end - begin >= _SHORTEST_BASE64:
                whole = binascii.b2a_base64(bytes(before) + encoded).decode()[begin:end]
                forms |= {whole, whole.translate(_URLSAFE)}
    return tuple(sorted(forms, key=len, reverse=True))


def _parts(name: str, value: str) -> Iterator[str]:
    if name.lower() == "cookie":
        yield from (pair.partition("=")[2].strip() for pair in value.split(";"))
    scheme, space, credential = value.partition(" ")
    if space and re.search(_TELLTALE, name):
        yield credential
    if scheme.lower() == "basic":
        try:
            pair = binascii.a2b_base64(credential, strict_mode=True).decode()
        except ValueError:
            return
        yield from (pair, pair.partition(":")[2])
