"""Clocks: monotonic and wall time, read by this module alone in the client."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeGuard


class Clock(Protocol):
    """Clock interface; tests pass a manual clock."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def wall(self) -> float:
        """Seconds since 1970 in UTC: for token expiry and time stamps only."""


class MovedClock(Clock, Protocol):
    """Manual clock: it stands still until it is moved, and then calls its subscribers, which count no seconds."""

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every move, until the function returned is called."""


def is_moved(clock: Clock) -> TypeGuard[MovedClock]:
    """Tell whether a clock is a manual one, by its methods; as a check of the protocol it takes 20 microseconds."""
    return hasattr(clock, "subscribe")


class SystemClock:
    """The system's clocks."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


SYSTEM_CLOCK: Clock = SystemClock()


def timestamp(wall: float) -> str:
    """Wall time as ISO 8601 in UTC, to the microsecond; `datetime`, which writes it too, is slow to import.

    >>> timestamp(1.25)
    '1970-01-01T00:00:01.250000Z'
    """
    seconds, microseconds = divmod(round(wall * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{microseconds:06}Z"


thread_seconds = time.thread_time
"""CPU seconds of the calling thread: for bounds on computations, which waiting does not count towards."""

nap = time.sleep
"""Sleep for a moment, by no clock that a test moves: for a fraction of a millisecond, which nothing waits for."""
