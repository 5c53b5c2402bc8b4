"""Arguments of calls that cannot be used are refused by their names."""

from __future__ import annotations

import pytest

from tinkex._validation.arguments import check_seconds, check_timeout


@pytest.mark.parametrize("number", [10**400, 10**5000, -(10**400)], ids=range(3))
def test_seconds_that_no_clock_has(number):
    """An int that is no float is refused like any other number that makes no sense."""
    with pytest.raises(ValueError, match="delay must be a number of seconds, not an int of"):
        check_seconds("delay", number)


@pytest.mark.parametrize("number", [float("nan"), 0, -1, -1e300])
def test_seconds_below_the_least(number):
    """Durations are above zero."""
    with pytest.raises(ValueError, match="timeout must be above 0 seconds"):
        check_timeout(number)


def test_seconds():
    """Durations become floats, and one without end is one."""
    assert [check_seconds("delay", number, zero=True) for number in (0, 2, 1e300, float("inf"))] == [
        0.0, 2.0, 1e300, float("inf"),
    ]  # fmt: skip
