"""Dynamic batching: calls that threads make at the same time become one batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from attrs import define

Call = TypeVar("Call")
Result = TypeVar("Result")


@define(eq=False)
class _Pending(Generic[Call, Result]):
    call: Call
    result: Result | None = None
    error: BaseException | None = None
    done: bool = False


class Batcher(Generic[Call, Result]):
    """Dynamic batcher without a thread of its own: the thread whose turn it is runs the calls of the others as well.

    No call waits for a batch to fill, and batches grow with the load. *work* gets at most *most* items and returns
    their results in order; if it fails, it fails for all of them. Safe to share between threads.
    """

    def __init__(self, work: Callable[[Sequence[Call]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._turn = threading.Lock()  # held while working: guards nothing but the turn
        self._lock = threading.Lock()  # guards _queue
        self._queue: list[_Pending[Call, Result]] = []

    def do(self, call: Call) -> Result:
        """Return the call's result once this thread or another has done it."""
        own: _Pending[Call, Result] = _Pending(call)
        with self._lock:
            self._queue.append(own)
        while not own.done:
            with self._turn:
                if not own.done:
                    self._run_batch()
        if own.error is not None:
            raise own.error.with_traceback(None)  # the same in every thread of the batch
        return own.result  # type: ignore[return-value]

    def _run_batch(self) -> None:
        with self._lock:
            some, self._queue = self._queue[: self._most], self._queue[self._most :]
        try:
            for pending, result in zip(some, self._work([pending.call for pending in some]), strict=True):
                pending.result = result
        except BaseException as error:  # noqa: BLE001 - it is raised in the threads that called
            for pending in some:
                pending.error = error
        finally:
            for pending in some:
                pending.done = True
