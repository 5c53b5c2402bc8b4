"""Exact tests against counting by hand, and against closed forms."""

from __future__ import annotations

import itertools
import math

import pytest

from tinkex.check.exact import binomial_at_least, distinct_at_most, hits_at_least, hits_at_most, repeated_by_chance
from tinkex.check.result import odds


@pytest.mark.parametrize("hits", range(-1, 8))
def test_binomial(hits):
    """The tail is the sum of the binomial distribution."""
    exact = sum(math.comb(7, k) * 0.3**k * 0.7 ** (7 - k) for k in range(max(hits, 0), 8))
    assert binomial_at_least(hits, 7, 0.3) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("hits", range(5))
def test_different_chances(hits):
    """Trials with a chance each are counted outcome by outcome."""
    chances = [0.1, 0.9, 0.5, 0.25]
    outcomes = {
        outcome: math.prod(p if hit else 1 - p for p, hit in zip(chances, outcome, strict=True))
        for outcome in itertools.product((0, 1), repeat=4)
    }
    assert hits_at_least(hits, chances) == pytest.approx(sum(p for o, p in outcomes.items() if sum(o) >= hits))
    assert hits_at_most(hits, chances) == pytest.approx(sum(p for o, p in outcomes.items() if sum(o) <= hits))


def test_tiny_tails():
    """Tails far below the smallest double near 1 are not lost."""
    assert hits_at_least(96, [0.2] * 96) == pytest.approx(0.2**96, rel=1e-9)


@pytest.mark.parametrize("distinct", range(1, 5))
def test_distinct(distinct):
    """The number of different kinds among draws, counted outcome by outcome."""
    outcomes = [len(set(outcome)) for outcome in itertools.product(range(4), repeat=5)]
    assert distinct_at_most(distinct, 5, 4) == pytest.approx(sum(n <= distinct for n in outcomes) / len(outcomes))


def test_repeats():
    """Sequences repeat by the product of all their probabilities; none at all repeat for sure."""
    assert repeated_by_chance([[math.log(0.1)] * 5] * 3) == pytest.approx(1e-15)
    assert repeated_by_chance([]) == 1.0
    assert repeated_by_chance([[0.1]]) == 1.0


def test_odds():
    """p-values keep their size however small they are."""
    assert [odds(p) for p in (1.0, 0.5, 2e-5, 1e-300)] == ["p = 1", "p = 0.5", "p = 2e-05", "p < 1e-99"]
