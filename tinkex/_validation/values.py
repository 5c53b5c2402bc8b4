"""Checks of single values, with messages that name the field."""

from __future__ import annotations

import math
import operator
import reprlib
from typing import Any

INT32_MAX = 2**31 - 1

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def shown(value: object) -> str:
    """Return the value as an error message shows it: short, on one line."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # noqa: BLE001 - a repr may fail in any way, and an int of 4,300 digits does
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(name: str, value: Any, low: int, high: int = INT32_MAX) -> int:
    """Return *value* as a plain int between *low* and *high*, both included.

    NumPy integers count as whole numbers; bool, float and str do not.

    Raises:
        TypeError: It is not a whole number.
        ValueError: It is out of range.
    """
    if type(value) is not int:
        value = _plain_int(name, value)
    if not low <= value <= high:
        limit = f"at least {low}" if value < low else f"at most {high}"
        raise ValueError(f"{name} must be {limit}, got {shown(value)}")
    return value  # type: ignore[no-any-return]


def _plain_int(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return int(operator.index(value))
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {shown(value)}") from None


def real(name: str, value: Any) -> float:
    """Return *value* as a finite float.

    Raises:
        TypeError: It is not a number; bool and str are not.
        ValueError: It is NaN or infinite.
    """
    if isinstance(value, (bool, str, bytes)) or not hasattr(type(value), "__float__"):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a finite number, got {shown(value)}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {number}")
    return number


def flag(name: str, value: Any) -> bool:
    """Return *value* when it is True or False.

    Raises:
        TypeError: It is anything else.
    """
    if type(value) is not bool:
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return value


def blob(name: str, value: Any) -> bytes:
    """Return *value* as bytes, at least one.

    Raises:
        TypeError: It is not bytes, a bytearray or a memoryview.
        ValueError: It is empty.
    """
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} must be bytes, got {shown(value)}")
    if not len(value):
        raise ValueError(f"{name} must not be empty")
    return bytes(value)


def sized(data: bytes) -> str:
    """Return what stands for bytes in a repr."""
    return f"<{len(data)} bytes>"
