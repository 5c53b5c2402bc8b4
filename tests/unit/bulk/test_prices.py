"""Costs by a table of prices: what is unknown is not free."""

from __future__ import annotations

import math

import pytest

from tinkex.bulk import Models, Prices, estimate
from tinkex.bulk._prices import Bill

MILLION = {"prompt_tokens": 1_000_000, "sampled_tokens": 0}
TABLE = {"Qwen/Qwen3-8B": {"prompt": 2.0, "sampled": 4.0, "cached": 0.5}, "tinker://run/a": {"prompt": 3.0}}
BASE_AND_A = "Qwen/Qwen3-8B+tinker://run/a"


@pytest.mark.parametrize(
    ("model", "cost"),
    [("Qwen/Qwen3-8B", 2.0), ("Qwen/Qwen3-8b", None), ("tinker://run/a", 3.0), ("tinker://run/b", None),
     (BASE_AND_A, 3.0), ("Qwen/Qwen3-8B+tinker://run/b", 2.0), ("other+tinker://run/b", None)],
)  # fmt: skip
def test_which_price(model, cost):
    """The price of weights is theirs, or that of the base model that is named with them; no other name will do."""
    assert Prices.from_dict(TABLE).cost(model, **MILLION) == cost
    rest = Prices.from_dict({**TABLE, "*": {"prompt": 9.0}})
    assert rest.cost(model, **MILLION) == (9.0 if cost is None else cost)


@pytest.mark.parametrize("price", [-1, math.nan, math.inf, True, "1"])
def test_what_is_no_price(price):
    """A price is a number that sums can be made with; 1e400 in a file is none."""
    with pytest.raises(ValueError, match="sampled of 'a/b' must be a number of at least 0"):
        Prices.from_dict({"a/b": {"sampled": price}})


def test_no_more_is_cached_than_there_is():
    """Several samples of one prompt may report more cached tokens than the prompt has; none of it counts below zero."""
    prices = Prices.from_dict({"m": {"prompt": 1.0, "cached": 0.5, "sampled": 0.0}})
    assert prices.cost("m", prompt_tokens=3, sampled_tokens=0, prompt_cache_hit_tokens=6) == pytest.approx(1.5e-6)
    assert prices.cost("m", prompt_tokens=3, sampled_tokens=0, prompt_cache_hit_tokens=2) == pytest.approx(2e-6)


def test_bills():
    """A sum names the models that are not in it; without any price, or any table, there is no sum."""
    bill = Bill(Prices.from_dict(TABLE))
    assert (bill.cost, bill.unpriced) == (0.0, ())
    bill.add("other", MILLION)
    assert (bill.cost, bill.unpriced) == (None, ("other",))
    bill.add("Qwen/Qwen3-8B", MILLION)
    bill.add("other", MILLION)
    assert (bill.cost, bill.unpriced) == (2.0, ("other",))
    none = Bill(None)
    none.add("other", MILLION)
    assert (none.cost, none.unpriced) == (None, ())


def test_estimates():
    """A dry run does not call a model free that the table does not know."""
    models = Models(("a", "b"), lambda name: None)
    rows = [{"prompt": [1] * 10}]
    found = estimate(rows, models, prices=Prices.from_dict({"a": {"prompt": 100_000.0}}), max_tokens=5)
    assert (found.cost, found.unpriced) == (pytest.approx(1.0), ("b",))
    found = estimate(rows, models, prices=Prices.from_dict({}), max_tokens=5)
    assert (found.cost, found.unpriced) == (None, ("a", "b"))
