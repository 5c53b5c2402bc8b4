"""Instrumentations that are installed, for a service or for the process.

What they are is in `tinkex.instrumentation`, which programs that install none do without.
"""

from __future__ import annotations

from typing import Any

from tinkex._concurrency.fork_locks import new_lock


class InstrumentationList:
    """Copy-on-write list of what is installed. Safe to share; reading `current` takes no lock."""

    __slots__ = ("_lock", "current")

    def __init__(self) -> None:
        self._lock = new_lock()  # guards changes
        self.current: tuple[Any, ...] = ()

    def add(self, instrumentation: object) -> None:
        """Add one; one that is there already stays as it is."""
        if not callable(getattr(instrumentation, "begin", None)):
            raise TypeError(f"instrumentation must have a method begin, {type(instrumentation).__name__} has none")
        with self._lock:
            if instrumentation not in self.current:
                self.current = (*self.current, instrumentation)

    def remove(self, instrumentation: object) -> None:
        """Remove one, if it is there: samples under way are observed to their end."""
        with self._lock:
            self.current = tuple(each for each in self.current if each is not instrumentation)


PROCESS = InstrumentationList()
"""What is installed for every service of the process."""
