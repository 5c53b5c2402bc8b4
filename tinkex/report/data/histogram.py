"""Streaming histograms with logarithmic buckets: quantiles of millions of numbers in a few kilobytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import attrs

_STEP: Final = math.log(1.005)  # numbers this close share a bucket: quantiles are right to a quarter of a percent
_LEAST: Final = 1e-6


@attrs.frozen
class Bar:
    """One bar of a histogram: how many numbers lie from `low` up to `high`."""

    low: float
    high: float
    count: int


class Histogram:
    """Streaming histogram of non-negative numbers, with quantiles; not thread-safe.

    >>> histogram = Histogram()
    >>> for number in range(1, 1001):
    ...     histogram.add(number)
    >>> histogram.count, round(histogram.quantile(0.5)), histogram.most
    (1000, 500, 1000)
    """

    def __init__(self) -> None:
        self.count: int = 0
        """Finite numbers."""
        self.infinite: int = 0
        """Infinite ones, which are above all others."""
        self.total: float = 0.0
        self.least: float = math.inf
        self.most: float = 0.0
        self._buckets: dict[int, int] = {}

    def add(self, number: float) -> None:
        """Count one number; what is negative or no number is left out."""
        if number == math.inf:
            self.infinite += 1
        if not 0 <= number < math.inf:
            return
        self.count += 1
        self.total += number
        self.least = min(self.least, number)
        self.most = max(self.most, number)
        key = round(math.log(max(number, _LEAST)) / _STEP)
        self._buckets[key] = self._buckets.get(key, 0) + 1

    @property
    def mean(self) -> float:
        """Arithmetic mean; 0 without numbers."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, part: float) -> float:
        """Return the quantile for a part from 0 to 1, infinite numbers included; 0 without numbers."""
        wanted = part * (self.count + self.infinite)
        if wanted > self.count:
            return math.inf
        return self._finite_quantile(wanted)

    def _finite_quantile(self, wanted: float) -> float:
        reached = 0
        for value, count in self._sorted():
            reached += count
            if reached >= wanted:
                return value
        return 0.0

    def bars(self, most: int = 36, *, step: float = 0.0) -> list[Bar]:
        """Return at most so many bars of equal width, a multiple of `step`.

        What lies beyond 99 % of the finite numbers, and far from them, is left out.
        """
        if not self.count:
            return []
        usual = self._finite_quantile(0.99 * self.count)
        last = self.most if self.most < 1.5 * usual else usual
        width = max(_round_step((last - self.least) / most), step) or max(self.least, 1.0) / 10
        low = math.floor(self.least / width)
        counts = [0] * (math.floor(last / width) - low + 1)
        for value, count in self._sorted():
            place = math.floor(value / width) - low
            if 0 <= place < len(counts):
                counts[place] += count
        return [Bar((low + place) * width, (low + place + 1) * width, count) for place, count in enumerate(counts)]

    def _sorted(self) -> Iterator[tuple[float, int]]:
        for key in sorted(self._buckets):
            yield min(max(math.exp(key * _STEP), self.least), self.most), self._buckets[key]


def _round_step(least: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    if least <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(least))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999999))
