from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._wire import json_bytes
from tinkex._wire.json_bytes import decode_json, encode_ints, encode_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.fixture(params=["orjson", "json"], autouse=True, scope="module")
def library(request):
    """Runs each test with orjson and without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "json":
            patch.setattr(json_bytes, "_orjson", lambda: None)
        yield


@given(JSON)
def test_encoded_values_are_json(value):
    """What is encoded reads back equal, without a space between."""
    assert json.loads(encode_json(value)) == value
    assert b": " not in encode_json({"a": [1, 2]})


@given(st.lists(st.integers(0, 2**31 - 1)))
def test_ids_are_json(numbers):
    """Ids become a JSON list, from lists and from tuples."""
    assert json.loads(encode_ints(numbers)) == json.loads(encode_ints(tuple(numbers))) == numbers


@given(st.lists(st.integers(-(2**31), 2**53) | st.floats(allow_nan=False) | st.text()))
def test_decoded_like_json(value):
    """Whatever json writes is read as json reads it, infinities and lone surrogates included."""
    text = json.dumps(value).encode()
    assert decode_json(text) == json.loads(text)


def test_nan_is_read():
    """NaN is not JSON, but servers written in Python send it."""
    assert math.isnan(decode_json(b'{"logprobs":[NaN]}')["logprobs"][0])


@pytest.mark.parametrize("value", [math.nan, [math.inf]])
def test_nan_is_not_written(value):
    """NaN and infinities have no JSON form."""
    with pytest.raises(ValueError, match="JSON"):
        encode_json(value)


@given(st.binary(max_size=30))
def test_any_bytes_are_a_value_or_a_value_error(data):
    """Garbage is a ValueError and nothing else."""
    with suppress(ValueError):
        decode_json(data)


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"1" * 10_000, b"\xff\xfe", b"<html>", b'{"a":' * 20_000])
def test_garbage(data):
    """Empty, torn, deep and over-long texts are ValueErrors."""
    with pytest.raises(ValueError):
        decode_json(data)
