"""Telemetry events about the client's own failures: built and queued here, posted by the telemetry sender.

No event holds a key, a header or a prompt: values under such names are withheld, credentials are masked, and the text
of an exception is told only where tinkex wrote it.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, ParamSpec

from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock, timestamp
from tinkex._concurrency.fork_locks import new_lock
from tinkex._identity import random_uuid
from tinkex._validation.public_names import with_public_names
from tinkex.errors import TinkexError, clean_text, is_user_error

LARGEST_BATCH = 100
"""The most events that the server takes at once."""

_P = ParamSpec("_P")
_logger = logging.getLogger("tinkex.telemetry")
_SEVERITIES = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
_PRIVATE = r"(?i)api.?key|auth|chunk|cookie|credential|header|jwt|password|prompt|secret|tokens"
_WITHHELD = "[withheld]"
_TEXT_LIMIT = 500
_ITEM_LIMIT = 50
_DEPTH_LIMIT = 4
_NUMBER_LIMIT = 2.0**63  # from there on, infinity and NaN included, not every JSON reader follows


def _never_raises(method: Callable[_P, None]) -> Callable[_P, None]:
    """Log the errors of a reporting method: a failure to report must not become a second failure."""

    @functools.wraps(method)
    def attempt(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a report never fails its caller
            _logger.debug("No event was queued: %s.", type(error).__name__)

    return attempt


@with_public_names
class Telemetry:
    """Queue of telemetry events of one session. Safe to share between threads; never blocks, never raises.

    Args:
        session_id: the session they belong to. None: an id of its own, and no start or end is told.
        sdk_version: what the server takes the client for.
        process_uuid: stands for this process. None: a new one.
        max_events: how many may wait; later ones are dropped and counted.
        clock: where time stamps come from.
    """

    on_event: Callable[[], None] | None
    """Called, without a lock held, by the thread whose event is the first to wait; None: no call is made."""

    def __init__(
        self,
        *,
        session_id: str | None,
        sdk_version: str,
        process_uuid: str | None = None,
        max_events: int = 10_000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.on_event = None
        self._has_session = session_id is not None
        self._session_id = session_id if session_id is not None else f"sessionless-{random_uuid()}"
        self._sdk_version = sdk_version
        self._process_uuid = process_uuid or random_uuid()
        self._max_events = max_events
        self._clock = clock
        self._started_at = clock.monotonic()
        self._lock = new_lock()  # guards _events, _next_index, _dropped
        self._events: deque[dict[str, Any]] = deque()
        self._next_index = 0
        self._dropped = 0

    @property
    def pending(self) -> int:
        """How many events wait."""
        return len(self._events)

    @property
    def dropped(self) -> int:
        """How many events were dropped because too many waited."""
        return self._dropped

    @_never_raises
    def log(self, event_name: str, data: Mapping[str, object] | None = None, severity: str = "INFO") -> None:
        """Queue an event of any kind; *event_name* should be one of few, and *data* what JSON can hold."""
        name = clean_text(str(event_name), 200)
        self._queue("GENERIC_EVENT", severity, event_name=name, event_data=_bounded_json(data or {}))

    @_never_raises
    def log_exception(self, error: BaseException, severity: str = "ERROR") -> None:
        """Queue an event about *error*: a warning if it is the caller's to correct, else of the given severity."""
        kind = type(error).__name__
        message = clean_text(str(error), _TEXT_LIMIT) if isinstance(error, TinkexError) else _WITHHELD
        if is_user_error(error):
            data = {"error_type": kind, "message": message, "status_code": getattr(error, "status", None)}
            self.log("user_error", data, "WARNING")
            return
        trace = "\n".join(_own_frames(error.__traceback__))
        self._queue("UNHANDLED_EXCEPTION", severity, error_message=message, error_type=kind, traceback=trace)

    @_never_raises
    def session_start(self) -> None:
        """Queue the event that opens a session."""
        if self._has_session:
            self._started_at = self._clock.monotonic()
            self._queue("SESSION_START", "INFO")

    @_never_raises
    def session_end(self) -> None:
        """Queue the event that closes a session, with its duration."""
        if self._has_session:
            seconds = self._clock.monotonic() - self._started_at
            import datetime as dt  # slow to load, for what comes at the end

            self._queue("SESSION_END", "INFO", duration=str(dt.timedelta(seconds=seconds)))

    def take_batch(self, limit: int = LARGEST_BATCH) -> dict[str, Any] | None:
        """Remove the oldest events, *limit* at most, and return the body that reports them; None if none wait."""
        with self._lock:
            size = min(limit, LARGEST_BATCH, len(self._events))
            events = [self._events.popleft() for _ in range(size)]
        if not events:
            return None
        return {
            "events": events,
            "platform": os.uname().sysname,
            "sdk_version": self._sdk_version,
            "session_id": self._session_id,
            "process_uuid": self._process_uuid,
        }

    def _queue(self, event: str, severity: str, **fields: object) -> None:
        record = {
            "event": event,
            "event_id": random_uuid(),
            "severity": severity if severity in _SEVERITIES else "INFO",
            "timestamp": timestamp(self._clock.wall()),
            **fields,
        }
        with self._lock:
            waiting = len(self._events)
            if waiting < self._max_events:
                self._events.append({**record, "event_session_index": self._next_index})
                self._next_index += 1
            else:
                self._dropped += 1
            first_drop = waiting >= self._max_events and self._dropped == 1
        if first_drop:
            _logger.warning("Telemetry is dropped: %d events wait to be posted.", waiting)
        if waiting == 0 and self.on_event is not None:
            self.on_event()


def _bounded_json(value: object, depth: int = 0) -> Any:
    """Reduce *value* to bounded JSON; of what JSON does not know only the type is told."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < _NUMBER_LIMIT:
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, str):
        return clean_text(value, _TEXT_LIMIT)
    if isinstance(value, Mapping) and depth < _DEPTH_LIMIT:
        return {clean_text(str(key), 100): _item(key, item, depth) for key, item in islice(value.items(), _ITEM_LIMIT)}
    if isinstance(value, list | tuple) and depth < _DEPTH_LIMIT:
        return [_bounded_json(item, depth + 1) for item in value[:_ITEM_LIMIT]]
    return f"<{type(value).__name__}>"


def _item(key: object, value: object, depth: int) -> Any:
    """Withhold what stands under a private name, but not counts: prompt_tokens is no prompt."""
    private = re.search(_PRIVATE, str(key)) and not isinstance(value, int | float | None)
    return _WITHHELD if private else _bounded_json(value, depth + 1)


def _own_frames(trace: TracebackType | None) -> Iterator[str]:
    """Name the places in tinkex that an exception passed: no path, no source line, nothing of the caller's code."""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "tinkex":
            yield f"{module}:{trace.tb_lineno} {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
