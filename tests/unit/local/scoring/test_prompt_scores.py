from __future__ import annotations

import numpy as np
import pytest

from tinkex.local.scoring.prompt_scores import PromptScores
from tinkex.types import SampleRequest, SamplingParams, TensorData

TOKENS = tuple(range(10))
TARGETS = TensorData.from_list([[1]] * 9)


def scores(tokens=TOKENS, **options):
    """The scores of a prompt, before anything is computed."""
    return PromptScores(SampleRequest(tokens, SamplingParams(max_tokens=1), 1, **options), tokens)


@pytest.mark.parametrize(
    ("options", "length", "known", "usable"),
    [
        ({}, 4, 0, 4),
        ({}, 10, 0, 9),
        ({"include_prompt_logprobs": True}, 4, 4, 3),
        ({"include_prompt_logprobs": True}, 4, 2, 1),
        ({"include_prompt_logprobs": True}, 4, 0, 0),
        ({"include_prompt_logprobs": True}, 10, 10, 9),
        ({"include_prompt_logprobs": True}, 0, 0, 0),
        ({"include_prompt_logprobs": True, "prompt_logprobs_last_n": 3}, 4, 0, 4),
        ({"include_prompt_logprobs": True, "prompt_logprobs_last_n": 3}, 8, 0, 6),
        ({"include_prompt_logprobs": True, "prompt_logprobs_last_n": 3}, 8, 8, 7),
        ({"topk_prompt_logprobs": 2}, 8, 8, 0),
        ({"topk_prompt_logprobs": 2, "include_prompt_logprobs": True, "prompt_logprobs_last_n": 3}, 8, 8, 6),
        ({"target_prompt_logprobs": TARGETS}, 8, 8, 0),
        ({"prompt_alt_tokens_k": 2}, 8, 8, 0),
    ],
)
def test_reusable_prefix(options, length, known, usable):
    """Of a prefix as much is usable as leaves every row of logits that is asked for, and not known, to be computed."""
    logprobs = np.full(10, np.nan)
    logprobs[1:known] = -1.0
    assert scores(**options).reusable(logprobs, length) == usable


def test_known_scores():
    """A prefix brings its log-probabilities, and that of the next token only if it is the same."""
    known = -np.arange(10.0)
    taken = scores((0, 1, 2, 3, 9, 9))
    taken.take(np.arange(10), known, 4)
    assert taken.known[:4].tolist() == known[:4].tolist()
    assert np.isnan(taken.known[4:]).all()
    taken.take(np.arange(10), known, 3)
    assert taken.known[3] == -3.0


def test_last_scores_with_targets():
    """Targets need every row; of the log-probabilities only the last that were asked for are known then."""
    some = scores(include_prompt_logprobs=True, prompt_logprobs_last_n=3, target_prompt_logprobs=TARGETS)
    for first in (0, 4, 8):
        some.add(first, np.zeros((4, 20), np.float32)[: 10 - first])
    assert np.isnan(some.known[:7]).all()
    assert some.logprobs[7:] == pytest.approx([-np.log(20)] * 3)


def test_scores_that_were_not_asked_for():
    """Only what was asked for comes back, whatever is known of the prompt."""
    some = scores(include_prompt_logprobs=True, prompt_logprobs_last_n=2)
    some.take(np.arange(10), -np.arange(10.0), 10)
    assert some.logprobs == [None] * 8 + [-8.0, -9.0]
    assert scores().logprobs is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0),
        ({"include_prompt_logprobs": True}, 9),
        ({"include_prompt_logprobs": True, "prompt_logprobs_last_n": 2}, 2),
    ],
)
def test_expected_scores(options, expected):
    """What a request will know of its prompt is what it asks for."""
    assert np.count_nonzero(~np.isnan(scores(**options).expected)) == expected
