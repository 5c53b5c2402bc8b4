"""Log-probabilities in JSON, which has no number for some: minus infinity is -9999.0, NaN is null.

-9999.0 is what OpenAI's API gives for a token of probability zero. A sum over such a text stays the lowest, where null
would drop out of it.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable
from typing import Any, Final

from tinkex.types._forms.columns import Column, float_column
from tinkex.types.topk import TopkLogprobs

MINUS_INFINITY: Final = -9999.0

_LOGPROB: Final = operator.itemgetter(1)


def json_numbers(values: list[Any]) -> list[Any]:
    """Return floats as JSON can hold them; None stays None, and plus infinity is 9999.0.

    >>> json_numbers([None, -0.5, float("-inf"), float("nan")])
    [None, -0.5, -9999.0, None]
    """
    # One that is not finite makes the sum so, and a sum is several times as fast as a look at each.
    return values if math.isfinite(sum(filter(None, values))) else [_json_number(value) for value in values]


def json_rows(topk: TopkLogprobs | None) -> list[Any] | None:
    """Return a top-k table as lists that JSON can hold."""
    if topk is None:
        return None
    rows: list[Any] = [row and list(map(list, row)) for row in topk.rows]
    if not math.isfinite(sum(map(_LOGPROB, _cells(rows)))):
        for cell in _cells(rows):
            cell[1] = _json_number(cell[1])
    return rows


def read_numbers(name: str, values: Any, kind: type[Column] = Column) -> Column | None:
    """Check numbers read from JSON and return them as a column, with minus infinity for -9999.0; None stays None."""
    if values is None:
        return None
    column = float_column(name, values, kind)
    if column.holds(MINUS_INFINITY):
        return float_column(name, [_restored(value) for value in column.values], kind)
    return column


def read_rows(rows: Any) -> TopkLogprobs | None:
    """Check the rows of a top-k table read from JSON, with minus infinity for -9999.0; None stays None."""
    if rows is None:
        return None
    topk = TopkLogprobs(rows)
    if MINUS_INFINITY in map(_LOGPROB, _cells(topk.rows)):
        return TopkLogprobs([row and [(each[0], _restored(each[1])) for each in row] for row in topk.rows])
    return topk


def _cells(rows: Iterable[Any]) -> Iterable[Any]:
    return itertools.chain.from_iterable(filter(None, rows))


def _json_number(value: float | None) -> float | None:
    if value is None or value != value:
        return None
    return value if math.isfinite(value) else math.copysign(MINUS_INFINITY, value)


def _restored(value: Any) -> Any:
    return -math.inf if value == MINUS_INFINITY else value
