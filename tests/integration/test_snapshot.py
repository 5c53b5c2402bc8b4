from __future__ import annotations

from functools import partial

from stepping import at_once

from tinkex._concurrency.snapshot import SnapshotCell


def test_no_update_is_lost():
    """Writers on many threads lose nothing of each other's."""
    cell = SnapshotCell(dict.fromkeys(range(4), 0))

    def count(key):
        for _ in range(500):
            cell.update(lambda value: {**value, key: value[key] + 1})

    at_once(*(partial(count, key) for key in range(4)))
    assert cell.current == dict.fromkeys(range(4), 500)
