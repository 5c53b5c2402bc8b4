from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.bulk._output.record import choice_columns

INF = math.inf
LOGPROB = st.floats(-30, 0) | st.just(-INF)
CHOICES = st.lists(st.lists(LOGPROB, min_size=1, max_size=4), min_size=1, max_size=5)


def columns(*logprobs, answer=None, omit=()):
    """The columns of choices that have these log-probabilities."""
    choices = [(f"c{n}", [n, *range(1, len(each))], each) for n, each in enumerate(logprobs)]
    return choice_columns(choices, answer, omit)


def test_choices():
    """Each choice has its tokens, their log-probabilities, sum and mean; the best by either is named and judged."""
    record = columns([-1.0, -1.0, -1.0], [-2.5], answer=1)
    assert record["choices"][0] == {
        "text": "c0", "tokens": [0, 1, 2], "logprobs": [-1.0, -1.0, -1.0], "logprob": -3.0, "mean_logprob": -1.0,
    }  # fmt: skip
    assert (record["best"], record["best_by_mean"]) == (1, 0)
    assert (record["correct"], record["correct_by_mean"]) == (True, False)
    assert columns([-1.0])["correct"] is None


@given(CHOICES, st.data())
def test_an_impossible_choice_is_never_the_best(logprobs, data):
    """Whatever the others are, a choice with a token of probability zero is not the best; its sum is no higher."""
    answer = data.draw(st.none() | st.integers(0, len(logprobs) - 1))
    record = json.loads(json.dumps(columns(*logprobs, answer=answer), allow_nan=False))
    impossible = [-INF in each for each in logprobs]
    for each, choice in zip(logprobs, record["choices"], strict=True):
        assert (choice["logprob"] <= -9999.0) == (-INF in each)
    for best in (record["best"], record["best_by_mean"]):
        assert best is None if all(impossible) else not impossible[best]
    assert record["correct"] == (None if answer is None else record["best"] == answer)


@pytest.mark.parametrize("unknown", [math.nan, None])
def test_unknown_numbers_decide_nothing(unknown):
    """Where a token's log-probability is not known, neither is the sum, nor which choice is the best."""
    record = columns([-1.0, unknown], [-2.0], answer=1)
    assert record["choices"][0]["logprobs"] == [-1.0, None]
    assert (record["choices"][0]["logprob"], record["choices"][0]["mean_logprob"]) == (None, None)
    assert (record["best"], record["correct"], record["correct_by_mean"]) == (None, None, None)


def test_omitted_columns_are_null():
    """Sums stay where the numbers they are made of are left out."""
    choice = columns([-1.0, -2.0], omit=["text", "tokens", "logprobs"])["choices"][0]
    assert choice == {"text": None, "tokens": None, "logprobs": None, "logprob": -3.0, "mean_logprob": -1.5}
