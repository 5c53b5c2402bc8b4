"""An elastic thread pool: threads that may block, started when work comes and gone when it stops."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from tinkex._concurrency.fork_locks import new_lock

logger = logging.getLogger("tinkex")


class ElasticPool:
    """Elastic pool of at most `most` daemon threads, started when work comes, gone `idle_after` seconds after it stops.

    For calls that may block: connecting, special transports, credential commands and users' callbacks.
    """

    def __init__(self, most: int, name: str, idle_after: float = 10.0) -> None:
        self._most = most
        self._name = name
        self._idle_after = idle_after
        self._lock = new_lock()  # guards all below; entered itself: a Ctrl-C in Condition.__enter__ leaves it locked
        self._changed = threading.Condition(self._lock)
        self._items: deque[Callable[[], object]] = deque()
        self._starting: set[object] = set()  # a token of each thread that has not come to its first line yet
        self._running = 0
        self._idle = 0
        self._stopped = False

    @property
    def threads(self) -> int:
        """How many threads there are, or are being started."""
        return self._running + len(self._starting)

    @property
    def crowded(self) -> bool:
        """Whether more than half of the threads there may be are at work, or wanted."""
        return 2 * (len(self._items) + self.threads - self._idle) > self._most

    def submit(self, work: Callable[[], object]) -> None:
        """Have `work` run soon; what it raises is logged. Raises RuntimeError if no thread can be had for it."""
        token = object()
        try:
            with self._lock:
                self._items.append(work)
                start = len(self._items) > self._idle and self.threads < self._most
                name = f"{self._name}-{self.threads}"
                if start:
                    self._starting.add(token)
                self._changed.notify()
            if start:
                threading.Thread(target=self._run, args=(token,), name=name, daemon=True).start()
        except BaseException as error:
            with self._lock:  # a thread that was started all the same, before a Ctrl-C, counts itself
                self._starting.discard(token)
            if not isinstance(error, RuntimeError) or self._is_lost(work):
                raise

    def stop(self) -> None:
        """Let the threads end once nothing is queued."""
        with self._lock:
            self._stopped = True
            self._changed.notify_all()

    def forked(self) -> None:
        """In a child: start no thread for the parent's work."""
        self._most = 0

    def _is_lost(self, work: Callable[[], object]) -> bool:
        """After a thread could not be started: whether there is no other that will come to `work`."""
        with self._lock:
            lost = not self.threads and work in self._items
            if lost:
                self._items.remove(work)
        return lost

    def _run(self, token: object) -> None:
        with self._lock:
            self._starting.discard(token)
            self._running += 1
        while (work := self._next()) is not None:
            try:
                work()
            except BaseException:
                logger.exception("What ran on a tinkex thread raised; tinkex goes on.")
            del work

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            self._idle += 1
            in_time = True
            while not self._items and in_time and not self._stopped:
                in_time = self._changed.wait(self._idle_after)
            self._idle -= 1
            if self._items:
                return self._items.popleft()
            self._running -= 1
            return None
