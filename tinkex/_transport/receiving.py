"""Bound on the bytes of response bodies that are being received at once, over all connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tinkex._concurrency.fork_locks import new_lock

_STEP: Final = 64 * 1024  # bytes that a body may grow by without being counted


class ReceivingTooMuchError(OSError):
    """So many bytes are being received already that another body cannot be taken in; asked for again, it can."""


class ReceiveBudget:
    """Bytes of bodies in memory that are not complete yet, whether or not they were announced; thread-safe.

    `limit` gives the bound, in bytes, each time that it matters: settings may change.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._lock = new_lock()  # guards used
        self.used: int = 0

    def change(self, count: int) -> None:
        """Count so many bytes more, or less; raises ReceivingTooMuchError, and counts none, beyond the limit."""
        with self._lock:
            if count > 0 and self.used + count > self._limit():
                raise ReceivingTooMuchError(f"more than {self._limit():,} bytes of answers were coming in at once")
            self.used += count


class ReceivedBytes:
    """Bytes of one body that are counted in a budget, until `release`."""

    __slots__ = ("_budget", "_counted")

    def __init__(self, budget: ReceiveBudget) -> None:
        self._budget = budget
        self._counted = 0

    def hold(self, size: int) -> None:
        """Note that the body takes `size` bytes now."""
        if size - self._counted >= _STEP:
            self._budget.change(size - self._counted)
            self._counted = size

    def release(self) -> None:
        """Count the body no more."""
        if self._counted:
            self._budget.change(-self._counted)
            self._counted = 0
