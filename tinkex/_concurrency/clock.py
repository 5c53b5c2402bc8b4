"""The only module of the client that reads a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable


class Clock(Protocol):
    """Where the client gets its time from; tests pass one they move by hand."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def wall(self) -> float:
        """Seconds since 1970 in UTC: for token expiry and time stamps only."""


@runtime_checkable
class MovedClock(Clock, Protocol):
    """A clock that stands still until somebody moves it: whoever sleeps by it is told, instead of counting seconds."""

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every move, until the function returned is called."""


class SystemClock:
    """The system's clocks."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


SYSTEM_CLOCK: Clock = SystemClock()
