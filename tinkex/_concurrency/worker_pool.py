"""Worker pool: threads for work that never blocks, started as work waits for them, and their queue.

These are daemon threads of our own, as are those of the elastic pool. The standard executor's are joined when the
interpreter exits, which takes as long as the slowest call they are in; ours never hold an exit up.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("tinkex")

_BEHIND = 3  # items that wait: what is to come would wait behind them
_STUCK = 3  # looks, one after the other, at a queue of which nothing is taken
_MOVING = 16  # looks at one of which something was taken each time


class Runnable(Protocol):
    """Work item: a worker runs it once."""

    def run(self) -> None:
        """Do the work; must not block for long and must not raise."""


class _Call:
    """Work item of the executor's public `submit`: a call and its future."""

    def __init__(self, future: Future[Any], work: Callable[[], Any]) -> None:
        self._future = future
        self._work = work

    def run(self) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            self._future.set_result(self._work())
        except BaseException as error:  # noqa: BLE001 - it belongs to the holder of the future
            self._future.set_exception(error)


class WorkerPool(ThreadPoolExecutor):
    """A ThreadPoolExecutor whose daemon threads are started by its watcher, and whose queue waits for no lock.

    The standard `submit` starts threads on the caller's time and holds a process-wide lock while it does. Here the
    first is started by `start`, and another, up to `count`, whenever `watch` sees an item for which none is free.
    """

    def __init__(self, workers: int, name: str) -> None:
        super().__init__(max_workers=workers, thread_name_prefix=name)
        self._items: WorkQueue[Runnable | None] = WorkQueue(workers, self._grow)
        self._refused = False  # whether it was said that the system allows no more threads
        self._ending = False
        self.count = workers
        self.put: Callable[[Runnable], None] = self._items.put
        self.watch: Callable[[], bool] = self._items.watch
        self.watched_by: Callable[[Callable[[], object]], None] = self._items.watched_by
        self.waiting: Callable[[], int] = self._items.__len__

    @property
    def threads(self) -> int:
        """How many threads have been started."""
        return len(self._items.threads)

    def start(self) -> None:
        """Start the first worker, unless there is one; raises what `threading` does where there can be none."""
        if not self._items.threads:
            self._start_one()

    def _grow(self) -> None:
        """Start one more worker, on the watcher's thread. Where there can be none now, it is tried again."""
        try:
            self._start_one()
        except (RuntimeError, MemoryError):
            if not self._refused and threading.main_thread().is_alive():  # else Python 3.12 starts no thread any more
                logger.exception("Only %d of %d tinkex workers could be started.", self.threads, self.count)
                self._refused = True

    def _start_one(self) -> None:
        name = f"{self._thread_name_prefix}-{self.threads}"
        thread = threading.Thread(target=_work, args=(self._items,), name=name, daemon=True)
        thread.start()
        self._items.threads.append(thread)

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
        self._items.watched_by(None)
        for _ in range(self.count):
            self._items.put(None)

    def join(self, seconds: float) -> None:
        """Wait a moment, after `shutdown`, until the threads have ended."""
        started = tuple(self._items.threads)
        for thread in started:
            thread.join(seconds / len(started))

    def forked(self) -> None:
        """In a child, where no thread is: take nothing more."""
        self.put = _drop
        self._items.watched_by(None)


def _drop(item: Runnable) -> None:
    """Drop what no thread would run."""


def _work(items: WorkQueue[Runnable | None]) -> None:
    sleep_lock = threading.Lock()
    sleep_lock.acquire()
    while (item := items.take(sleep_lock)) is not None:
        try:
            item.run()
        except BaseException:
            logger.exception("A tinkex worker met an error of its own; please report it.")
        del item  # an idle worker keeps nothing alive


class WorkQueue(Generic[T]):
    """FIFO work queue with LIFO wake-up: of the idle threads, the one that worked last takes the next item.

    Its stack, its share of the allocator's memory and its core's caches are warm from its last work. Queues of the
    standard library wake the thread that has slept longest: one item after the other then goes through the memory of
    all threads. `put` waits for no lock, so that it may be called wherever a collection may come.

    An idle thread stands in `_idle` and sleeps on its sleep lock, which is locked but for the moment between the call
    that wakes it and its waking. No item is left behind beside sleepers: `put` adds before it looks at `_idle`, a
    thread that goes to sleep looks for items again first, and one that wakes wakes the next if there are more. So they
    are woken one by one, as each can run: a burst that one of them can do alone wakes no crowd. A thread may be woken
    without need; it looks, and sleeps on.

    While it is behind, that is, some items wait, one thread takes them all, and the others rest: several would only
    take the interpreter from each other at every system call. Another thread is told to `watch` then, which has one
    more work where nothing is taken for a while. It is told, too, where an item comes and all threads are at work, and
    has one more started.

    Args:
        limit: how many threads there may be. 0: as many as call `take`.
        grow: starts one more, if it can, and adds it to `threads`.
    """

    __slots__ = (
        "_at_work", "_grow", "_idle", "_items", "_limit", "_looks", "_most", "_moving", "_notify", "_seen", "_stuck",
        "_taken", "_told", "_watched", "threads",
    )  # fmt: skip

    def __init__(self, limit: int = 0, grow: Callable[[], object] = bool) -> None:
        self.threads: list[threading.Thread] = []
        self._limit = limit
        self._grow = grow
        self._items: deque[T] = deque()
        self._idle: list[threading.Lock] = []
        self._at_work: set[threading.Lock] = set()
        self._taken = 0  # items, about: counted unlocked
        self._notify: Callable[[], object] | None = None
        self._told = -1  # before which look the watcher was told
        # Written by `watch` alone:
        self._looks = 0
        self._watched = False  # whether the next look comes by itself
        self._most = 1  # threads at work while it is behind
        self._seen = 0  # items taken
        self._stuck = self._moving = 0  # looks that saw nothing, or something, taken

    def __len__(self) -> int:
        return len(self._items)

    def watched_by(self, notify: Callable[[], object] | None) -> None:
        """Have `notify` called when the queue falls behind: `watch` is called soon then. None: there is no watcher."""
        self._notify = notify

    def put(self, item: T) -> None:
        """Add an item, and wake a thread if one sleeps."""
        self._items.append(item)
        behind = self._is_behind()
        if behind:
            self._tell()
        if not (behind and self._at_work):
            self._wake()

    def take(self, sleep_lock: threading.Lock) -> T:
        """The next item, as soon as there is one; `sleep_lock` is locked, and belongs to the calling thread."""
        at_work, listed = self._at_work, False
        at_work.discard(sleep_lock)
        while True:
            if len(at_work) < self._most or not self._is_behind():
                try:
                    item = self._items.popleft()
                    break
                except IndexError:
                    pass
            if listed:
                sleep_lock.acquire()
                continue
            self._idle.append(sleep_lock)
            listed = True
            if self._is_behind():
                self._tell()
        at_work.add(sleep_lock)
        self._taken += 1
        if listed:
            self._idle.remove(sleep_lock)
        if self._items and not self._is_behind():
            self._wake()
        return item

    def watch(self) -> bool:
        """Whether to look again, a fraction of a millisecond later: threads rest while it is behind."""
        self._looks += 1
        self._watched = False  # first of all: a put, or a thread that goes to sleep, is seen now, or tells
        if self._lacks_threads():
            self._grow()
        self._watched = (len(self.threads) < self._limit or bool(self._idle)) and self._is_behind()
        if not self._watched:
            if not self._is_behind():
                self._most = 1
            self._stuck = self._moving = 0
            return False
        moves, self._seen = self._taken != self._seen, self._taken
        self._stuck, self._moving = (0, self._moving + 1) if moves else (self._stuck + 1, 0)
        if self._stuck == _STUCK:
            self._stuck, self._most = 0, self._most + 1
            self._wake()
        elif self._moving == _MOVING:
            self._moving, self._most = 0, max(1, self._most - 1)
        return True

    def _lacks_threads(self) -> bool:
        """Whether an item waits that one more thread should take: all are at work, none sleeps or is on its way."""
        at_work, threads = len(self._at_work), len(self.threads)
        return (
            threads < self._limit
            and self._notify is not None
            and bool(self._items)
            and not self._idle
            and at_work >= threads
            and (at_work < self._most or not self._is_behind())
        )

    def _tell(self) -> None:
        """Have the watcher look, unless it will, or was told to; noted last, since a Ctrl-C may come on the way."""
        looks, notify = self._looks, self._notify
        if notify is not None and not self._watched and self._told != looks:
            notify()
            self._told = looks

    def _is_behind(self) -> bool:
        return len(self._items) >= _BEHIND and self._notify is not None

    def _wake(self) -> None:
        """Wake the thread that went to sleep last, unless it is being woken."""
        try:
            sleep_lock = self._idle[-1]
            if sleep_lock.locked():
                sleep_lock.release()
        except (IndexError, RuntimeError):  # no thread sleeps, or another call has just woken it
            if len(self.threads) < self._limit:
                self._tell()
