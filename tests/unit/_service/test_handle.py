"""Sampler handles: a client as a line of text."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._service.handle import Handle, name_of_model

TEXT = st.text(min_size=1, max_size=30)
URL = TEXT.filter(lambda text: not text.endswith("/"))


def encoded(fields):
    """A handle of somebody else's making."""
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def official(**changes):
    """What the official SDK puts into a handle."""
    return {
        "session_id": "session",
        "sampling_session_id": "sampling",
        "holder": {"base_url": "https://example.com/prefix/", "api_key": None},
        "base_model": None,
        **changes,
    }


@given(
    st.builds(
        Handle,
        TEXT.filter(lambda url: not url.endswith("/")),
        TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
        st.booleans(),
        st.none() | TEXT,
        st.none() | TEXT,
    )
)
def test_round_trip(handle):
    """What was written is read again, from one line of URL-safe text."""
    text = handle.encode()
    assert text.isascii()
    assert not set(text) & set("+/\n ")
    assert Handle.decode(text) == handle
    assert Handle.decode(f"  {text.rstrip('=')}\n") == handle


@pytest.mark.parametrize(
    ("base_model", "model_path", "name"),
    [("m", None, "m"), (None, "tinker://a", "tinker://a"), ("m", "tinker://a", "m+tinker://a")],
)
def test_the_model_is_what_was_named(base_model, model_path, name):
    """A model's name tells its weights and its base model, where they were named; a handle and its pickle keep it."""
    assert name_of_model(base_model, model_path) == name
    handle = Handle("https://example.com", "sampling", None, "learned", model_path=model_path, model_name=name)
    assert Handle.decode(handle.encode()) == handle
    assert pickle.loads(pickle.dumps(handle)) == handle


OLD_PICKLE = (
    "gASVlwAAAAAAAACMDnRpbmtleC5faGFuZGxllIwGSGFuZGxllJOUKYGUfZQojAhiYXNlX3VybJSMCGh0dHA6Ly94lIwTc2FtcGxpbmdfc2Vzc2lv"
    "bl9pZJSMBHNhbXCUjApzZXNzaW9uX2lklIwEc2Vzc5SMCmJhc2VfbW9kZWyUjAJibZSMFXJlY29yZF9zdGFiaWxpdHlfaW5mb5SJdWIu"
)


def test_old_pickles_and_handles():
    """What was pickled or written before handles named weights is read, and claims to know nothing of them."""
    handle = pickle.loads(base64.b64decode(OLD_PICKLE))
    assert handle == Handle("http://x", "samp", "sess", "bm")
    assert Handle.decode(encoded(official(base_model="m"))).model_name is None
    assert pickle.loads(pickle.dumps(handle)) == handle


@pytest.mark.parametrize("config", [None, [], {"tinkex": 5}, {"tinkex": {}}, {"other": {"model_name": "x"}}])
def test_what_others_write_in_that_place(config):
    """A client_config without our fields says nothing of the model."""
    holder = {"base_url": "https://example.com", "client_config": config}
    assert Handle.decode(encoded(official(holder=holder))).model_name is None


def test_no_key():
    """A handle has no place for a key, and reads none."""
    fields = json.loads(base64.urlsafe_b64decode(Handle("https://example.com", "sampling").encode()))
    assert fields["holder"]["api_key"] is None
    holder = {"base_url": "https://example.com", "api_key": "tml-secret"}
    assert "tml-secret" not in repr(Handle.decode(encoded(official(holder=holder))))


def test_official():
    """A handle of the official SDK is read; its base URL loses the final slash."""
    assert Handle.decode(encoded(official())) == Handle("https://example.com/prefix", "sampling", "session")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([], "server"),
        (official(holder=None), "server"),
        (official(holder={}), "base_url"),
        (official(holder={"base_url": 5}), "base_url"),
        (official(sampling_session_id=""), "sampling_session_id"),
        (official(sampling_session_id=None), "sampling_session_id"),
        (official(session_id=7), "session_id"),
        (official(base_model=[]), "base_model"),
    ],
)
def test_wrong_fields(fields, named):
    """What is missing or of the wrong kind is named."""
    with pytest.raises(ValueError, match=named):
        Handle.decode(encoded(fields))


@pytest.mark.parametrize("text", ["", "x", "ä", "e30", "bnVsbA==", None, 5, b"e30=", encoded("a" * 9)[:-5]])
def test_no_handle(text):
    """Anything else is refused as what it is: no handle."""
    with pytest.raises(ValueError, match="not a sampler handle"):
        Handle.decode(text)


@given(st.text(max_size=50) | st.binary(max_size=50).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_garbage(text):
    """Whatever the text, the answer is a handle or ValueError."""
    with contextlib.suppress(ValueError):
        assert isinstance(Handle.decode(text), Handle)


def test_deep_nesting():
    """Nesting that no parser can follow is no handle either."""
    with pytest.raises(ValueError, match="not a sampler handle"):
        Handle.decode(base64.urlsafe_b64encode(b"[" * 100_000).decode())
