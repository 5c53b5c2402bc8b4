"""Options of the calls that take text: sorted, and refused by name."""

from __future__ import annotations

import pytest

from tinkex._sampling._text.options import CALL, SampleOptions, TextCall, check_names
from tinkex.types import ModelInput, SamplingParams


def test_keywords_go_before_parameters():
    """Keywords replace what `sampling_params` says; the others stay."""
    params = SamplingParams(max_tokens=8, temperature=0.5, stop=["x"])
    asked = TextCall.read("complete", params, {"max_tokens": 4, "num_samples": 2, "timeout": 3.0, "on_full": "raise"})
    assert asked.params == SamplingParams(max_tokens=4, temperature=0.5, stop=["x"])
    request = asked.sample_request(ModelInput.from_ints([1]))
    assert (request.num_samples, request.sampling_params) == (2, asked.params)
    assert asked.call == (3.0, "raise", None)


@pytest.mark.parametrize(
    ("params", "options", "words"),
    [
        (None, {}, r"max_tokens must be given: .* complete\(..., max_tokens=256\)"),
        (SamplingParams(), {}, "max_tokens must be given"),
        (None, {"max_tokns": 4}, r"complete\(\) got an unexpected keyword argument 'max_tokns': .* mean max_tokens\?"),
        (None, {"n": 4}, r"'n': did you mean num_samples\?"),
        (None, {"xyzzy": 4}, r"'xyzzy'$"),
        (None, {"chat_template": "{}"}, r"'chat_template'$"),
        (None, {"max_tokens": "4"}, "max_tokens"),
        (7, {}, "sampling_params must be SamplingParams, got 7"),
    ],
)
def test_wrong_options(params, options, words):
    """What is wrong is named."""
    with pytest.raises((TypeError, ValueError), match=words):
        TextCall.read("complete", params, options)


@pytest.mark.parametrize(
    ("call", "option", "known", "words"),
    [
        ("chat", "chat_template", SampleOptions.__annotations__, "template_variables="),
        (
            "chat",
            "enable_thinking",
            SampleOptions.__annotations__,
            r"into template_variables={'enable_thinking': ...}",
        ),
        ("chat", "stream", SampleOptions.__annotations__, "'stream': the API returns whole samples$"),
        ("complete", "model", SampleOptions.__annotations__, r"create_sampling_client\(base_model=...\) names$"),
        ("complete", "top_logprobs", SampleOptions.__annotations__, r"did you mean topk_sample_logprobs\?$"),
        ("score", "timeot", CALL, "did you mean timeout"),
        ("score", "max_tokens", CALL, "'max_tokens'$"),
    ],
)
def test_what_is_meant(call, option, known, words):
    """A keyword that a call does not know is answered with one that this call knows, if any is near."""
    with pytest.raises(TypeError, match=words):
        check_names(call, {option: 1}, known)
