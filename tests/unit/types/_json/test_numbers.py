from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.types import PromptAltTokens, SampledSequence, SampleResponse, TensorData, TopkLogprobs

INF = math.inf
LOGPROBS = st.floats(-50, 0, width=32) | st.sampled_from([-INF, math.nan])


def plain_json(value):
    """The value as a strict JSON reader has it."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(json.dumps(value, allow_nan=False), parse_constant=refuse)


@st.composite
def responses(draw):
    """Draws a response with a number that JSON does not have in any of its columns."""
    scores = draw(st.lists(LOGPROBS, min_size=2, max_size=4))
    tokens = list(range(len(scores)))
    rows = [None, *([(1, score), (2, -INF)] for score in scores)]
    tensor = TensorData(scores, "float32")
    return SampleResponse(
        [SampledSequence(tokens, scores, rows[1:])],
        prompt_logprobs=[None, *scores],
        topk_prompt_logprobs=rows,
        target_prompt_logprobs=tensor,
        prompt_alt_tokens=PromptAltTokens(TensorData(tokens, "int64"), tensor),
    )


@given(responses())
def test_to_dict_is_json(response):
    """What `to_dict` makes is strict JSON, and read back it is the same: minus infinity and NaN included."""
    plain = response.to_dict()
    copy = SampleResponse.from_dict(plain_json(plain))
    assert plain_json(copy.to_dict()) == plain_json(plain)
    assert copy.sequences[0].logprobs == pytest.approx(response.sequences[0].logprobs, nan_ok=True)
    assert copy.prompt_logprobs == response.prompt_logprobs
    assert copy.target_prompt_logprobs == response.target_prompt_logprobs
    assert copy.prompt_alt_tokens == response.prompt_alt_tokens


def test_the_convention():
    """Minus infinity is -9999.0, so that a sum stays the lowest; NaN is null; -9999.0 is read as minus infinity."""
    sequence = SampledSequence([5, 7, 9], [-INF, math.nan, -0.5], [[(5, -0.1), (6, -INF)], None, [(9, math.nan)]])
    plain = sequence.to_dict()
    assert plain["logprobs"] == [-9999.0, None, -0.5]
    assert plain["topk_logprobs"] == [[[5, -0.1], [6, -9999.0]], None, [[9, None]]]
    copy = SampledSequence.from_dict(plain)
    assert copy == SampledSequence([5, 7, 9], [-INF, math.nan, -0.5], copy.topk_logprobs)
    assert copy.topk_logprobs[0] == [(5, -0.1), (6, -INF)]
    assert math.isnan(copy.topk_logprobs[2][0][1])
    assert SampleResponse([], prompt_logprobs=[None, -INF]).to_dict()["prompt_logprobs"] == [None, -9999.0]


def test_other_numbers_stay():
    """Only -9999.0 itself stands for minus infinity; whole numbers of tensors stand for themselves."""
    assert SampledSequence.from_dict({"tokens": [1, 2], "logprobs": [-9999.5, -9998.0]}).logprobs == [-9999.5, -9998.0]
    assert TensorData.from_dict(TensorData([-9999, 1], "int64").to_dict()).data == [-9999, 1]
    assert TopkLogprobs([[(1, -9999.0)]])[0] == [(1, -9999.0)]


def test_a_tensor_keeps_its_numbers():
    """The lists that `to_dict` returns for a tensor are the caller's to change."""
    tensor = TensorData([-1.0, -2.0], "float32")
    tensor.to_dict()["data"][0] = 0.0
    assert tensor.data == [-1.0, -2.0]
