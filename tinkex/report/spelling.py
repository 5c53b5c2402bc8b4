"""Formatting of durations, counts and percentages for readers."""

from __future__ import annotations

import math
from typing import Final

_UNITS: Final = ((172_800.0, 86_400.0, "d"), (5400.0, 3600.0, "h"), (90.0, 60.0, "min"), (0.9995, 1.0, "s"))


def duration(seconds: float) -> str:
    """Format seconds in the unit that suits them.

    >>> [duration(seconds) for seconds in (0.0, 0.0123, 1.5, 59, 600, 7200, 200_000)]
    ['0 s', '12.3 ms', '1.5 s', '59 s', '10 min', '2 h', '2.31 d']
    """
    if seconds < 1e-6:
        return "0 s"
    for limit, unit, name in _UNITS:
        if seconds >= limit:
            return f"{figures(seconds / unit)} {name}"
    return f"{figures(seconds * 1000)} ms"


def figures(number: float) -> str:
    """Format a number with three significant digits, or all of its whole part.

    >>> [figures(number) for number in (0, 0.01234, 1.0, 12.345, 1234.5)]
    ['0', '0.0123', '1', '12.3', '1,234']
    """
    if number == 0 or not math.isfinite(number):
        return "0" if number == 0 else "∞" if number == math.inf else str(number)
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:,.{min(digits, 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount(number: float) -> str:
    """Format a count, with a unit prefix from ten thousand up.

    >>> [amount(number) for number in (0, 999, 9_999, 12_345, 1_234_567, 2_500_000_000)]
    ['0', '999', '9,999', '12.3 k', '1.23 M', '2.5 G']
    """
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit and number >= 10_000:
            return f"{figures(number / unit)} {name}"
    return figures(number)


def percent(part: float, whole: float) -> str:
    """Format a part in per cent; never 0 or 100 where that is not exact.

    >>> percent(1, 3), percent(1, 100_000), percent(99_999, 100_000), percent(5, 5)
    ('33.3 %', '<0.1 %', '>99.9 %', '100 %')
    """
    if not whole:
        return "0 %"
    value = 100 * part / whole
    if 0 < value < 0.1:
        return "<0.1 %"
    return ">99.9 %" if 99.9 < value < 100 else f"{figures(round(value, 1))} %"
