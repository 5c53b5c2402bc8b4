"""Detection of idle stretches: rows were in flight and none ended, since the server or a limit held the run back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from tinkex.report.data.histogram import Histogram
from tinkex.report.data.timeline import Point

_SHORTEST: Final = 2.0
_USUAL: Final = 2.0  # times what the server takes for almost every row


@attrs.frozen
class IdleStretch:
    """A stretch of time in which no row ended; times are seconds of work after the beginning."""

    began: float
    seconds: float
    in_flight: float


def find_idle(points: Sequence[Point], width: float, waits: Histogram) -> list[IdleStretch]:
    """Find the stretches longer than rows usually take, so that a slow server alone does not count as idle."""
    least = max(_SHORTEST, _USUAL * waits.quantile(0.95), 3 * width)
    found, begin = [], None
    for point in [*points, Point(points[-1].at + width, 1, 0, 0, 0, resumed=False)] if points else ():
        quiet = not point.done and not point.failed and point.in_flight > 0
        if quiet and begin is None:
            begin = point
        elif not quiet and begin is not None:
            if point.at - begin.at >= least:
                found.append(IdleStretch(begin.at, point.at - begin.at, begin.in_flight))
            begin = None
    return found
