"""Queue of cancellations on the server: a few at a time, at a lower priority than everything else."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from tinkex import _wire
from tinkex._api.client import Api
from tinkex._api.endpoints import CANCEL_FUTURE
from tinkex._api.retry import RetryBudget
from tinkex._concurrency.fork_locks import new_lock
from tinkex._logging import about
from tinkex._runtime.task import Coroutine, Sleep
from tinkex.config import RetryConfig
from tinkex.errors import APIConnectionError, APIStatusError, TinkexError

logger = logging.getLogger("tinkex")

_TIMEOUT = 30.0
_RETRY = RetryConfig(max_attempts=3, max_elapsed=60.0, base_delay=1.0)
_MOST_WAITING = 10_000  # more are not sent: the end of the session cancels them, too
_LOOK_SECONDS = 0.02


class Cancellations:
    """Queue of request ids to cancel; `most` is how many calls may be under way at once, as the server wants it."""

    def __init__(self, api: Api, most: Callable[[], int]) -> None:
        self._api = api
        self._most = most
        self._lock = new_lock()  # guards _under_way and _closed
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)
        self._under_way = 0
        self._closed = False

    def add(self, request_id: str) -> None:
        """Queue a request id; never blocks."""
        with self._lock:
            if self._closed:
                return
            self._waiting.append(request_id)
            start = self._under_way < max(1, self._most())
            self._under_way += start
        if start:
            self._api.scheduler.start(self._work, Future())

    def close(self) -> None:
        """Drop what is queued, and what comes from now on: the end of the session cancels it, too."""
        with self._lock:
            self._closed = True
        self._waiting.clear()

    def drain(self, seconds: float, coming: Callable[[], int]) -> Coroutine[None]:
        """Wait until the queue is empty, for `seconds` at most; `coming` says how many may still be added."""
        until = self._api.clock.monotonic() + seconds
        while (coming() or self._under_way) and self._api.clock.monotonic() < until:
            yield Sleep(self._api.clock.monotonic() + _LOOK_SECONDS)

    def _work(self) -> Coroutine[None]:
        try:
            while (request_id := self._next()) is not None:
                yield from self._cancel(request_id)
        except BaseException:  # cancelled, or an error of our own
            with self._lock:
                self._under_way -= 1
            raise

    def _next(self) -> str | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._under_way -= 1
            return None

    def _cancel(self, request_id: str) -> Coroutine[None]:
        body, budget = _wire.encode_json({"request_id": request_id}), RetryBudget(_RETRY, self._api.clock)
        try:
            while True:
                try:
                    response = yield from self._api.call(
                        CANCEL_FUTURE, body, self._api.config.current, seconds=_TIMEOUT, high_priority=False
                    )
                    if 200 <= response.status < 300:
                        return
                    raise self._api.refusal(response).error
                except (APIConnectionError, APIStatusError) as error:
                    delay = budget.delay(error)
                yield Sleep(self._api.clock.monotonic() + delay)
        except TinkexError as error:
            logger.debug("The server was not told to stop work on %s: %s", request_id, error,
                         extra=about(request_id))  # fmt: skip
