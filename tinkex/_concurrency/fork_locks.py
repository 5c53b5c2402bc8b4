"""Fork-safe locks: a forked child finds them open.

A lock that another thread held at the fork stays locked in the child, where that thread is not. Locks made here are
kept by weak reference and made anew, in place, by the fork handler, before anything else.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

_made: weakref.WeakSet[Any] = weakref.WeakSet()


def new_lock() -> threading.Lock:
    """A lock that `reopen_all` reaches."""
    lock = threading.Lock()
    _made.add(lock)
    return lock


def reopen(lock: Any) -> None:
    """Open one lock in a forked child, also one that another thread held at the fork."""
    lock._at_fork_reinit()  # noqa: SLF001 - what threading and logging themselves do in a child


def reopen_all() -> None:
    """Open every lock made by `new_lock`; for the child side of a fork only."""
    for lock in tuple(_made):
        reopen(lock)
