"""Rate limiting and adaptive concurrency: how many rows at once, and how many a minute. The caller passes the time."""

from __future__ import annotations

import threading
from typing import Any

import attrs

from tinkex._concurrency.clock import Clock
from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.values import real, shown, whole
from tinkex.queue_state import QueueState, QueueStateChanged

MOST_IN_FLIGHT = 1000
_START = 64
_HELPS = 1.1  # a wider window has to bring this much more
_PATIENCE = 4  # rounds between two attempts at more
_SHORTEST_ROUND = 0.25  # seconds: less says nothing about a rate
_FEWEST = 8  # ends in a round
_DEAF = 5.0  # seconds: pauses that come together shrink the window once


def _positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not real(attribute.name, value) > 0:
        raise ValueError(f"{attribute.name} must be more than 0, not {shown(value)}")


def _counted(_: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None:
        whole(attribute.name, value, 1)


@with_field_docs
@attrs.frozen(kw_only=True)
class Limits:
    """Rate and concurrency limits of a run.

    - *max_in_flight*: most rows at once; None for 1,000.
    - *requests_per_minute*, *tokens_per_minute*: None for no limit. Tokens are those of the prompt and the most that
      may be sampled; what is not used is given back when the row ends. Both are spread evenly, without bursts.
    - *adaptive*: begin with 64 rows at once, grow while that brings more rows a second, shrink when the server asks for
      a pause. False: always as many as allowed.
    """

    max_in_flight: int | None = attrs.field(default=None, validator=_counted)
    requests_per_minute: float | None = attrs.field(default=None, validator=_positive)
    tokens_per_minute: float | None = attrs.field(default=None, validator=_positive)
    adaptive: bool = True

    def share(self, count: int) -> Limits:
        """The part of these limits that each of `count` workers may use, so that together they keep them.

        >>> Limits(max_in_flight=100, requests_per_minute=60).share(4)
        Limits(max_in_flight=25, requests_per_minute=15.0, tokens_per_minute=None, adaptive=True)
        """
        most = self.max_in_flight or MOST_IN_FLIGHT
        return Limits(
            max_in_flight=max(1, most // count),
            requests_per_minute=self.requests_per_minute and self.requests_per_minute / count,
            tokens_per_minute=self.tokens_per_minute and self.tokens_per_minute / count,
            adaptive=self.adaptive,
        )


class Rate:
    """Leaky-bucket rate limiter: an even flow of so much a minute, without bursts."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60 / per_minute if per_minute else 0.0
        self._free_at = float("-inf")

    def delay(self, now: float) -> float:
        """Seconds until the next may go; 0 for at once."""
        return max(0.0, self._free_at - now)

    def spend(self, amount: float, now: float) -> None:
        """Let `amount` go; a negative one was not used after all."""
        self._free_at = max(self._free_at, now) + amount * self._seconds_each


class Window:
    """Adaptive concurrency limit: grows while that raises the rate, shrinks on pauses, and is never less than one.

    A round is as many ends as the window is wide, or a multiple of that if it is narrow, and judged only if rows had to
    wait for the window. As long as each wider window brings more rows a second, the next is twice as wide; then it
    stays, and tries a quarter more now and then. A round that a try does not speed up takes the try back.
    """

    def __init__(self, limits: Limits, now: float = 0.0) -> None:
        self._most = limits.max_in_flight or MOST_IN_FLIGHT
        self._adaptive = limits.adaptive
        self.limit = min(self._most, _START) if limits.adaptive else self._most
        self.state = "growing" if limits.adaptive else "fixed"
        self._factor = 2.0
        self._before = self.limit  # the window to go back to
        self._rate = 0.0  # rows a second with that one
        self._patience = _PATIENCE
        self._deaf_until = float("-inf")
        self._begin_round(now)

    def waited(self) -> None:
        """Note that a row was ready and found the window full."""
        self._full = True

    def ended(self, count: int, now: float) -> None:
        """Note that `count` rows are no longer in flight."""
        self._ends += count
        seconds = now - self._since
        if self._ends >= self.limit * -(-_FEWEST // self.limit) and seconds >= _SHORTEST_ROUND:
            if self._adaptive and self._full:
                self._judge(self._ends / seconds)
            self._begin_round(now)

    def paused(self, now: float) -> None:
        """Halve the limit, because the server asked for a pause."""
        if not self._adaptive or now < self._deaf_until:
            return
        self._deaf_until = now + _DEAF
        self.limit = self._before = max(1, self.limit // 2)
        self._settle("backing off")
        self._begin_round(now)

    def _judge(self, rate: float) -> None:
        if self.state == "growing" and rate < self._rate * _HELPS:
            self.limit = self._before
            self._settle("steady")
        elif self.state == "growing":
            self._rate = rate
            self._grow()
        else:
            self._rate, self._patience = rate, self._patience - 1
            if self._patience <= 0:
                self._grow()

    def _grow(self) -> None:
        self._before = self.limit
        self.limit = min(self._most, max(self.limit + 1, int(self.limit * self._factor)))
        if self.limit == self._before:
            self._settle("steady")
        else:
            self.state = "growing"

    def _settle(self, state: str) -> None:
        self.state = state
        self._factor = 1.25
        self._patience = _PATIENCE

    def _begin_round(self, now: float) -> None:
        self._since = now
        self._ends = 0
        self._full = False


_LOOK_AGAIN = 0.5  # seconds: a waiting feeder sees a halt after this long at the latest


class Gate:
    """Admission control of a run's rows. Safe to share between threads; also an observer of the server's pauses."""

    def __init__(self, limits: Limits, clock: Clock, halt: threading.Event) -> None:
        self._clock = clock
        self._halt = halt
        self._changed = threading.Condition(threading.Lock())  # guards all below
        self.window = Window(limits, clock.monotonic())
        self._requests = Rate(limits.requests_per_minute)
        self._tokens = Rate(limits.tokens_per_minute)
        self._has_rates = bool(limits.requests_per_minute or limits.tokens_per_minute)
        self.in_flight = 0
        self.closed = False

    def enter(self, tokens: int | None, samples: int = 1) -> bool:
        """Wait until one more row may go; False if none may any more.

        It may use so many tokens, in so many samples; None for a row that asks nothing of the server.
        """
        with self._changed:
            while not (self.closed or self._halt.is_set()):
                now = delay = 0.0
                if tokens is not None and self._has_rates:
                    now = self._clock.monotonic()
                    delay = max(self._requests.delay(now), self._tokens.delay(now))
                if self.in_flight >= self.window.limit:
                    self.window.waited()
                    delay = _LOOK_AGAIN
                if delay <= 0:
                    if tokens is not None and self._has_rates:
                        self._requests.spend(samples, now)
                        self._tokens.spend(tokens, now)
                    self.in_flight += 1
                    return True
                self._changed.wait(min(delay, _LOOK_AGAIN))
            return False

    def leave(self, rows: int, unused_tokens: int) -> None:
        """Release the slots of finished rows, and give back the tokens they reserved and did not use."""
        now = self._clock.monotonic()
        with self._changed:
            self.in_flight -= rows
            self._tokens.spend(-unused_tokens, now)
            self.window.ended(rows, now)
            self._changed.notify()

    def close(self) -> None:
        """Admit no more rows; a waiting `enter` returns False."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def on_queue_state_change(self, event: QueueStateChanged) -> None:
        """Have the window shrink when the server asks for a pause."""
        if event.state is not QueueState.ACTIVE:
            with self._changed:
                self.window.paused(self._clock.monotonic())
