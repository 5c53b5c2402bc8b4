from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._wire import decode_capabilities
from tinkex.errors import APIResponseError
from tinkex.types import ServerCapabilities, SupportedModel


@pytest.mark.parametrize(
    ("entry", "model"),
    [
        ("a/b", SupportedModel("a/b")),
        ({"model_name": "a/b"}, SupportedModel("a/b")),
        ({"model_id": "a/b", "tokenizer_id": "t", "arch": "x"}, SupportedModel("a/b", tokenizer_id="t")),
        (
            {"model_name": "a", "max_context_length": 8, "trainable": False, "sampleable": True},
            SupportedModel("a", 8, trainable=False, sampleable=True),
        ),
        ({"model_name": "a", "max_context_length": "8", "trainable": 1}, SupportedModel("a")),
    ],
)
def test_entries(entry, model):
    """A model is a name, or an object with one of two names; what is odd in it counts as unsaid."""
    assert decode_capabilities({"supported_models": [entry]}) == ServerCapabilities([model])
    assert decode_capabilities([entry]).supported_models == (model,)


def test_nameless_entries_are_left_out():
    """What has no name cannot be sampled from."""
    assert decode_capabilities({"supported_models": [{}, None, 5, "", {"model_name": None}]}) == ServerCapabilities()


@pytest.mark.parametrize("value", [None, {}, "a", {"supported_models": "a"}, {"supported_models": {}}])
def test_no_list(value):
    """Without a list of models there are no capabilities."""
    with pytest.raises(APIResponseError, match="models"):
        decode_capabilities(value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_json(value):
    """Any JSON is capabilities or an APIResponseError."""
    with suppress(APIResponseError):
        assert isinstance(decode_capabilities(value), ServerCapabilities)
