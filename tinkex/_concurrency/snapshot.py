"""Atomic reference to an immutable value, with reads that take no lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from tinkex._concurrency.fork_locks import new_lock

T = TypeVar("T")


class SnapshotCell(Generic[T]):
    """Atomic reference to one immutable value: read with a single attribute load, replaced whole.

    Readers take `current` once and use that object to the end; they never wait, also not for a slow `update`.
    Writers are serialised, so no update is lost; a change that raises publishes nothing.
    """

    __slots__ = ("_writing", "current")

    def __init__(self, value: T) -> None:
        self.current: T = value
        self._writing = new_lock()  # guards read-change-publish in update()

    def update(self, change: Callable[[T], T]) -> T:
        """Publish `change(current)` and return it; `change` must be quick and do no I/O."""
        with self._writing:
            value = change(self.current)
            self.current = value
        return value
