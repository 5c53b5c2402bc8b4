"""A cell whose value is replaced whole."""

from __future__ import annotations

import pytest

from tinkex._concurrency.snapshot import SnapshotCell


def test_update():
    """An update publishes what the change makes of the current value, and returns it."""
    cell = SnapshotCell(1)
    assert cell.update(lambda value: value + 1) == 2
    assert cell.current == 2


def test_a_change_that_raises_publishes_nothing():
    """What a change raises reaches the caller, and the cell goes on as it was."""
    cell = SnapshotCell(1)
    with pytest.raises(ZeroDivisionError):
        cell.update(lambda value: value // 0)
    assert cell.current == 1
    assert cell.update(lambda value: value + 1) == 2
