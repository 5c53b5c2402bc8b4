"""Stretches in which rows were under way and none ended: the server or a limit held the run back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from tinkex.report.data.histogram import Histogram
from tinkex.report.data.timeline import Point

_SHORTEST: Final = 2.0
_USUAL: Final = 2.0  # times what the server takes for almost every row


@attrs.frozen
class Pause:
    """A stretch without an end of any row, in seconds of work after the beginning."""

    began: float
    seconds: float
    in_flight: float


def find_pauses(points: Sequence[Point], width: float, waits: Histogram) -> list[Pause]:
    """Find what lasted longer than rows usually take, so that a slow server alone is no pause."""
    least = max(_SHORTEST, _USUAL * waits.quantile(0.95), 3 * width)
    pauses, begin = [], None
    for point in [*points, Point(points[-1].at + width, 1, 0, 0, 0, resumed=False)] if points else ():
        quiet = not point.done and not point.failed and point.in_flight > 0
        if quiet and begin is None:
            begin = point
        elif not quiet and begin is not None:
            if point.at - begin.at >= least:
                pauses.append(Pause(begin.at, point.at - begin.at, begin.in_flight))
            begin = None
    return pauses
