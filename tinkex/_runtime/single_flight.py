"""Single flight: one run of a coroutine for every task that needs its outcome."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tinkex._concurrency.fork_locks import new_lock
from tinkex._runtime.task import Coroutine, FutureWait, Scheduler


class SingleFlight:
    """Single flight of a coroutine: the first task that needs it starts it, the others wait; a failure is not kept."""

    def __init__(self, scheduler: Scheduler, coroutine: Callable[[], Coroutine[Any]]) -> None:
        self._scheduler = scheduler
        self._coroutine = coroutine
        self._lock = new_lock()  # guards _future
        self._future: Future[Any] | None = None
        self.value: Any = None  # the outcome of the run that succeeded

    def __call__(self) -> Coroutine[Any]:
        """The coroutine's outcome, from this or an earlier call."""
        with self._lock:
            future = self._future
            start = future is None or (future.done() and future.exception() is not None)
            if start:
                self._future = future = Future()
        assert future is not None
        if start:
            self._scheduler.start(self._run, future)
        done = yield FutureWait(future)
        error = done.exception()
        if error is not None:
            raise copy.copy(error)  # a copy each: a task adds to it what only that task knows
        return done.result()

    def _run(self) -> Coroutine[Any]:
        self.value = yield from self._coroutine()
        return self.value
