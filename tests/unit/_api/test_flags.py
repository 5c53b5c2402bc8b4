"""Which flags of a server are followed."""

from __future__ import annotations

import pytest

from tinkex._api.flags import Flags


@pytest.mark.parametrize("number", [10**400, float("inf"), float("nan"), -1, 2**54, True, "20", None], ids=range(8))
@pytest.mark.parametrize("name", ["refresh_interval_sec", "sample_max_concurrent_requests"])
def test_numbers_that_make_no_sense(name, number):
    """A number that no clock or counter could use is left out, and the other flags are taken."""
    flags = Flags().updated({name: number, "sample_cancel_enabled": True})
    assert getattr(flags, name) == getattr(Flags(), name)
    assert flags.sample_cancel_enabled


def test_numbers():
    """Numbers that make sense are taken."""
    assert Flags().updated({"refresh_interval_sec": 20}).refresh_interval_sec == 20
