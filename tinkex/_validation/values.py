"""Single values from outside: what they mean in plain Python, and checks with messages that name the field."""

from __future__ import annotations

import enum
import math
import operator
import reprlib
from collections.abc import Mapping
from typing import Any

INT32_MAX = 2**31 - 1

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


_NOT_GIVEN = ("NAType", "NaTType")  # pandas' own words for None
_EXACT = frozenset({str, int, bool, type(None)})
_TIMES = ("M", "m")
_CONVERTERS = ("tolist", "to_pylist", "to_list", "as_py")  # NumPy, pandas, torch, array; Arrow; polars; Arrow's scalars


def plain(value: Any) -> Any:
    """Return a value from outside as plain Python: the one place that says what values of other libraries mean.

    NumPy scalars and arrays, tensors, series and Arrow arrays become numbers and lists, and NumPy's dates text; enums
    and subclasses of str, int and float their values; UUIDs text; NaN and pandas' NA None, since in tables they stand
    for what is not given. Lists, tuples, ranges and mappings are copied, and mappings get text keys, spelled as JSON
    does. Anything else stays as it is.

    Raises:
        TypeError: A mapping has a key that JSON has none for.
        ValueError: A mapping has two keys that are spelled alike.
        RecursionError: It holds itself, or is nested too deeply.

    >>> plain({"n": float("nan"), 2: (True, 0.5)})
    {'n': None, '2': [True, 0.5]}
    """
    kind = type(value)
    if kind in _EXACT:
        return value
    if kind is float:
        return None if value != value else value
    if isinstance(value, list | tuple | range):
        return [each if type(each) in _EXACT else plain(each) for each in value]
    if isinstance(value, Mapping):
        return _mapping(value)
    return _unwrapped(value, kind)


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    made = {name if type(name) is str else _key(name): plain(each) for name, each in value.items()}
    if len(made) < len(value):
        raise ValueError(f"two keys are spelled alike among {shown(list(value))}")
    return made


def _key(name: Any) -> str:
    found = plain(name)
    if isinstance(found, str):
        return found
    if found is None or isinstance(found, bool):
        return {None: "null", True: "true", False: "false"}[found]
    if isinstance(found, int | float):
        return repr(found)
    raise TypeError(f"keys must be text, not {type(name).__name__}")


def _unwrapped(value: Any, kind: type) -> Any:
    """Return what an object of another library stands for."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return plain(float.__float__(value))
    if kind.__name__ in _NOT_GIVEN:
        return None
    if kind.__name__ == "UUID":
        return str(value)
    if getattr(getattr(value, "dtype", None), "kind", None) in _TIMES:  # as numbers they would have lost their unit
        scalar = value.ndim == 0
        return [plain(each) for each in value] if not scalar else None if value != value else str(value)
    for convert in _CONVERTERS:
        if callable(getattr(kind, convert, None)):
            found = getattr(value, convert)()
            return plain(value.__float__() if type(found) is kind else found)  # a long double gives itself
    return value


def shown(value: object) -> str:
    """Return the value as an error message shows it: short, on one line."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # noqa: BLE001 - a repr may fail in any way, and an int of 4,300 digits does
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(name: str, value: Any, low: int, high: int = INT32_MAX) -> int:
    """Return *value* as a plain int between *low* and *high*, both included.

    NumPy integers count as whole numbers, and so do floats without a fraction: JSON knows no other, and tables with
    gaps hold no other. Bool and str do not.

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
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {shown(value)}")
    try:
        return int(operator.index(value))
    except TypeError:
        found = value if isinstance(value, float) else _unwrapped(value, type(value))
        if type(found) is int or _has_no_fraction(found):
            return int(found)
        raise TypeError(f"{name} must be a whole number, got {shown(value)}") from None


def _has_no_fraction(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return type(value).__name__ == "Decimal" and value.is_finite() and value == value.to_integral_value()


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
    """Return *value* as a bool when it is True or False, NumPy's as well.

    Raises:
        TypeError: It is anything else.
    """
    found = value if type(value) is bool else plain(value)
    if type(found) is not bool:
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return found


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
