"""Threads the client works with: a fixed pool for work that never blocks, an elastic one for work that may.

Both are daemon threads of our own. The standard executor's are joined when the interpreter exits, which
takes as long as the slowest call they are in; ours never hold an exit up.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, Protocol, TypeVar

from tinkex._locks import new_lock
from tinkex._work_queue import WorkQueue

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("tinkex")


class Runnable(Protocol):
    """Something a worker runs once."""

    def run(self) -> None:
        """Do it; must not block for long and must not raise."""


class _Call:
    """A function for the executor's public `submit`."""

    def __init__(self, future: Future[Any], work: Callable[[], Any]) -> None:
        self._future = future
        self._work = work

    def run(self) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            self._future.set_result(self._work())
        except BaseException as error:  # noqa: BLE001 - whatever it was belongs to who waits for it
            self._future.set_exception(error)


class WorkerPool(ThreadPoolExecutor):
    """A ThreadPoolExecutor whose daemon threads start at once, together, and whose queue waits for no lock.

    The standard `submit` starts threads on the caller's time and holds a process-wide lock while it does.
    """

    def __init__(self, workers: int, name: str) -> None:
        super().__init__(max_workers=workers, thread_name_prefix=name)
        self._items: WorkQueue[Runnable | None] = WorkQueue()
        self._started: list[threading.Thread] = []
        self._ending = False
        self.count = workers
        self.put: Callable[[Runnable], None] = self._items.put
        self.waiting = self._items.__len__

    def start(self) -> None:
        """Start every worker, or as many as the system allows; call it once, off the caller's thread."""
        for number in range(self.count):
            name = f"{self._thread_name_prefix}-{number}"
            thread = threading.Thread(target=_work, args=(self._items,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                logger.exception("Only %d of %d tinkex workers could be started.", number, self.count)
                return
            self._started.append(thread)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` on a worker; for completeness, samples go through `put`. Raises RuntimeError after `shutdown`."""
        if self._ending:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[T] = Future()
        self._items.put(_Call(future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end when they have done what is queued; never joins them."""
        self._ending = True
        for _ in range(self.count):
            self._items.put(None)

    def join(self, seconds: float) -> None:
        """Wait a moment, after `shutdown`, until the threads have ended."""
        for thread in tuple(self._started):
            thread.join(seconds / self.count)

    def forked(self) -> None:
        """In a child, where no thread is: take nothing more."""
        self.put = _drop


def _drop(item: Runnable) -> None:
    """Nobody would run it."""


def _work(items: WorkQueue[Runnable | None]) -> None:
    bed = threading.Lock()
    bed.acquire()
    while (item := items.take(bed)) is not None:
        try:
            item.run()
        except BaseException:
            logger.exception("A tinkex worker met an error of its own; please report it.")
        del item  # an idle worker keeps nobody alive


class ElasticPool:
    """At most `most` daemon threads, started when work comes and gone `idle_after` seconds after it stops.

    For connecting, special transports, credential commands and users' callbacks: whatever may block.
    """

    def __init__(self, most: int, name: str, idle_after: float = 10.0) -> None:
        self._most = most
        self._name = name
        self._idle_after = idle_after
        self._changed = threading.Condition(new_lock())  # guards all below
        self._items: deque[Callable[[], object]] = deque()
        self._idle = 0
        self._stopped = False
        self.threads = 0

    @property
    def crowded(self) -> bool:
        """Whether more than half of the threads there may be are at work, or wanted."""
        return 2 * (len(self._items) + self.threads - self._idle) > self._most

    def submit(self, work: Callable[[], object]) -> None:
        """Have `work` run soon; what it raises is logged. Raises RuntimeError if no thread can be had for it."""
        with self._changed:
            self._items.append(work)
            start = len(self._items) > self._idle and self.threads < self._most
            self.threads += start
            name = f"{self._name}-{self.threads - 1}"
            self._changed.notify()
        if start:
            try:
                threading.Thread(target=self._run, name=name, daemon=True).start()
            except RuntimeError:
                if self._is_lost(work):
                    raise

    def stop(self) -> None:
        """Let the threads end once nothing is queued."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def forked(self) -> None:
        """In a child: start no thread for the parent's work."""
        self._most = 0

    def _is_lost(self, work: Callable[[], object]) -> bool:
        """After a thread could not be started: whether there is no other that will come to `work`."""
        with self._changed:
            self.threads -= 1
            lost = not self.threads and work in self._items
            if lost:
                self._items.remove(work)
        return lost

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except BaseException:
                logger.exception("What ran on a tinkex thread raised; tinkex goes on.")
            del work

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            self._idle += 1
            in_time = True
            while not self._items and in_time and not self._stopped:
                in_time = self._changed.wait(self._idle_after)
            self._idle -= 1
            if self._items:
                return self._items.popleft()
            self.threads -= 1
            return None
