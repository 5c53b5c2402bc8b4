from __future__ import annotations

from tinkex.local.model.cores import CoreBudget, usable_cores


def test_one_computation_takes_what_it_can_use():
    """A computation that is alone gets as many cores as it can use, and never more than there are."""
    cores = CoreBudget(4)
    for most, expected in ((1, 1), (3, 3), (9, 4), (1, 1)):
        with cores.take(most) as taken:
            assert taken == expected


def test_several_share():
    """Computations at the same time get equal shares of what is free, at least one core each."""
    cores = CoreBudget(4)
    with cores.take(1), cores.take(9) as second, cores.take(9) as third:
        assert (second, third) == (2, 1)
    with cores.take(9) as taken:
        assert taken == 4


def test_usable_cores():
    """There is a core to run on."""
    assert usable_cores() >= 1
