"""Jitter: random durations, so that clients that failed together do not come back together."""

from __future__ import annotations


def uniform(least: float, most: float) -> float:
    """A random number between the two; a program's own random numbers stay as they are.

    >>> 1.0 <= uniform(1.0, 2.0) <= 2.0
    True
    """
    from random import SystemRandom  # slow to load, for what few samples need

    return SystemRandom().uniform(least, most)
