"""What is secret in what was sent, and that it is taken out of a server's words."""

from __future__ import annotations

import base64
import binascii
import contextlib
import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest

from tinkex._api.redaction import MASK, header_secrets, mask, redact, url_secrets
from tinkex._transport.http11 import Response


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("X-Gate", "0123456789", {"0123456789"}),
        ("X-Gate", "yes", set()),
        ("X-Gate-Token", "01234", {"01234"}),
        ("X-Gate-Token", "012", set()),
        ("CF-Access-Client-Secret", "abcd", {"abcd"}),
        ("User-Agent", "my-program/1.0", set()),
        ("Accept-Language", "de-CH, de;q=0.9", set()),
        ("Authorization", "Bearer abcdef", {"Bearer abcdef", "abcdef"}),
        ("Cookie", "a=1234567; b=abcdefg", {"a=1234567; b=abcdefg", "1234567", "abcdefg", "b=abcdefg"}),
    ],
)
def test_secrets_of_headers(name, value, secrets):
    """Values are secret, by the name of their header also short ones, and so is what a server would quote of them."""
    assert set(header_secrets([(name, value)])) == secrets


def test_basic_authentication():
    """Of Basic authentication, user and password are secret as well as their encoded form."""
    encoded = base64.b64encode(b"user:password").decode()
    found = set(header_secrets([("Proxy-Authorization", f"Basic {encoded}")]))
    assert found == {f"Basic {encoded}", encoded, "user:password", "password"}
    assert set(header_secrets([("Authorization", "Basic n o t")])) == {"Basic n o t", "n o t"}


def test_passwords_of_urls():
    """The password of a proxy is secret as it is written and as it is meant."""
    assert set(url_secrets("http://user:pass%2Fword@proxy:1")) == {"pass%2Fword", "pass/word", "user:pass/word"}
    assert list(url_secrets("http://proxy:1")) == list(url_secrets(None)) == []


def test_masked_text():
    """Each secret is replaced wherever it stands, unless it is too short to be one."""
    assert mask("abcd-abcd efgh a", ["abcd", None, "", "a", "efgh"]) == f"{MASK}-{MASK} {MASK} a"


ENCODINGS = {
    "percent": lambda secret: quote(secret, safe=""),
    "percent, lower case": lambda secret: re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
    "path": quote,
    "form": quote_plus,
    "JSON": lambda secret: json.dumps({"a": secret}),
    "JSON with slashes": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)),
    "HTML": html.escape,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    **{f"Basic {user}": lambda secret, user=user: base64.b64encode(f"{user}:{secret}".encode()).decode()
       for user in ("", "u", "us", "user", "\xe4")},
}  # fmt: skip


@pytest.mark.thin(4)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "secret", ["tml-0123456789abcdef", 'p&ss w"ord/+?<>\\', "p\xe4ssw\xf6rd \xff\xfe", "\u20ac password"]
)
def test_encoded_secrets(encoding, secret):
    """A secret is masked where it stands in a URL, in JSON, in HTML or in base64, by itself or behind a name."""
    encoded = ENCODINGS[encoding](secret)
    response = Response(403, {"x-a": encoded}, f"who is {encoded}?".encode())
    redact(response, [secret])
    for text in (mask(encoded, [secret]), response.headers["x-a"], response.body.decode()):
        left = text.partition("who is ")[2] or text
        assert MASK in left
        assert len(left) <= len(MASK) + 12
        with contextlib.suppress(binascii.Error):
            assert secret.encode()[2:-2] not in base64.b64decode(left.replace(MASK, ""))


def test_masked_response():
    """Secrets go out of a response's body, in either encoding, and out of its headers."""
    response = Response(403, {"x-a": "who is p\xe4ssword?"}, "p\xe4ssword".encode() + b" p\xe4ssword")
    redact(response, ["p\xe4ssword", None, ""])
    assert (response.headers, response.body) == ({"x-a": f"who is {MASK}?"}, f"{MASK} {MASK}".encode())
