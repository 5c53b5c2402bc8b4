"""Byte semaphore: bounds the bytes of results that are fetched and decoded at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tinkex._concurrency.fork_locks import new_lock
from tinkex._runtime.task import Permit, ScheduledTask


class ByteLease(Permit):
    """Lease of bytes of a byte semaphore."""

    __slots__ = ("_semaphore", "_size")

    def __init__(self, semaphore: ByteSemaphore, size: int) -> None:
        self._semaphore = semaphore
        self._size = size

    def release(self) -> None:
        """Return the bytes, once."""
        size, self._size = self._size, 0
        if size:
            self._semaphore.release(size)


class AcquireBytes:
    """Wait for `size` bytes of a byte semaphore; yields a `ByteLease`."""

    __slots__ = ("_semaphore", "_size")
    until = float("inf")

    def __init__(self, semaphore: ByteSemaphore, size: int) -> None:
        self._semaphore = semaphore
        self._size = size

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        """Take the bytes now, or queue for them."""
        self._semaphore.take(task, wait_id, self._size)


class ByteSemaphore:
    """Semaphore of `limit()` bytes, which one request may overdraw, so that a single huge one passes.

    First come, first served.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._lock = new_lock()  # guards _out and _queue
        self._out = 0
        self._queue: deque[tuple[ScheduledTask, int, int]] = deque()

    def take(self, task: ScheduledTask, wait_id: int, size: int) -> None:
        """Queue `task` for `size` bytes; it is resumed with its lease, here or later."""
        with self._lock:
            self._queue.append((task, wait_id, size))
        self._serve()

    def release(self, size: int) -> None:
        """Put `size` bytes back, and serve the queued tasks."""
        with self._lock:
            self._out -= size
        self._serve()

    @property
    def out(self) -> int:
        """Bytes taken and not given back."""
        return self._out

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._queue or 0 < self._out >= self._limit():  # with nothing out, one may go above the limit
                    return
                task, wait_id, size = self._queue.popleft()
                self._out += size
            lease = ByteLease(self, size)
            if not task.resume(wait_id, lease):
                with self._lock:
                    self._out -= size
