"""Log-probabilities as JSON lines hold them, read back: -9999.0 is minus infinity; and their sums."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

MINUS_INFINITY: Final = -9999.0  # see `SampleResponse.to_dict`


def sum_logprobs(logprobs: Sequence[float | None] | None, undefined: int = 0) -> float | None:
    """Return the log-probability of a text: the sum over its tokens, but for the first ones that are `undefined`.

    Another that is None, since the server did not give it, makes the sum NaN. None where there is nothing to sum.

    >>> sum_logprobs([None, -0.5, -1.0], 1), sum_logprobs([None, None, -1.0], 1), sum_logprobs([None], 1)
    (-1.5, nan, None)
    """
    if logprobs is None or undefined >= len(logprobs):
        return None
    return float(sum(math.nan if logprob is None else logprob for logprob in logprobs[undefined:]))


def undefined_logprobs(record: Mapping[str, Any]) -> int:
    """Return how many tokens of a prompt have no log-probability: the first one, and all but the last N asked for."""
    last_n = (record.get("parameters") or {}).get("prompt_logprobs_last_n")
    return max(1, len(record["prompt_logprobs"]) - last_n) if isinstance(last_n, int) else 1


def restore_record(record: dict[str, Any]) -> dict[str, Any]:
    """Replace, in a record read from JSON, -9999.0 by minus infinity and the null of a sampled token by NaN."""
    choices = record.get("choices") or ()
    for texts, missing in (([record], None), (record["sequences"], math.nan), (choices, math.nan)):
        for each in texts:
            for name in ("prompt_logprobs", "logprobs", "topk_prompt_logprobs", "topk_logprobs"):
                if isinstance(each.get(name), list):
                    each[name] = _rows(each[name]) if name.startswith("topk") else _numbers(each[name], missing)
    for choice in choices:
        _restore_sums(choice)
    return record


def _restore_sums(choice: dict[str, Any]) -> None:
    if choice["logprobs"] is None:
        unknown = choice["logprob"] is None
        choice.update({"logprob": math.nan, "mean_logprob": math.nan} if unknown else {})
        return
    choice["logprob"] = sum(choice["logprobs"])
    choice["mean_logprob"] = choice["logprob"] / len(choice["logprobs"])


def _numbers(values: list[float | None], missing: float | None = None) -> list[float | None]:
    if None not in values and MINUS_INFINITY not in values:
        return values
    return [missing if value is None else -math.inf if value == MINUS_INFINITY else value for value in values]


def _rows(rows: list[Any]) -> list[Any]:
    return [
        row and [(token, -math.inf if logprob == MINUS_INFINITY else logprob) for token, logprob in row] for row in rows
    ]
