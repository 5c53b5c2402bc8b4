"""Locks that a forked child finds open."""

from __future__ import annotations

import weakref

from tinkex._concurrency import fork_locks


def test_reopened_together():
    """Every lock that was made here is open afterwards, whoever held it, and is the same lock."""
    locks = [fork_locks.new_lock() for _ in range(3)]
    for lock in locks[:2]:
        lock.acquire()
    fork_locks.reopen_all()
    assert [lock.acquire(blocking=False) for lock in locks] == [True, True, True]


def test_not_kept_alive():
    """A lock goes with its owner."""
    lock = fork_locks.new_lock()
    gone = weakref.ref(lock)
    del lock
    assert gone() is None
