"""Durations on the command line."""

from __future__ import annotations

import math
from typing import Any, Final

import click

from tinkex.config import parse_seconds

_LONGEST: Final = 1e9
"""Seconds; about 31 years, which every timer takes."""


class Seconds(click.types.FloatParamType):
    """Duration as an option: above 0, or also 0, and what a timer takes, or, where that is meant, endless ("inf")."""

    def __init__(self, *, zero: bool = False, endless: bool = False) -> None:
        self._zero = zero
        self._endless = endless

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it; a usage error for what is none."""
        seconds: float = super().convert(value, param, ctx)
        try:
            endless = self._endless and parse_seconds(str(value)) == math.inf
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if not (endless or 0 < seconds <= _LONGEST or (self._zero and seconds == 0)):
            bound = "<=" if self._zero else "<"
            self.fail(f"{value} is not in the range 0{bound}x<={_LONGEST:g}.", param, ctx)
        return seconds
