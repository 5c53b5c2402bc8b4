"""Readers and writers of the JSON form of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinkex._validation.values import shown
from tinkex.types.topk import TopkLogprobs


def table(rows: Any) -> TopkLogprobs | None:
    """Return rows as a top-k table; None and tables stay what they are."""
    return rows if rows is None or isinstance(rows, TopkLogprobs) else TopkLogprobs(rows)


def word(value: Any) -> str | None:
    """Return *value* when it is a string; None for anything else."""
    return value if isinstance(value, str) else None


def mapping(name: str, plain: Any) -> Mapping[str, Any]:
    """Return *plain* when it is an object.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(plain, Mapping):
        raise TypeError(f"{name} must be an object, got {shown(plain)}")
    return plain


def present(**values: Any) -> dict[str, Any]:
    """Return what is not None."""
    return {name: value for name, value in values.items() if value is not None}
