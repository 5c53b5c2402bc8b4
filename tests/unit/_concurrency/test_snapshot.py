"""A cell whose value is replaced whole."""

from __future__ import annotations

from functools import partial

import pytest
from stepping import at_once

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


def test_no_update_is_lost():
    """Writers on many threads lose nothing of each other's."""
    cell = SnapshotCell(dict.fromkeys(range(4), 0))

    def count(key):
        for _ in range(500):
            cell.update(lambda value: {**value, key: value[key] + 1})

    at_once(*(partial(count, key) for key in range(4)))
    assert cell.current == dict.fromkeys(range(4), 500)


def test_readers_do_not_wait():
    """A read during a slow update gives the old value."""
    cell = SnapshotCell("old")
    seen = []

    def change(value):
        seen.append(cell.current)
        return "new"

    cell.update(change)
    assert seen == ["old"]
