"""Lenient readers of JSON values: None for a value of another kind than expected."""

from __future__ import annotations

from typing import Any


def text(value: object) -> str | None:
    """Text that is not empty."""
    return value if isinstance(value, str) and value else None


def count(value: object, least: int = 0) -> int | None:
    """A whole number of at least `least`; True and 1.0 are none."""
    return value if type(value) is int and value >= least else None


def flag(value: object) -> bool | None:
    """True or False."""
    return value if isinstance(value, bool) else None


def json_object(value: object) -> dict[str, Any] | None:
    """An object, as a copy."""
    return dict(value) if isinstance(value, dict) else None
