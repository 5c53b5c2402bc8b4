"""Queue states: the events, the observer interface, and the default observer, a rate-limited logger."""

from __future__ import annotations

import enum
import logging
from collections import OrderedDict
from typing import Protocol, runtime_checkable

import attrs

from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock
from tinkex._concurrency.fork_locks import new_lock
from tinkex._logging import about
from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise, Record
from tinkex._validation.public_names import with_public_names
from tinkex.errors import clean_text

_MOST_SESSIONS = 4096


class QueueState(enum.Enum):
    """Queue state of a sampling session: whether the server works on its requests, or why not."""

    ACTIVE = "active"
    PAUSED_CAPACITY = "paused_capacity"
    PAUSED_RATE_LIMIT = "paused_rate_limit"
    UNKNOWN = "unknown"

    @classmethod
    def parse(cls, text: object) -> QueueState:
        """Read a server's word; one that is not known, or none, is `UNKNOWN`.

        >>> QueueState.parse("paused_capacity"), QueueState.parse("resting")
        (<QueueState.PAUSED_CAPACITY: 'paused_capacity'>, <QueueState.UNKNOWN: 'unknown'>)
        """
        try:
            return cls(text.strip().lower() if isinstance(text, str) else text)
        except ValueError:
            return cls.UNKNOWN


_REASONS = {
    QueueState.PAUSED_RATE_LIMIT: "concurrent LoRA rate limit hit",
    QueueState.PAUSED_CAPACITY: "out of capacity",
}


@with_field_docs
@attrs.frozen(eq=False, repr=False)
class QueueStateChanged(Fieldwise):
    """Event of a queue-state change, as observers get it."""

    state: QueueState
    """The state now."""
    reason: str | None
    """The server's reason, in its words; None if it gave none."""
    sampling_session_id: str
    """The sampling session that the state belongs to."""
    request_id: str | None = None
    """The request whose answer told; None if it was not accepted yet."""
    previous: QueueState | None = None
    """The state before; None if this is the first word."""
    seconds_since: float | None = None
    """Seconds since the state before was first seen; None if this is the first word."""


@runtime_checkable
class QueueStateObserver(Protocol):
    """Callback interface for queue-state changes.

    Calls come from threads of the client, several at once; an exception is logged and ignored.
    """

    def on_queue_state_change(self, event: QueueStateChanged) -> None:
        """Take note of *event*."""


class Debounce:
    """Debounce state of one session between two events. Instants are monotonic seconds."""

    __slots__ = ("announced", "paused_at", "unsaid", "warned_at")

    def __init__(
        self, warned_at: float | None = None, unsaid: int = 0, paused_at: float | None = None, announced: bool = False
    ) -> None:
        self.warned_at: float | None = warned_at  # when the last warning was logged; None if none was
        self.unsaid: int = unsaid  # events since the last message that were not logged
        self.paused_at: float | None = paused_at  # when the pause began that has not ended; None while there is none
        self.announced: bool = announced  # whether that pause was logged


class Paused(Record):
    """The verdict: log a warning, and that *unsaid* more went before it without a message."""

    __slots__ = ("unsaid",)

    def __init__(self, unsaid: int) -> None:
        self.unsaid: int = unsaid


class Resumed(Record):
    """The verdict: log that a pause of *seconds* has ended."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds: float = seconds


def decide(past: Debounce, state: QueueState, now: float, interval: float) -> tuple[Debounce, Paused | Resumed | None]:
    """Debounce one event: a pure function of the debounce state and the time.

    Warnings of one session are at least *interval* seconds apart. The end of a pause is told if its beginning was.
    """
    if state is QueueState.ACTIVE:
        if past.paused_at is None or not past.announced:
            return Debounce(past.warned_at, past.unsaid), None
        return Debounce(past.warned_at), Resumed(now - past.paused_at)
    paused_at = now if past.paused_at is None else past.paused_at
    if past.warned_at is not None and now - past.warned_at < interval:
        return Debounce(past.warned_at, past.unsaid + 1, paused_at, past.announced), None
    return Debounce(now, 0, paused_at, announced=True), Paused(past.unsaid)


@with_public_names
class QueueStateLogger:
    """Rate-limited log of queue states: pauses as warnings, their ends as INFO, one warning a session in *interval* s.

    Safe to share between threads and clients. The sessions heard of last are remembered, 4,096 of them.
    """

    interval: float
    """Seconds between two warnings about one session, at least; it may be set at any time."""

    def __init__(
        self, interval: float = 60.0, clock: Clock = SYSTEM_CLOCK, logger: logging.Logger | None = None
    ) -> None:
        self.interval = interval
        self._clock = clock
        self._logger = logger or logging.getLogger("tinkex.queue_state")
        self._lock = new_lock()  # guards _sessions
        self._sessions: OrderedDict[str, Debounce] = OrderedDict()

    def on_queue_state_change(self, event: QueueStateChanged) -> None:
        """Log *event*, unless the session's last message is too recent."""
        session = event.sampling_session_id
        with self._lock:
            past = self._sessions.pop(session, Debounce())
            self._sessions[session], verdict = decide(past, event.state, self._clock.monotonic(), self.interval)
            if len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        if isinstance(verdict, Paused):
            self._logger.warning("%s", _pause_text(event, verdict), extra=_record_fields(event))
        elif isinstance(verdict, Resumed):
            text = "Sampling resumed for %s after %.0f s."
            self._logger.info(text, clean_text(session, 200), verdict.seconds, extra=_record_fields(event))


def _pause_text(event: QueueStateChanged, verdict: Paused) -> str:
    reason = clean_text(event.reason or "", 300) or _REASONS.get(event.state, "unknown")
    more = f" ({verdict.unsaid} more since the last message)" if verdict.unsaid else ""
    return f"Sampling is paused for {clean_text(event.sampling_session_id, 200)}. Reason: {reason}{more}"


def _record_fields(event: QueueStateChanged) -> dict[str, str | None]:
    phase = "submitting" if event.request_id is None else "waiting"
    return {
        **about(event.request_id, event.sampling_session_id, phase),
        "queue_state": event.state.value,
    }
