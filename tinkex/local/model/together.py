"""Work that threads ask for at the same time, done in one go by one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from attrs import define

Job = TypeVar("Job")
Result = TypeVar("Result")


@define(eq=False)
class _Asked(Generic[Job, Result]):
    job: Job
    result: Result | None = None
    error: BaseException | None = None
    done: bool = False


class Together(Generic[Job, Result]):
    """Gives threads their turns: whoever gets one does what others have asked for meanwhile as well.

    So nobody waits for company, and the more there is to do, the more of it is done together. *work* gets at most
    *most* jobs and returns their results in order; if it fails, it fails for all of them. Safe to share between
    threads.
    """

    def __init__(self, work: Callable[[Sequence[Job]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._turn = threading.Lock()  # held while working: guards nothing but the turn
        self._lock = threading.Lock()  # guards _asked
        self._asked: list[_Asked[Job, Result]] = []

    def do(self, job: Job) -> Result:
        """Return the job's result once this thread or another has done it."""
        mine: _Asked[Job, Result] = _Asked(job)
        with self._lock:
            self._asked.append(mine)
        while not mine.done:
            with self._turn:
                if not mine.done:
                    self._do_some()
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[return-value]

    def _do_some(self) -> None:
        with self._lock:
            some, self._asked = self._asked[: self._most], self._asked[self._most :]
        try:
            for asked, result in zip(some, self._work([asked.job for asked in some]), strict=True):
                asked.result = result
        except BaseException as error:  # noqa: BLE001 - it belongs to those who asked
            for asked in some:
                asked.error = error
        finally:
            for asked in some:
                asked.done = True
