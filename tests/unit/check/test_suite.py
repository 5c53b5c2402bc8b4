"""Every check finds its fault in a model that has it, and passes where it has not; by many models and many draws."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("numpy")
pytest.importorskip("aiohttp")

from faulty_models import FAULTS, DirectClient, LikeHatchery

from tinkex.check.lab import Lab
from tinkex.check.observations import COSTS, Observations
from tinkex.check.suite import CHECKS, NAMES, affordable, run_check, total_cost
from tinkex.testing import ToyModel

PLAIN = ("repeated submission", "request ids", "long polls", "unknown request", "cancel", "formats", "compression",
         "max_tokens over the context", "context")  # fmt: skip
SAMPLED = [name for name in NAMES if name not in (*PLAIN, "cost of many samples")]
BY_NAME = {check.name: check for check in CHECKS}


def look_at(model):
    """Observations of a model, without a server."""
    return Observations(
        Lab(DirectClient(model)), decode=model.decode, end_tokens=(model.end_token,), vocabulary=model.vocabulary
    )


SEEDS = [range(1), *(pytest.param(range(begin, begin + 11), marks=pytest.mark.slow) for begin in range(1, 200, 11))]


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_no_false_alarm(seeds):
    """A model that samples as it is asked to passes every check, and costs no more than was said."""
    most = total_cost(BY_NAME[name] for name in SAMPLED)
    for seed in seeds:
        seen = look_at(ToyModel(seed, draws=seed, vocabulary=256))
        found = {name: run_check(BY_NAME[name], seen) for name in SAMPLED}
        assert (seed, {name: result.says for name, result in found.items() if result.verdict != "ok"}) == (seed, {})
        assert seen.lab.requests <= most.requests
        assert seen.lab.prompt_tokens <= most.prompt_tokens
        assert seen.lab.sampled_tokens <= most.sampled_tokens


@pytest.mark.thin(4)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_fault_is_found(fault, seeds):
    """A model with a fault is found out by the checks that are for it, with what it means and what to do."""
    for seed in seeds:
        seen = look_at(fault(seed, draws=seed, vocabulary=256))
        if FAULTS[fault] == ("max_tokens",):
            assert seen.drawn  # it looks at what the others have asked
        for name in FAULTS[fault]:
            result = run_check(BY_NAME[name], seen)
            assert (seed, name, result.verdict) == (seed, name, "fault"), result.says
            assert result.means
            assert result.advice
            assert result.evidence


@pytest.mark.thin(5)
@pytest.mark.parametrize("seed", range(5))
def test_kinds_of_draws_are_not_mixed(seed):
    """Temperature 0 is not accused where one sample and two are scored differently."""
    seen = look_at(LikeHatchery(seed, draws=seed, vocabulary=256))
    assert run_check(BY_NAME["temperature 0"], seen).verdict == "ok"


def test_every_sampled_check_has_a_fault():
    """No check of sampling goes without a model that it finds out."""
    assert {name for names in FAULTS.values() for name in names} == set(SAMPLED)


def test_budget():
    """Checks that do not fit into the budget are left out, and observations that several use are paid once."""
    two = [BY_NAME["temperature 1"], BY_NAME["top_k 1"]]
    most = total_cost(two)
    assert most.tokens == sum(COSTS[name].tokens for name in ("greedy", "greedy_scored", "drawn", "one_token"))
    assert affordable(two, most.tokens) == two
    assert affordable(two, most.tokens - 1) == two[:1]
    assert affordable(CHECKS, math.inf) == list(CHECKS)
    assert affordable(two, 0) == []


@pytest.mark.parametrize("name", PLAIN)
def test_missing_means(name):
    """What a check needs and has not got is named."""
    seen = look_at(ToyModel())
    result = run_check(BY_NAME[name], seen)
    assert result.verdict == "skipped"
    assert result.says
    assert seen.lab.requests == 0
