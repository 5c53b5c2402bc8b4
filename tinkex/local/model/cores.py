"""Processor cores, divided among computations that run at the same time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class CoreBudget:
    """Semaphore over cores that gives a computation its fair share of them; safe to share between threads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition()  # guards what follows
        self._free = count
        self._asking = 0

    @contextmanager
    def take(self, most: int) -> Iterator[int]:
        """Hold at least one core and at most so many: wait for the first, and leave others their share of the rest."""
        with self._changed:
            self._asking += 1
            while not self._free:
                self._changed.wait()
            taken = max(1, min(most, self._free, self._count // self._asking))
            self._free -= taken
        try:
            yield taken
        finally:
            with self._changed:
                self._free += taken
                self._asking -= 1
                self._changed.notify(taken)
