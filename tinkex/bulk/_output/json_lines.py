"""Encoding of output rows as lines of JSON; a row that cannot be encoded becomes an error row of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tinkex.bulk._input.task import InvalidRowError, Task
from tinkex.bulk._models import Models
from tinkex.bulk._output.openai_format import shaped
from tinkex.bulk._output.record import FROM_CALLER, Record, error_record


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
            name: value for name, value in (record | changed).items() if name in changed or name not in FROM_CALLER
        }
        return failed, encode_line(shaped(task, failed, form, models))


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode a record as a line of JSON; values that JSON has no type for, such as pictures, become text.

    Raises TypeError, ValueError or RecursionError where it holds what cannot be encoded, such as keys that are tuples.
    """
    if _orjson is not None:
        try:
            return _orjson.dumps(record, default=str, option=_orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # lone surrogates, whole numbers of more than 64 bits
            pass
    return json.dumps(record, separators=(",", ":"), allow_nan=False, default=str).encode() + b"\n"


try:
    import orjson as _orjson
except ModuleNotFoundError:
    _orjson = None  # type: ignore[assignment]
