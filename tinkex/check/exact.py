"""Exact tests: tail probabilities of discrete distributions, without approximations and without libraries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

ALPHA: Final = 1e-5
"""A fault is one whose evidence is rarer than this on a server that has not got it."""


def binomial_at_least(hits: int, trials: int, chance: float) -> float:
    """Return the probability of at least so many hits.

    >>> binomial_at_least(2, 2, 0.5), binomial_at_least(0, 2, 0.5)
    (0.25, 1.0)
    """
    return hits_at_least(hits, [chance] * trials)


def hits_at_least(hits: int, chances: Sequence[float]) -> float:
    """Return the probability of at least so many hits in independent trials with a chance each (Poisson binomial).

    >>> hits_at_least(1, [0.5, 0.0, 0.5])
    0.75
    """
    return _total(_distribution(chances)[max(0, hits) :])


def hits_at_most(hits: int, chances: Sequence[float]) -> float:
    """Return the probability of at most so many hits.

    >>> hits_at_most(0, [0.5, 0.0, 0.5])
    0.25
    """
    return _total(_distribution(chances)[: hits + 1])


def distinct_at_most(distinct: int, draws: int, kinds: int) -> float:
    """Return the probability that so many draws from equally likely kinds show at most so many of them.

    With more kinds, fewer draws coincide: what is computed for the fewest kinds there can be is an upper bound.

    >>> distinct_at_most(1, 2, 4)
    0.25
    """
    row = [1.0]
    for _ in range(draws):
        seen = [chance * number / kinds for number, chance in enumerate([*row, 0.0])]
        new = [0.0, *(chance * (kinds - number) / kinds for number, chance in enumerate(row))]
        row = [one + two for one, two in zip(seen, new, strict=True)][: kinds + 1]
    return _total(row[: distinct + 1])


def repeated_by_chance(logprobs: Sequence[Sequence[float]]) -> float:
    """Return the probability that independent draws repeat sequences of these log-probabilities, all of them.

    >>> repeated_by_chance([[math.log(0.5)], [math.log(0.5), 0.0]])
    0.25
    """
    return math.exp(min(0.0, math.fsum(map(math.fsum, logprobs))))


def _distribution(chances: Sequence[float]) -> list[float]:
    row = [1.0]
    for chance in chances:
        row = [(row[n] if n < len(row) else 0.0) * (1 - chance) + (row[n - 1] * chance if n else 0.0)
               for n in range(len(row) + 1)]  # fmt: skip
    return row


def _total(chances: Sequence[float]) -> float:
    return min(1.0, math.fsum(chances))
