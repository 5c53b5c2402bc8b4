from __future__ import annotations

import pickle

import numpy as np
import pytest

from tinkex.types import ImageChunk, ModelInput, SampleRequest, SamplingParams, TensorData

PARAMS = SamplingParams(max_tokens=4)
PICTURE = ImageChunk(b"\x89PNG\r\n\x1a\n", "png")


def targets(data, shape, **sparse):
    """Makes an int64 tensor."""
    return TensorData(data, "int64", shape, **sparse)


def request(**fields):
    """Makes a request that is right but for the given fields."""
    return SampleRequest(**{"prompt": [1, 2, 3], "sampling_params": PARAMS, **fields})


def test_prompts_may_be_ids():
    """Ids in any form make the same request as a ModelInput."""
    assert request() == request(prompt=ModelInput.from_ints([1, 2, 3])) == request(prompt=np.array([1, 2, 3]))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ModelInput.empty()}, "prompt"),
        ({"prompt": "hello"}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": [1, -2]}, "prompt"),
        ({"sampling_params": SamplingParams()}, "max_tokens"),
        ({"sampling_params": {"max_tokens": 4}}, "sampling_params"),
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": True}, "num_samples"),
        ({"num_samples": 1.5}, "num_samples"),
        ({"num_samples": 2**31}, "num_samples"),
        ({"include_prompt_logprobs": 1}, "include_prompt_logprobs"),
        ({"topk_prompt_logprobs": -1}, "topk_prompt_logprobs"),
        ({"topk_sample_logprobs": None}, "topk_sample_logprobs"),
        ({"prompt_alt_tokens_k": -1}, "prompt_alt_tokens_k"),
        ({"prompt_logprobs_last_n": 1}, "include_prompt_logprobs"),
        ({"prompt_logprobs_last_n": 0, "include_prompt_logprobs": True}, "prompt_logprobs_last_n"),
        ({"prompt_logprobs_last_n": 3, "include_prompt_logprobs": True}, "prompt_logprobs_last_n"),
        ({"target_prompt_logprobs": [[1]]}, "target_prompt_logprobs"),
        ({"target_prompt_logprobs": TensorData([1.0, 2.0], "float32", (2, 1))}, "target_prompt_logprobs"),
        ({"target_prompt_logprobs": targets([1, 2], (2,))}, "target_prompt_logprobs"),
        ({"target_prompt_logprobs": targets([1, 2, 3], (3, 1))}, "target_prompt_logprobs"),
        ({"target_prompt_logprobs": targets([], (2, 0))}, "target_prompt_logprobs"),
        ({"target_prompt_logprobs": targets([-1, -1], (2, 1))}, "target_prompt_logprobs"),
        ({"target_prompt_logprobs": targets([-2, 1], (2, 1))}, "target_prompt_logprobs"),
        ({"target_prompt_logprobs": targets([2**31, 1], (2, 1))}, "target_prompt_logprobs"),
    ],
)
def test_wrong_fields_are_named(fields, name):
    """Each wrong field is refused where the request is made, with its name."""
    with pytest.raises((TypeError, ValueError), match=name):
        request(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_logprobs_last_n": 2, "include_prompt_logprobs": True},
        {"target_prompt_logprobs": targets([-1, 5], (2, 1))},
        {"target_prompt_logprobs": targets([5], (2, 9), sparse_crow_indices=[0, 0, 1], sparse_col_indices=[8])},
        {"prompt": [PICTURE], "prompt_logprobs_last_n": 99, "include_prompt_logprobs": True},
    ],
)
def test_right_fields(fields):
    """What fits the prompt passes; nothing is held against a prompt of unknown length."""
    if isinstance(fields.get("prompt"), list):
        fields = {**fields, "prompt": ModelInput(fields["prompt"])}
    assert pickle.loads(pickle.dumps(request(**fields))) == request(**fields)


def test_numpy_counts_become_ints():
    """NumPy integers are whole numbers."""
    made = request(num_samples=np.int64(2), prompt_logprobs_last_n=np.int32(1), include_prompt_logprobs=True)
    assert (type(made.num_samples), type(made.prompt_logprobs_last_n)) == (int, int)


def test_unknown_options_are_refused():
    """A misspelt option is a TypeError that names it."""
    with pytest.raises(TypeError, match="num_sample'"):
        request(num_sample=2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ModelInput", r"tinkex\.ModelInput\.from_ints\(prompt\.to_ints\(\)\)"),
        ("SamplingParams", r"tinkex\.SamplingParams\(\*\*sampling_params\.model_dump\(\)\)"),
    ],
)
def test_types_of_the_sdk(name, words):
    """An object of the official SDK's class of the same name is told how to be converted."""
    value = type(name, (), {"__module__": "tinker"})()
    prompt, params = (value, SamplingParams(max_tokens=1)) if name == "ModelInput" else ([1], value)
    with pytest.raises(TypeError, match=words):
        SampleRequest(prompt, params)
