from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._wire import ErrorBody, decode_error_body

MISSING = {"loc": ["body", "prompt", 0], "msg": "Field required", "type": "missing"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"detail": "no such model"}, ErrorBody("no such model", is_json=True)),
        ({"error": "bad", "category": "User"}, ErrorBody("bad", is_json=True, category="user")),
        ({"error": "bad", "status_code": 400}, ErrorBody("bad", is_json=True)),
        ({"type": "RequestFailedResponse", "error_message": "bad"}, ErrorBody("bad", is_json=True)),
        ({"message": "bad"}, ErrorBody("bad", is_json=True)),
        ({"detail": None, "message": "bad"}, ErrorBody("bad", is_json=True)),
        ({"detail": {"message": "bad"}}, ErrorBody("bad", is_json=True)),
        ({"error": {"message": "bad", "category": "server"}}, ErrorBody("bad", is_json=True, category="server")),
        ({"detail": [MISSING]}, ErrorBody("body.prompt.0: Field required", is_json=True)),
        ({"detail": [MISSING, "and more"]}, ErrorBody("body.prompt.0: Field required; and more", is_json=True)),
        (
            {"detail": "busy", "queue_state": "paused_rate_limit", "queue_state_reason": "limit"},
            ErrorBody("busy", is_json=True, queue_state="paused_rate_limit", reason="limit"),
        ),
        ({"queue_state": "active"}, ErrorBody(queue_state="active")),
        ({}, ErrorBody()),
        ({"detail": []}, ErrorBody()),
        ({"detail": {"detail": {"detail": {"detail": "too deep"}}}}, ErrorBody()),
        ({"queue_state": 5, "detail": 5}, ErrorBody()),
    ],
)
def test_dialects(value, expected):
    """Each server's way to say what is wrong is understood; an object without words is nobody's error."""
    body = decode_error_body("application/json", json.dumps(value).encode())
    expected.value = value
    assert body == expected


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("text/plain", b"upstream\r\nfailed", "upstream failed"),
        ("", b"", None),
        ("text/html", b"<html><TITLE>502 Bad &amp; Gateway</TITLE><body>...</body></html>", "502 Bad & Gateway"),
        ("", b"<html><body>no title</body></html>", None),
        ("application/json", b'"just text"', '"just text"'),
        ("application/json", b"{torn", "{torn"),
    ],
)
def test_what_is_not_the_api(kind, body, message):
    """Text and pages of proxies give words where they have any, and never count as the API's own."""
    assert decode_error_body(kind, body) == ErrorBody(message)


FRAMES = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g(x)\n    ~^^^\n'
CHAINED = f"{FRAMES}KeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\n{FRAMES}"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (f"{FRAMES}ValueError: top_p is 2\nnot 1\n", "ValueError: top_p is 2 not 1"),
        (f"Sampling failed: {FRAMES}ValueError: top_p is 2", "Sampling failed: ValueError: top_p is 2"),
        (f"ValueError: top_p is 2\n\n{FRAMES}ValueError: top_p is 2\n", "ValueError: top_p is 2"),
        (f"{CHAINED}RuntimeError: cannot", "RuntimeError: cannot"),
        (FRAMES + "  File" * 10**4, None),
        ("Failed. Traceback (most recent call last)", "Failed."),
        ("The traceback is in the log.", "The traceback is in the log."),
    ],
)
def test_tracebacks_are_cut_out(words, left):
    """Of a traceback in a server's words only what was raised is left, in each dialect and in plain text."""
    for value in ({"detail": words}, {"error": {"message": words}}, {"detail": [words]}):
        assert decode_error_body("application/json", json.dumps(value).encode()).message == left
    assert decode_error_body("text/plain", words.encode()).message == left


def test_many_tracebacks_take_no_time():
    """A megabyte of beginnings of tracebacks is read once."""
    assert decode_error_body("", json.dumps({"detail": FRAMES[:34] * 30_000}).encode()).message is None


def test_long_bodies_are_bounded():
    """Neither long words nor long bodies make long messages."""
    for body in (json.dumps({"detail": "x" * 10**5}).encode(), b"x" * (2**20 + 1), b"{" + b" " * 2**20 + b"}"):
        assert len(decode_error_body("", body).message or "") <= 2000
    assert len(decode_error_body("", json.dumps({"detail": [MISSING] * 10**4}).encode()).message) <= 2000


@given(st.binary(max_size=50), st.sampled_from(["", "text/html", "application/json"]))
def test_any_bytes(body, kind):
    """An error's body never makes another error."""
    assert decode_error_body(kind, body).is_json in (True, False)


KEYS = st.sampled_from(["detail", "error", "message", "loc", "msg", "category", "queue_state"])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
)


@given(ODD)
def test_any_json(value):
    """Nor does any JSON."""
    made = decode_error_body("application/json", json.dumps(value).encode())
    assert made.category in ("user", "server", None)
