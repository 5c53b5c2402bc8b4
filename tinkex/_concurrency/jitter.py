"""Jitter: random durations, so that clients that failed together do not come back together."""

from __future__ import annotations

import os


def uniform(least: float, most: float) -> float:
    """A random number between the two; a program's own random numbers stay as they are.

    `random.SystemRandom`, which draws them too, is slow to import.

    >>> 1.0 <= uniform(1.0, 2.0) <= 2.0
    True
    """
    return least + (most - least) * (int.from_bytes(os.urandom(7), "big") / (2**56 - 1))
