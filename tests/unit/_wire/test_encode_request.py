from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._wire import encode_sample, estimate_bytes, json_bytes
from tinkex.types import (
    DmelChunk,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    SampleRequest,
    SamplingParams,
    TensorData,
)

PNG = b"\x89PNG\r\n\x1a\n"
DMEL = bytes([0, 1, 3]) + b"abc"


@pytest.fixture(params=["orjson", "json"], autouse=True, scope="module")
def library(request):
    """Runs each test with orjson and without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "json":
            patch.setattr(json_bytes, "_orjson", lambda: None)
        yield


def encoded(prompt=(1, 2, 3), params=None, *, record_stability_info=False, **options):
    """Encodes a request and reads it back."""
    request = SampleRequest(prompt, params or SamplingParams(max_tokens=4), **options)
    body = encode_sample(request, sampling_session_id='a:"é', seq_id=7, record_stability_info=record_stability_info)
    return json.loads(body)


MINIMAL = {
    "sampling_session_id": 'a:"é',
    "seq_id": 7,
    "prompt": {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]},
    "sampling_params": {"max_tokens": 4},
}


def test_defaults_stay_at_home():
    """A plain sample sends its session, number, prompt and max_tokens, and nothing else."""
    assert encoded() == MINIMAL


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"num_samples": 3}, {"num_samples": 3}),
        ({"include_prompt_logprobs": True}, {"prompt_logprobs": True}),
        (
            {"include_prompt_logprobs": True, "prompt_logprobs_last_n": 2},
            {"prompt_logprobs": True, "prompt_logprobs_last_n": 2},
        ),
        (
            {"topk_prompt_logprobs": 1, "topk_sample_logprobs": 2, "prompt_alt_tokens_k": 3},
            {"topk_prompt_logprobs": 1, "topk_sample_logprobs": 2, "prompt_alt_tokens_k": 3},
        ),
        ({"record_stability_info": True}, {"record_stability_info": True}),
        (
            {"target_prompt_logprobs": TensorData([5, -1], "int64", (2, 1))},
            {"target_prompt_logprobs": {"data": [5, -1], "dtype": "int64", "shape": [2, 1]}},
        ),
        (
            {"target_prompt_logprobs": TensorData([5], "int64", (2, 9), [0, 1, 1], [8])},
            {
                "target_prompt_logprobs": {
                    "data": [5],
                    "dtype": "int64",
                    "shape": [2, 9],
                    "sparse_crow_indices": [0, 1, 1],
                    "sparse_col_indices": [8],
                }
            },
        ),
    ],
)
def test_options(options, fields):
    """Each option adds its own field under the protocol's name."""
    assert encoded(**options) == {**MINIMAL, **fields}


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop": [1, 2]}, {"stop": [1, 2]}),
        ({"stop": []}, {"stop": []}),
        ({"seed": 0}, {"seed": 0}),
        ({"seed": 2**64 - 1}, {"seed": 2**64 - 1}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_k": 0, "top_p": 0.5}, {"top_k": 0, "top_p": 0.5}),
        ({"temperature": 1.0, "top_k": -1, "top_p": 1}, {}),
    ],
)
def test_sampling_params(params, fields):
    """Parameters that differ from their defaults are sent, stop always as a list."""
    assert encoded(params=SamplingParams(max_tokens=4, **params))["sampling_params"] == {"max_tokens": 4, **fields}


@pytest.mark.parametrize(
    ("chunk", "fields", "size"),
    [
        (EncodedTextChunk([]), {"type": "encoded_text", "tokens": []}, 0),
        (EncodedTextChunk([5, 6]), {"type": "encoded_text", "tokens": [5, 6]}, 20),
        (ImageChunk(PNG, "png"), {"type": "image", "data": base64.b64encode(PNG).decode(), "format": "png"}, 8),
        (
            ImageChunk(PNG, "png", 9),
            {"type": "image", "data": base64.b64encode(PNG).decode(), "format": "png", "expected_tokens": 9},
            8,
        ),
        (
            ImageAssetPointerChunk('x"\n', "jpeg", 9),
            {"type": "image_asset_pointer", "location": 'x"\n', "format": "jpeg", "expected_tokens": 9},
            3,
        ),
        (DmelChunk(DMEL), {"type": "dmel", "dmel": base64.b64encode(DMEL).decode()}, 6),
    ],
)
def test_chunks(chunk, fields, size):
    """Each kind of chunk has its fields on the wire and its size in the estimate."""
    prompt = ModelInput([chunk, EncodedTextChunk([1])])
    assert encoded(prompt)["prompt"]["chunks"] == [fields, {"type": "encoded_text", "tokens": [1]}]
    assert estimate_bytes(prompt) == size + 10


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1), st.integers(0, 2**62))
def test_any_prompt_and_number(tokens, number):
    """Every id and sequence number arrives as it is."""
    request = SampleRequest(tokens, SamplingParams(max_tokens=1))
    body = json.loads(encode_sample(request, sampling_session_id="s", seq_id=number))
    assert (body["prompt"]["chunks"][0]["tokens"], body["seq_id"]) == (tokens, number)


def test_a_prompt_is_encoded_once():
    """Sampling a prompt again, with whatever options, reuses its encoded form and its parameters'."""
    prompt, params = ModelInput.from_ints([1, 2]), SamplingParams(max_tokens=4)
    first = encoded(prompt, params)
    kept = prompt.chunks[0]._encoded, params._encoded
    assert encoded(prompt, params, num_samples=2) == {**first, "num_samples": 2}
    assert kept[0] is prompt.chunks[0]._encoded
    assert kept[1] is params._encoded
