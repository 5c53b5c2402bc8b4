"""Verdicts over canary numbers: saved weights, the same again, and those of an earlier run."""

from __future__ import annotations

import random

import pytest

from tinkex.check.canary import Canary, canary_prompts
from tinkex.check.checks.weights import judge_same_weights, judge_saved

PROMPTS = canary_prompts()


def reading(seed, *, noise=0.0, learned=0.0):
    """Canary numbers of some weights: rounding makes them noisy, training moves them."""
    base, other = random.Random(seed), random.Random((seed, noise, learned).__hash__())
    rows = [[None, *(base.uniform(-12, -1) for _ in prompt[1:])] for prompt in PROMPTS]
    return Canary(PROMPTS, [
        [each and each + other.uniform(-noise, noise) + other.gauss(0, learned) for each in row] for row in rows
    ])  # fmt: skip


@pytest.mark.thin(10)
@pytest.mark.parametrize("seed", range(200))
def test_saved_weights(seed):
    """A checkpoint that is the base model to the last digit is a fault; one that has learned a little is none."""
    base, learned = reading(seed), reading(seed, learned=0.05)
    assert judge_saved({"tinker://a": learned}, base).verdict == "ok"
    found = judge_saved({"tinker://a": reading(seed)}, base)
    assert found.verdict == "fault"
    assert "tinker://a and the base model" in found.says
    assert judge_saved({"tinker://a": learned, "tinker://b": learned}, base).verdict == "fault"
    assert judge_saved({"tinker://a": base}, None).verdict == "unknown"


@pytest.mark.thin(10)
@pytest.mark.parametrize("seed", range(200))
def test_same_weights(seed):
    """The same weights are recognised through rounding; others, and those that training has moved, are not the same."""
    kept = {"m": reading(seed)}
    assert judge_same_weights("x", kept, {"m": reading(seed, noise=0.06)}).verdict == "ok"
    assert judge_same_weights("x", kept, {"m": reading(seed, learned=0.2)}).verdict == "fault"
    assert judge_same_weights("x", kept, {"m": reading(seed + 1000)}).verdict == "fault"
    assert judge_same_weights("x", kept, {"n": reading(seed)}).verdict == "unknown"


def test_other_prompts():
    """Numbers of other prompts decide nothing."""
    assert judge_same_weights("x", {"m": Canary([[1, 2]], [[None, -1.0]])}, {"m": reading(0)}).verdict == "unknown"
