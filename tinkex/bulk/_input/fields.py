"""Columns of rows: what their values mean, whichever tool wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tinkex._validation.values import plain, whole
from tinkex.bulk._input.task import InvalidRowError, RowId

_WHOLE: Final = frozenset({
    "max_tokens", "seed", "top_k", "num_samples", "best_of", "topk_prompt_logprobs", "topk_sample_logprobs",
    "prompt_logprobs_last_n",
})  # fmt: skip
_REAL: Final = frozenset({"temperature", "top_p"})
_SWITCHES: Final = frozenset({"score", "include_prompt_logprobs"})
_WORDS: Final[Mapping[Any, bool]] = {"true": True, "false": False}


def parameter(name: str, value: Any) -> Any:
    """Return the value of a parameter in the type that it is checked, written and compared in; None is not given.

    Whole numbers may be written with a point and switches as 0 and 1, or in a cell as True and False. What is none of
    that stays as it is: the check that follows names it.
    """
    value = _plain(name, value)
    if name in _WHOLE and type(value) is float and value.is_integer():
        return int(value)
    if name in _REAL and type(value) is int:
        return _real(value)
    if name in _SWITCHES and type(value) is not bool:
        return _switch(value)
    if name == "template_variables" and isinstance(value, list):
        return _pairs(value)
    if name == "tools" and not value:
        return None
    if name == "stop" and isinstance(value, list):
        return [int(each) if type(each) is float and each.is_integer() else each for each in value]
    return value


def parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those parameters that are given, each as `parameter` has it."""
    found = ((name, parameter(name, value)) for name, value in given.items())
    return {name: value for name, value in found if value is not None}


def _pairs(value: list[Any]) -> Any:
    """Return a map that came as its pairs, as maps of Parquet do, as a mapping."""
    pairs = [each for each in value if isinstance(each, list) and len(each) == 2 and isinstance(each[0], str)]
    return dict(pairs) if len(pairs) == len(value) else value


def _real(value: int) -> float | int:
    try:
        return float(value)
    except OverflowError:
        return value


def _switch(value: Any) -> Any:
    if isinstance(value, str):
        return _WORDS.get(value.lower(), value)
    return bool(value) if value in (0, 1) else value


def carried(name: str, value: Any) -> Any:
    """Return a column that is carried along as plain values; what JSON has no form for becomes text when written."""
    return _plain(name, value)


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
    """Return an id as text or a whole number; None where none is given."""
    if value is None or type(value) is str or type(value) is int:
        return value
    value = _plain("id", value)
    if type(value) is str or value is None:
        return value
    if isinstance(value, bool | list | dict):
        raise InvalidRowError(f"id must be text or a whole number, not {type(value).__name__}.")
    try:
        return whole("id", value, -(2**63), 2**64 - 1) if not isinstance(value, int) else value
    except (TypeError, ValueError):
        raise InvalidRowError(f"id must be text or a whole number, not {type(value).__name__}.") from None


def token_ids(name: str, value: Any) -> list[Any]:
    """Return token ids as a list; what is none of them stays in it, to be named when they are checked."""
    if type(value) is list and set(map(type, value)) <= {int}:  # the usual case, and a long one
        return value
    value = _plain(name, value)
    if not isinstance(value, list):
        text = "text or " if name == "prompt" else ""
        raise InvalidRowError(f"{name} must be {text}a list, not {type(value).__name__}.")
    return [int(each) if type(each) is float and each.is_integer() else each for each in value]
