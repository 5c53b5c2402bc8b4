"""Time series of a run, in bins whose width doubles as the run grows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import attrs

_FINEST: Final = 0.25
_MOST: Final = 400
_DRAWN: Final = 200
_IDLE: Final = 10.0  # seconds at least


@attrs.define
class Stretch:
    """One bin of the time series: rows done and failed, their tokens, rows begun and ended.

    `balance` is the sum of the times at which rows ended, less that of the times at which rows began.
    """

    done: int = 0
    failed: int = 0
    tokens: int = 0
    begun: int = 0
    ended: int = 0
    balance: float = 0.0

    def take(self, other: Stretch) -> None:
        """Add the counts of another bin."""
        self.done += other.done
        self.failed += other.failed
        self.tokens += other.tokens
        self.begun += other.begun
        self.ended += other.ended
        self.balance += other.balance


@attrs.frozen
class Point:
    """One bin as it is drawn: `at` seconds of work after the beginning, and the mean number of rows in flight."""

    at: float
    done: int
    failed: int
    tokens: int
    in_flight: float
    resumed: bool
    """Whether no row was in flight for a long time before; that time is left out of `at`."""


class Timeline:
    """Bins rows by when they began and ended; they may come in any order. Not thread-safe."""

    def __init__(self) -> None:
        self.width: float = _FINEST
        """Seconds a bin."""
        self.first: float = math.inf
        """When the first row began, in seconds since 1970."""
        self.last: float = -math.inf
        """When the last row ended."""
        self._origin = 0.0
        self._stretches: dict[int, Stretch] = {}

    def add(self, began: float, ended: float, *, failed: bool, tokens: int) -> None:
        """Add one row; times are seconds since 1970."""
        ended = max(began, ended)
        if self.first == math.inf:
            self._origin = began
        self.first, self.last = min(self.first, began), max(self.last, ended)
        stretch = self._at(began)
        stretch.begun += 1
        stretch.balance -= began - self._origin
        stretch = self._at(ended)
        stretch.ended += 1
        stretch.balance += ended - self._origin
        stretch.tokens += tokens
        if failed:
            stretch.failed += 1
        else:
            stretch.done += 1
        while len(self._stretches) > _MOST:
            self._widen()

    def points(self) -> list[Point]:
        """Return the bins in order, without long gaps in which no row was in flight."""
        while len(points := list(self._walk())) > _DRAWN:
            self._widen()
        return points

    @property
    def working(self) -> float:
        """Seconds in which rows were in flight."""
        return len(self.points()) * self.width

    def _walk(self) -> Iterator[Point]:
        under_way = 0
        before: int | None = None
        at = 0.0
        for place in sorted(self._stretches):
            resumed = False
            if before is not None and place > before + 1:
                gap = place - before - 1
                resumed = under_way <= 0 and gap * self.width > _IDLE
                for _ in range(0 if resumed else min(gap, 2 * _DRAWN)):
                    yield Point(at, 0, 0, 0, under_way, resumed=False)
                    at += self.width
            found = self._stretches[place]
            until = (place + 1) * self.width - self._origin
            partly = ((found.begun - found.ended) * until + found.balance) / self.width
            yield Point(at, found.done, found.failed, found.tokens, max(0.0, under_way + partly), resumed)
            under_way += found.begun - found.ended
            before = place
            at += self.width

    def _at(self, moment: float) -> Stretch:
        return self._stretches.setdefault(math.floor(moment / self.width), Stretch())

    def _widen(self) -> None:
        self.width *= 2
        narrow, self._stretches = self._stretches, {}
        for place, stretch in narrow.items():
            self._stretches.setdefault(place // 2, Stretch()).take(stretch)
