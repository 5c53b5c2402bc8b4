"""Encoding of output rows as lines of JSON; a row that cannot be encoded becomes an error row of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from tinkex.bulk._input.task import InvalidRowError, Task
from tinkex.bulk._models import Models
from tinkex.bulk._output.openai_format import shaped
from tinkex.bulk._output.record import Record, error_record

_FROM_CALLER: Final = ("extra", "messages", "parameters", "prompt")
_EXACT: Final = frozenset({str, int, bool, type(None)})
_INFINITY: Final = 9999.0  # as in log-probabilities, see `SampleResponse.to_dict`


def encode_row(task: Task, record: Record, form: str | None, models: Models) -> tuple[Record, bytes]:
    """Encode a record in the format it is to have: see `shaped`. Returns the record that was written, and its line.

    A record that cannot be encoded is written as an error row without the caller's own columns, which says why; what
    was sampled stays in it.
    """
    try:
        return record, encode_line(shaped(task, record, form, models))
    except Exception as error:  # noqa: BLE001 - the other rows of the batch are to be written
        reason = "it is nested too deeply, or holds itself" if isinstance(error, RecursionError) else str(error)
        wrong = InvalidRowError(f"The row cannot be written as JSON: {reason}.")
        changed = {"status": "error", "parameters": {}, "error": error_record(wrong)}
        failed = {
            name: value for name, value in (record | changed).items() if name in changed or name not in _FROM_CALLER
        }
        return failed, encode_line(shaped(task, failed, form, models))


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode a record as a line of JSON; values that JSON has no type for become text.

    In the caller's columns, too, minus infinity becomes -9999.0 and NaN null. Raises TypeError, ValueError or
    RecursionError where they hold what cannot be encoded, such as keys that are tuples.
    """
    plain = record
    for name in _FROM_CALLER:
        if not _is_finite(record.get(name)):
            plain = {**plain, name: _finite(record[name])}
    if _orjson is not None:
        try:
            return _orjson.dumps(plain, default=str, option=_orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # lone surrogates, whole numbers of more than 64 bits
            pass
    return json.dumps(plain, separators=(",", ":"), allow_nan=False, default=str).encode() + b"\n"


def _is_finite(value: Any) -> bool:
    """Whether no number in it is infinite or NaN, as nearly always."""
    kind = type(value)
    if kind in _EXACT:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        return all(map(_is_finite, value.values()))
    return kind is list and all(map(_is_finite, value))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if value != value else math.copysign(_INFINITY, value)
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


try:
    import orjson as _orjson
except ModuleNotFoundError:
    _orjson = None  # type: ignore[assignment]
