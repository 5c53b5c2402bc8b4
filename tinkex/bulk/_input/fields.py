"""Columns of rows: what their values mean, whichever tool wrote them."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Final

from tinkex._validation.strict_json import unique
from tinkex._validation.values import plain, whole
from tinkex.bulk._input.task import PARAMETERS, InvalidRowError, RowId
from tinkex.types import ImageAssetPointerChunk, ImageChunk

_WHOLE: Final = frozenset({
    "max_tokens", "seed", "top_k", "num_samples", "best_of", "topk_prompt_logprobs", "topk_sample_logprobs",
    "prompt_logprobs_last_n",
})  # fmt: skip
_REAL: Final = frozenset({"temperature", "top_p"})
_SWITCHES: Final = frozenset({"score", "include_prompt_logprobs"})
_WORDS: Final[Mapping[Any, bool]] = {"true": True, "false": False}
_NO_TEXT: Final = PARAMETERS | {"prompt_tokens", "messages", "choices", "body"}
_NOTHING: Final = frozenset({"", "nan", "null", "none", "na", "n/a", "<na>"})
_STRUCTS: Final = frozenset({"messages", "prompt", "tools", "template_variables", "chat_template_kwargs", "body"})
_PICTURES: Final = (ImageChunk, ImageAssetPointerChunk)
NO_FORM: Final = "for which JSON has no form: leave it out, or write it as text."
_EXACT: Final = frozenset({str, int, bool, type(None)})


def from_cells(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table, in which text may stand for other values, and structs have the fields of other rows.

    Where text is no text of the user's, in columns of parameters, token ids, messages and choices, it is JSON. There,
    and as a model, the words that tables have for nothing stand for nothing: NaN, null, None, NA, N/A, <NA> and no
    text at all, in capitals or not. In all other columns, ids and prompts among them, text is what it is.
    """
    return {str(name): _cell(str(name), value) for name, value in cells.items()}


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _of_text(name, value)
    return value if value is None else _struct(name, value)


def _struct(name: str, value: Any) -> Any:
    """Leave out what a struct has only for other rows, where it is one of those whose fields have a meaning."""
    if name not in _STRUCTS:
        return value
    value = _plain(name, value)
    if name == "body" and type(value) is dict:
        return {field: _struct(field, each) for field, each in value.items() if each is not None}
    return _present(value, whole=name in {"messages", "prompt"})


def _present(value: Any, *, whole: bool) -> Any:
    """Leave out the fields of structs that a row does not have; in a table every row of a column has every field.

    The content of a message may be null, beside tool calls, and stays.
    """
    if type(value) is list:
        return value if set(map(type, value)) <= {int} else [_present(each, whole=whole) for each in value]
    if type(value) is dict:
        found = {name: _present(each, whole=False) for name, each in value.items() if each is not None}
        return {**found, "content": value["content"]} if whole and value.get("content", "") is None else found
    return value


def _of_text(name: str, text: str) -> Any:
    if name not in _NO_TEXT:
        return None if name == "model" and text.strip().lower() in _NOTHING else text
    if text.strip().lower() in _NOTHING:
        return None
    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError:
        return text  # such as a stop text
    except (ValueError, RecursionError) as error:
        raise InvalidRowError(f"{name} cannot be read as JSON: {error}.") from None


def parameter(name: str, value: Any) -> Any:
    """Return the value of a parameter in the type that it is checked, written and compared in; None is not given.

    Whole numbers may be written with a point and switches as 0 and 1, or in a cell as True and False. What is none of
    that stays as it is: the check that follows names it.
    """
    value = _plain(name, value)
    if name in _WHOLE:
        return _whole(value)
    if name in _REAL and (type(value) is int or isinstance(value, decimal.Decimal)):
        return _real(value)
    if name in _SWITCHES and type(value) is not bool:
        return _switch(value)
    if name == "stop" and isinstance(value, list):
        return [_whole(each) for each in value]
    if name in {"tools", "template_variables"}:
        return None if not value and isinstance(value, list | dict) else carried(name, _pairs(name, value))
    return value


def parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those parameters that are given, each as `parameter` has it."""
    found = ((name, parameter(name, value)) for name, value in given.items())
    return {name: value for name, value in found if value is not None}


def _pairs(name: str, value: Any) -> Any:
    """Return a map that came as its pairs, as maps of Parquet do, as a mapping."""
    if name == "tools" or not isinstance(value, list):
        return value
    pairs = [each for each in value if isinstance(each, list) and len(each) == 2 and isinstance(each[0], str)]
    return dict(pairs) if len(pairs) == len(value) else value


def _whole(value: Any) -> Any:
    """Return a number without a fraction as a whole one, and anything else as it is."""
    if type(value) is float or isinstance(value, decimal.Decimal):
        return int(value) if math.isfinite(value) and value == int(value) else value
    return value


def _real(value: Any) -> Any:
    try:
        return float(value)
    except OverflowError:
        return value


def _switch(value: Any) -> Any:
    if isinstance(value, str):
        return _WORDS.get(value.lower(), value)
    return bool(value) if value in (0, 1) else value


def carried(name: str, value: Any) -> Any:
    """Return a column that is carried along, as JSON holds it.

    Dates, times and durations, decimal numbers and paths become text; NaN is nothing. Raises InvalidRowError for what
    JSON has no form for, such as infinite numbers, bytes and sets: it cannot be written as it is.
    """
    kind = type(value)
    if kind in _EXACT or (kind is float and math.isfinite(value)):
        return value
    return _json(name, _plain(name, value))


def _json(name: str, value: Any) -> Any:
    try:
        return _json_value(value, _PICTURES if name in {"messages", "prompt"} else ())
    except TypeError as error:
        raise InvalidRowError(f"{name} holds {error}, {NO_FORM}") from None


def _json_value(value: Any, kept: tuple[type, ...]) -> Any:
    kind = type(value)
    if kind in _EXACT:
        return value
    if kind is list:
        return [_json_value(each, kept) for each in value]
    if kind is dict:
        return {key: _json_value(each, kept) for key, each in value.items()}
    if kind is float or isinstance(value, decimal.Decimal):
        if value != value:
            return None
        if math.isinf(value):
            raise TypeError("an infinite number")
        return value if kind is float else str(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta | pathlib.PurePath):
        return str(value)
    if isinstance(value, kept):
        return value
    raise TypeError(f"an object of type {kind.__name__}")


def _plain(name: str, value: Any) -> Any:
    try:
        return plain(value)
    except (TypeError, ValueError, RecursionError) as error:
        words = "it is nested too deeply, or holds itself" if isinstance(error, RecursionError) else str(error)
        raise InvalidRowError(f"{name} cannot be read: {words}.") from None


def is_given(value: Any) -> bool:
    """Whether a cell holds anything: None, NaN and pandas' NA stand for nothing."""
    kind = type(value)
    return kind is str or kind is list or (value is not None and _plain("a cell", value) is not None)


def identity(value: Any) -> RowId | None:
    """Return an id as text or a whole number; None where none is given. Dates and times are their text."""
    if value is None or type(value) is str or type(value) is int:
        return value
    value = _plain("id", value)
    if type(value) is str or value is None:
        return value
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bool | list | dict):
        raise InvalidRowError(f"id must be text or a whole number, not {type(value).__name__}.")
    try:
        return whole("id", value, -(2**63), 2**64 - 1) if not isinstance(value, int) else value
    except (TypeError, ValueError):
        raise InvalidRowError(f"id must be text or a whole number, not {type(value).__name__}.") from None


def token_ids(name: str, value: Any) -> list[Any]:
    """Return token ids, or messages, as a list; what is none of them stays in it, to be named when it is checked."""
    if type(value) is list and set(map(type, value)) <= {int}:  # the usual case, and a long one
        return value
    value = _plain(name, value)
    if not isinstance(value, list):
        text = "text or " if name == "prompt" else ""
        raise InvalidRowError(f"{name} must be {text}a list, not {type(value).__name__}.")
    return [each if type(each) is int else _json(name, _whole(each)) for each in value]
