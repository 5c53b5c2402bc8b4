"""Verdicts over the seconds of samples in an old and in a new sampling session."""

from __future__ import annotations

import random

import pytest
from faulty_models import Ready

from tinkex.check.checks.cost import judge_growth
from tinkex.check.lab import Lab
from tinkex.check.observations import Observations
from tinkex.testing import ManualClock
from tinkex.types import SampledSequence, SampleResponse

ANSWER = Ready(SampleResponse(sequences=[SampledSequence([1], [-0.5], stop_reason="length")]))


class Growing:
    """Client whose samples take a time that grows with the number of samples before, on a clock that it moves."""

    def __init__(self, clock, noise, growth):
        self.clock, self.noise, self.growth, self.count = clock, noise, growth, 0

    def sample(self, *arguments, **options):
        self.count += 1
        self.clock.advance(0.01 + self.noise.expovariate(200) + self.growth * self.count)
        return ANSWER


def look(seed, growth):
    """The verdict about a server after 300 samples."""
    clock, noise = ManualClock(), random.Random(seed)
    old = Growing(clock, noise, growth)
    old.count = 300
    lab = Lab(old, clock=clock.monotonic)
    lab.requests = 300
    seen = Observations(lab, another=lambda: Growing(clock, noise, growth))
    return judge_growth(*seen.timed)


@pytest.mark.thin(10)
@pytest.mark.parametrize("seed", range(200))
def test_growth(seed):
    """Samples that grow slower are found out through noise as large as half a sample; steady ones are not."""
    assert look(seed, 0.0).verdict == "ok"
    found = look(seed, 1e-4)
    assert found.verdict == "fault"
    assert found.p < 1e-5


def test_nothing_timed():
    """Failed samples decide nothing."""
    assert judge_growth([], [], 10).verdict == "unknown"


def test_slightly_slower():
    """A difference of a few per cent is none, however sure it is."""
    assert judge_growth([1.05] * 40, [1.0] * 40, 100).verdict == "ok"
