"""The gate that rows pass one by one: it holds the limits, for the thread that sends and the one that writes."""

from __future__ import annotations

import threading

from tinkex._clock import Clock
from tinkex.bulk._pace import Limits, Rate, Window
from tinkex.queue_state import QueueState, QueueStateChanged

_LOOK_AGAIN = 0.5  # seconds: whoever waits here sees a halt after this long at the latest


class Gate:
    """Lets rows in as the limits allow. Safe to share between threads; also an observer of the server's pauses."""

    def __init__(self, limits: Limits, clock: Clock, halt: threading.Event) -> None:
        self._clock = clock
        self._halt = halt
        self._changed = threading.Condition(threading.Lock())  # guards all below
        self.window = Window(limits, clock.monotonic())
        self._requests = Rate(limits.requests_per_minute)
        self._tokens = Rate(limits.tokens_per_minute)
        self.in_flight = 0
        self.closed = False

    def enter(self, tokens: int | None) -> bool:
        """Wait until one more row may go; False if none may any more.

        It may use so many tokens; None for a row that asks nothing of the server.
        """
        with self._changed:
            while not (self.closed or self._halt.is_set()):
                now = self._clock.monotonic()
                delay = 0.0 if tokens is None else max(self._requests.delay(now), self._tokens.delay(now))
                if self.in_flight >= self.window.limit:
                    self.window.waited()
                    delay = _LOOK_AGAIN
                if delay <= 0:
                    if tokens is not None:
                        self._requests.spend(1, now)
                        self._tokens.spend(tokens, now)
                    self.in_flight += 1
                    return True
                self._changed.wait(min(delay, _LOOK_AGAIN))
            return False

    def leave(self, rows: int, unused_tokens: int) -> None:
        """So many rows have ended, and used so many tokens less than they were let in with."""
        now = self._clock.monotonic()
        with self._changed:
            self.in_flight -= rows
            self._tokens.spend(-unused_tokens, now)
            self.window.ended(rows, now)
            self._changed.notify()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def on_queue_state_change(self, event: QueueStateChanged) -> None:
        """Have the window shrink when the server asks for a pause."""
        if event.state is not QueueState.ACTIVE:
            with self._changed:
                self.window.paused(self._clock.monotonic())
