"""A queue for a fixed set of threads, of which the one that worked last takes the next item.

A thread's stack, its share of the allocator's memory and its core's caches are warm from its last work. Queues of the
standard library wake who has slept longest: one thing after the other then goes through the memory of all threads.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class WorkQueue(Generic[T]):
    """First in, first out. `put` waits for nobody, so that it may be called wherever a collection may come.

    An idle thread lies in `_idle` and sleeps on a lock of its own, its bed, which is locked but for the moment between
    the call that wakes it and its waking. No item is left behind beside sleepers: `put` adds before it looks at
    `_idle`, whoever lies down looks for items again before sleeping, and whoever gets up wakes the next if there are
    more. So they are woken one by one, as each can run: a burst that one of them can do alone wakes no crowd.
    A thread may be woken without need; it looks, and sleeps on.
    """

    __slots__ = ("_idle", "_items")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._idle: list[threading.Lock] = []

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item, and wake a thread if one sleeps."""
        self._items.append(item)
        self._wake()

    def take(self, bed: threading.Lock) -> T:
        """The next item, as soon as there is one; `bed` is locked, and belongs to the thread that calls."""
        lying = False
        while True:
            try:
                item = self._items.popleft()
                break
            except IndexError:
                if lying:
                    bed.acquire()
                else:
                    self._idle.append(bed)
                    lying = True
        if lying:
            self._idle.remove(bed)
        if self._items:
            self._wake()
        return item

    def _wake(self) -> None:
        """Wake the thread that lay down last, unless it is being woken."""
        try:
            bed = self._idle[-1]
            if bed.locked():
                bed.release()
        except (IndexError, RuntimeError):  # nobody sleeps, or another call has just woken it
            return
