"""What one rendering may make, hold and take."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.tokenizers._sandbox import SecurityError, budget, limited_time
from tinkex.tokenizers._sandbox.budget import Budget

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


class Timer:
    """Seconds that a test sets."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_what_was_made_is_never_given_back(monkeypatch):
    """The bytes that were made are counted for the whole rendering, whether or not they are still held."""
    monkeypatch.setattr(budget, "_MADE", 1000)
    left = Budget(Timer())
    for _ in range(10):
        left.charge(100)
    left.check(0)
    with pytest.raises(SecurityError, match="more than 1,000 bytes"):
        left.check(1)
    with pytest.raises(SecurityError, match="more than 1,000 bytes"):
        left.charge(1)


@given(PLAIN)
def test_a_value_weighs_what_its_text_takes(value):
    """The text of a value is at most twelve times as long as it weighs, as JSON and as Python spells it."""
    weight = Budget(Timer()).measured(value).weight
    assert max(len(str(value)), len(json.dumps(value))) <= 12 * weight


def test_references_weigh_as_much_as_copies():
    """A list that holds another one twice weighs more than twice as much, however often that is repeated."""
    left, value = Budget(Timer()), ["text"]
    for _ in range(12):
        before = left.measured(value).weight
        value = [value, value]
        left.register(value)
        assert left.measured(value).weight > 2 * before
    with pytest.raises(SecurityError, match="a value of more than"):
        left.register([value] * 99)


def test_depth():
    """Values nest no deeper than a hundred lists, besides what was given."""
    given = json.loads("[" * 50 + "]" * 50)
    for values, most in (({}, 100), ({"messages": given}, 150)):
        left, value = Budget(Timer()), []
        left.give(values)
        for _ in range(most):
            left.register(value)
            value = [value]
        with pytest.raises(SecurityError, match="100 deep"):
            left.register(value)


def test_what_is_given_widens_the_budget(monkeypatch):
    """A long conversation may be handled as often as a short one: bytes, sizes and time grow with it."""
    monkeypatch.setattr(budget, "_MADE", 1000)
    timer = Timer()
    left = Budget(timer)
    left.give({"messages": ["a" * 1_000_000]})
    left.check(64_000_000)
    timer.seconds = 2.4
    left.register(["a" * 3_000_000])
    left.charge(60_000_000)
    timer.seconds = 2.6
    with pytest.raises(SecurityError, match="too long"):
        left.charge(2_500_000)


def test_time_is_looked_at_every_few_operations():
    """A look at the time is due after 32 operations, and after fewer that made much."""
    timer = Timer()
    left = Budget(timer)
    timer.seconds = 1.5
    for _ in range(31):
        left.charge(10)
    with pytest.raises(SecurityError, match="too long"):
        left.charge(10)
    timer.seconds = 0.0
    left = Budget(timer)
    timer.seconds = 1.5
    with pytest.raises(SecurityError, match="too long"):
        left.charge(2_100_000)


def test_each_block_has_a_budget_of_its_own():
    """A block begins with a whole budget, and leaves that of the block around it as it was."""
    with limited_time(Timer()):
        outer = budget.current()
        with limited_time(Timer()):
            assert budget.current() is not outer
        assert budget.current() is outer
    with pytest.raises(LookupError):
        budget.current()
