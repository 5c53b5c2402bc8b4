"""Session poller: one long poll for all samples of a client, where the server offers it (`retrieve_futures`)."""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any

from tinkex import _wire
from tinkex._api import limits
from tinkex._api.client import Api
from tinkex._api.endpoints import RETRIEVE_FUTURES
from tinkex._api.responses import decode_object
from tinkex._api.retry import is_transient
from tinkex._concurrency.fork_locks import new_lock
from tinkex._logging import about
from tinkex._runtime.task import Coroutine, ScheduledTask, Sleep, TaskCancelled
from tinkex.errors import APIError, APIResponseError, APIStatusError

logger = logging.getLogger("tinkex")

_LONG_POLL_SECONDS = 45.0
_ACK_SECONDS = 5.0
_PATIENCE_SECONDS = 300.0  # a task that hears nothing for so long polls for itself
_DEAD_SECONDS = 60.0  # after a failure for good, before it is tried again
_FLOOR_SECONDS = 0.02  # between two long polls with news: completions that come one by one are taken together
_GATHER_SECONDS = 0.1  # before a poll that only acknowledges
_MOST_UNCLAIMED = 10_000
_MOST_BAD_REQUESTS = 3


class Completion:
    """Completion of a request, with the size of its result in bytes where the server gives one."""

    __slots__ = ("size",)

    def __init__(self, size: int | None) -> None:
        self.size = size


_UNKNOWN = Completion(None)


class _Registration:
    """Registration of a task that waits for the end of one request."""

    __slots__ = ("since", "task", "wait_id")

    def __init__(self, task: ScheduledTask, wait_id: int, since: float) -> None:
        self.task = task
        self.wait_id = wait_id
        self.since = since


class CompletionWait:
    """Wait for the completion of a request; yields a `Completion`.

    It has no size where the task should poll for itself.
    """

    __slots__ = ("_poller", "_request_id", "_since")
    until: float = float("inf")  # the poller bounds it, at less than the cost of a timer each

    def __init__(self, poller: SessionPoller, request_id: str, since: float) -> None:
        self._poller = poller
        self._request_id = request_id
        self._since = since

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        """Register with the poller, which may know already."""
        self._poller.register(self._request_id, _Registration(task, wait_id, self._since))


class SessionPoller:
    """Poller of one sampling session and clone; idle, without a thread or a request, when no task waits.

    When polling fails for good, its tasks poll for themselves, and so do those that come in the minute after that.
    """

    def __init__(self, api: Api, sampling_session_id: str, clone: int) -> None:
        self._api = api
        self._session = sampling_session_id
        self._target = {
            "type": "sampling_session",
            "sampling_session_id": sampling_session_id,
            "cloned_sampler_id": clone,
        }
        self._lock = new_lock()  # guards all below
        self._registrations: dict[str, _Registration] = {}  # about in the order in which they began to wait
        self._unclaimed: OrderedDict[str, Completion] = OrderedDict()  # completions that no task waits for yet
        self._fetching: set[str] = set()  # requests known to have ended whose results are being fetched
        self._unacknowledged: set[str] = set()  # results the server need not keep
        self._running = False
        self.last_failure: str | None = None  # while polls fail
        self._cursor = 0
        self._dead_until = float("-inf")

    def completion(self, request_id: str, since: float) -> CompletionWait:
        """A wait for the completion of a request that was made at `since`."""
        return CompletionWait(self, request_id, since)

    def register(self, request_id: str, registration: _Registration) -> None:
        """See `CompletionWait`."""
        dead = self._api.clock.monotonic() < self._dead_until
        with self._lock:
            known = _UNKNOWN if dead else self._unclaimed.pop(request_id, None)
            if known is None:
                self._registrations[request_id] = registration
            elif not dead:
                self._fetching.add(request_id)
            start = known is None and not self._running
            self._running = self._running or start
        if known is not None:
            registration.task.resume(registration.wait_id, known)
        if start:
            self._api.scheduler.start(self._poll, Future())

    def fetched(self, request_id: str) -> None:
        """Acknowledge a request that is not asked for again, with the next poll, if it has ended."""
        with self._lock:
            self._registrations.pop(request_id, None)
            if request_id not in self._fetching:
                return
            self._fetching.remove(request_id)
            self._unacknowledged.add(request_id)
            start, self._running = not self._running, True
        if start:
            self._api.scheduler.start(self._poll, Future())

    def _poll(self) -> Coroutine[None]:
        bad_requests = 0
        while True:
            self._release_overdue()
            with self._lock:
                waiting = bool(self._registrations)
                acks = sorted(self._unacknowledged)
                if not waiting and not acks:
                    self._running = False
                    return
            asked_at = self._api.clock.monotonic()
            try:
                if not waiting:
                    yield Sleep(asked_at + _GATHER_SECONDS)
                yield from self._ask(acks, wait=waiting)
                bad_requests, self.last_failure = 0, None
            except (TaskCancelled, GeneratorExit):  # which all tasks are, together
                raise
            except BaseException as error:  # noqa: BLE001 - after any error: no task may wait for a poller that is gone
                if waiting and isinstance(error, APIError) and self._api.is_cut(error, asked_at):
                    bad_requests, self.last_failure = 0, None
                    yield from self._keep_distance(asked_at, news=0)
                    continue
                self.last_failure = self._api.masked(str(error))
                bad_requests += isinstance(error, APIStatusError) and error.status == 400
                pause = self._pause_after(error, bad_requests)
                if pause is None:
                    self._fail()
                    return
                if not waiting:  # it was only a courtesy
                    self._acknowledged(acks)
                    continue
                yield Sleep(self._api.clock.monotonic() + pause)

    def _release_overdue(self) -> None:
        """Have the tasks that have heard nothing for too long poll for themselves."""
        limit = self._api.clock.monotonic() - _PATIENCE_SECONDS
        with self._lock:
            old = list(itertools.takewhile(lambda entry: entry[1].since <= limit, self._registrations.items()))
            for request_id, _ in old:
                del self._registrations[request_id]
        for _, registration in old:
            registration.task.resume(registration.wait_id, _UNKNOWN)

    def _ask(self, acks: list[str], *, wait: bool) -> Coroutine[None]:
        fields: dict[str, Any] = {"target": self._target, "prev_cursor": self._cursor, "retrieved_request_ids": acks}
        if not wait:
            fields["timeout"] = 0
        seconds = _LONG_POLL_SECONDS if wait else _ACK_SECONDS
        asked_at = self._api.clock.monotonic()
        response = yield from self._api.call(
            RETRIEVE_FUTURES,
            _wire.encode_json(fields),
            self._api.config.current,
            seconds=seconds,
            high_priority=not wait,
        )
        if not 200 <= response.status < 300:
            raise self._api.refusal(response).error
        news = self._api.read(response, lambda: self._record(decode_object(response), acks))
        if wait:
            yield from self._keep_distance(asked_at, news)

    def _keep_distance(self, asked_at: float, news: int) -> Coroutine[None]:
        """Wait until the next long poll may be asked, after one that was asked at that time and brought `news`."""
        floor = _FLOOR_SECONDS if news else max(_FLOOR_SECONDS, self._api.config.current.min_poll_interval)
        if self._api.clock.monotonic() - asked_at < floor:
            yield Sleep(asked_at + floor)

    def _record(self, answer: dict[str, Any], acks: list[str]) -> int:
        """Resume the tasks whose requests have ended; how many completions are news."""
        completions, cursor = answer.get("completions"), answer.get("cursor")
        if not isinstance(completions, list) or not isinstance(cursor, int):
            raise APIResponseError("The server's answer to retrieve_futures has no completions or no cursor.")
        ended = [_completion(entry) for entry in completions]
        woken, news = [], 0
        self._acknowledged(acks)
        with self._lock:
            for request_id, completion in ended:
                registration = self._registrations.pop(request_id, None)
                if registration is None:
                    news += request_id not in self._unclaimed and request_id not in self._fetching
                    self._unclaimed[request_id] = completion
                else:
                    self._fetching.add(request_id)
                    woken.append((registration, completion))
            while len(self._unclaimed) > _MOST_UNCLAIMED:
                self._unclaimed.popitem(last=False)
            self._cursor = cursor
        for registration, completion in woken:
            registration.task.resume(registration.wait_id, completion)
        return news + len(woken)

    def _acknowledged(self, acks: list[str]) -> None:
        with self._lock:
            self._unacknowledged.difference_update(acks)

    def _pause_after(self, error: BaseException, bad_requests: int) -> float | None:
        """Seconds to the next poll; None where polling makes no sense any more."""
        if isinstance(error, APIStatusError) and error.should_retry is None:
            if error.status == 402:
                return 5.0
            if error.status == 400 and bad_requests <= _MOST_BAD_REQUESTS:
                return 1.0
        if not is_transient(error):
            return None
        return max(1.0, limits.RETRY_PAUSE.apply(getattr(error, "retry_after", None) or 0.0))

    def _fail(self) -> None:
        with self._lock:
            self._running = False
            self._unacknowledged.clear()
            registrations, self._registrations = self._registrations, {}
            self._dead_until = self._api.clock.monotonic() + _DEAD_SECONDS
        logger.warning(
            "The session poller ended; %d samples poll on their own: %s",
            len(registrations),
            self.last_failure,
            extra={**about(session=self._session, phase="waiting"), "failure": self.last_failure},
        )
        for registration in registrations.values():
            registration.task.resume(registration.wait_id, _UNKNOWN)


def _completion(entry: Any) -> tuple[str, Completion]:
    if not isinstance(entry, dict) or not isinstance(entry.get("request_id"), str):
        raise APIResponseError("The server's answer to retrieve_futures names no request.")
    size = entry.get("response_payload_uncompressed_size")
    usable = isinstance(size, int) and not isinstance(size, bool) and size > 0 and entry.get("state") == "finished"
    return entry["request_id"], Completion(size if usable else None)
