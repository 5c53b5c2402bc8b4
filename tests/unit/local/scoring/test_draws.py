from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.local.scoring.draws import draw, log_sum_exp, random_stream, top_logprobs
from tinkex.types import SamplingParams

ROWS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40).map(lambda row: np.array(row, np.float32))


def allowed(row, params):
    """The tokens that may be drawn, the slow way."""
    weights = np.exp((row - row.max()).astype(np.float64) / params.temperature)
    ids = sorted(range(len(row)), key=lambda token: (-weights[token], token))
    if params.top_k > 0:
        ids = ids[: params.top_k]
    kept, total = [], sum(weights[token] for token in ids)
    for token in ids:
        kept.append(token)
        if sum(weights[other] for other in kept) >= params.top_p * total * (1 - 1e-9):
            break
    return {weights[token] for token in kept}, weights


@given(row=ROWS, top_k=st.integers(-1, 45), top_p=st.floats(0.01, 1), temperature=st.floats(0.05, 5))
def test_only_allowed_tokens(row, top_k, top_p, temperature):
    """Nothing is drawn that top_k and top_p leave out; equal weights may stand for each other."""
    params = SamplingParams(top_k=top_k, top_p=top_p, temperature=temperature)
    kept, weights = allowed(row, params)
    least = min(kept) * (1 - 1e-6)
    assert all(weights[token] >= least for token in draw(row, params, random_stream(1), 50))


def test_frequencies():
    """Tokens come as often as their probabilities say."""
    row = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    drawn = draw(row, SamplingParams(), random_stream(3), 20_000)
    assert np.bincount(drawn) / 20_000 == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.015)


def test_temperature_flattens():
    """A temperature of two takes the square root of the odds."""
    row = np.log(np.array([0.8, 0.2], np.float32))
    drawn = draw(row, SamplingParams(temperature=2.0), random_stream(3), 20_000)
    assert drawn.mean() == pytest.approx(1 / 3, abs=0.015)


@pytest.mark.parametrize("temperature", [0.0, 1e-300])
def test_cold(temperature):
    """At temperature zero, and next to it, the likeliest token is drawn, the first of equals."""
    row = np.array([1, 5, 5 - 1e-3, 2], np.float32)
    assert set(draw(row, SamplingParams(temperature=temperature), random_stream(None), 20)) == {1}


@given(row=ROWS, k=st.integers(1, 50))
def test_likeliest(row, k):
    """The likeliest tokens come in order, with the model's log-probabilities."""
    cells = top_logprobs(row, float(log_sum_exp(row)), k)
    logprobs = np.log(np.exp(row.astype(np.float64)) / np.exp(row.astype(np.float64)).sum())
    expected = sorted(range(len(row)), key=lambda token: (-row[token], token))[:k]
    assert [row[token] for token, _ in cells] == [row[token] for token in expected]
    assert [logprob for _, logprob in cells] == pytest.approx([logprobs[token] for token, _ in cells], abs=1e-4)


def test_streams():
    """A seed gives each stream numbers of its own, the same each time; no seed gives new ones."""
    assert random_stream(5, 0, 1).random() == random_stream(5, 0, 1).random()
    assert random_stream(5, 0, 1).random() != random_stream(5, 0, 2).random()
    assert random_stream(-5, 0).random() == random_stream(-5, 0).random()
    assert random_stream(None, 0).random() != random_stream(None, 0).random()
