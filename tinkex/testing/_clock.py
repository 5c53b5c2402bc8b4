"""Manual clock for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tinkex._validation.arguments import check_seconds
from tinkex._validation.public_names import with_public_names


@with_public_names
class ManualClock:
    """Manual clock: starts at 0 and stands still until `advance`.

    Safe to share between threads.

    >>> clock = ManualClock()
    >>> clock.advance(2.5)
    >>> clock.monotonic()
    2.5
    """

    def __init__(self, monotonic: float = 0.0, wall: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()  # guards all below
        self._monotonic = monotonic
        self._wall = wall
        self._callbacks: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        """Seconds since the clock was made, plus the start value it was given."""
        with self._lock:
            return self._monotonic

    def wall(self) -> float:
        """Seconds since 1970."""
        with self._lock:
            return self._wall

    def advance(self, seconds: float) -> None:
        """Move both clocks on, then wake every subscriber, on this thread.

        Raises:
            ValueError: *seconds* is negative, or no clock has so many.
        """
        seconds = check_seconds("seconds", seconds, zero=True)
        with self._lock:
            self._monotonic += seconds
            self._wall += seconds
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call *callback* after every `advance`; the function returned ends that."""
        with self._lock:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return unsubscribe
