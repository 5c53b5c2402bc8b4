"""Columns of numbers, kept as they arrived; Python lists are made on first use."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias

from tinkex._validation.values import shown
from tinkex.errors import extra
from tinkex.types._forms.tokens import token_tuple

Numbers: TypeAlias = "memoryview[Any]"
"""Machine numbers of one of the formats i, q, f, d."""

_NUMPY_DTYPES = {"i": "int32", "q": "int64", "f": "float32", "d": "float64"}
_SMALL = 256  # up to so many numbers the list alone is kept once it is made: what it was made of takes as much again
_ITEM_BYTES = {"i": 4, "q": 8, "f": 4, "d": 8}


class Column:
    """Numbers as a list, or as machine numbers of one of the formats i, q, f, d.

    Two columns are equal when they hold the same numbers, in any format; NaN equals NaN.
    Safe to share between threads: the worst that can happen is that the list is made twice.
    """

    __slots__ = ("_list", "_raw")
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(self, values: list[Any] | Numbers) -> None:
        self._raw = values if isinstance(values, memoryview) else None
        self._list = None if isinstance(values, memoryview) else values

    @property
    def values(self) -> list[Any]:
        """The numbers as a list, made on first use and kept."""
        raw, made = self._raw, self._list  # in this order: what is let go of below was made into a list before
        if made is None:
            assert raw is not None
            made = self._list = self._made(raw)
            if len(made) <= _SMALL:
                self._raw = None
        return made

    def _made(self, raw: Numbers) -> list[Any]:
        return _listed(raw)

    def numpy(self, dtype: str) -> Any:
        """Return the numbers as a NumPy array; no copy where the format is already *dtype*."""
        with extra("numpy", "A NumPy array"):
            import numpy as np
        raw = self._raw
        with np.errstate(over="ignore"):  # 1e300 is inf in float32, and no news
            if raw is None:
                return np.array(self._list, dtype=dtype)
            return np.frombuffer(raw, _NUMPY_DTYPES[raw.format]).astype(dtype, copy=False)

    def holds(self, number: float) -> bool:
        """Return whether one of the numbers is *number*; fast while they are machine numbers."""
        raw = self._raw
        return (raw is None or struct.pack(raw.format, number) in raw.tobytes()) and number in self.values

    def __len__(self) -> int:
        raw = self._raw
        return len(self._list if raw is None else raw)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Column):
            return NotImplemented
        mine, theirs = self.values, other.values
        return mine == theirs or (
            len(mine) == len(theirs) and all(a == b or (a != a and b != b) for a, b in zip(mine, theirs, strict=True))
        )

    def __repr__(self) -> str:
        if len(self) <= 16:
            return repr(self.values)
        return f"[{', '.join(map(repr, self.values[:8]))}, ... {len(self)} in all]"

    def __reduce__(self) -> tuple[Any, ...]:
        raw = self._raw
        if raw is None:
            return type(self), (self._list,)
        return _unpickled, (type(self), raw.tobytes(), raw.format)


class OptionalColumn(Column):
    """Floats of which some are undefined: NaN in the machine numbers, None in the list."""

    __slots__ = ()

    def _made(self, raw: Numbers) -> list[Any]:
        values = _listed(raw)
        if values and math.isnan(values[0]):
            values[0] = None
        # One NaN makes the sum NaN, and a sum is ten times as fast as a look at each.
        if math.isnan(sum(values[1:])):
            values = [None if value != value else value for value in values]
        return values

    def shifted(self) -> OptionalColumn:
        """Return a column with an undefined entry before these."""
        raw = self._raw
        if raw is None:
            return OptionalColumn([None, *self.values])
        numbers = array(raw.format, [math.nan])
        numbers.frombytes(raw.tobytes())
        return OptionalColumn(memoryview(numbers))


def _listed(raw: Numbers) -> list[Any]:
    numbers = array(raw.format)  # makes a list of a copy in less time than a view takes
    numbers.frombytes(raw.cast("B"))
    return numbers.tolist()


def _unpickled(kind: type[Column], raw: bytes, format: str) -> Column:
    return kind(memoryview(raw).cast(format))  # type: ignore[call-overload]


def little_endian(raw: memoryview, format: str) -> Numbers:
    """Return a view of little-endian numbers; a copy on a big-endian machine.

    Raises:
        ValueError: The bytes are not a whole number of them.
    """
    if len(raw) % _ITEM_BYTES[format]:
        raise ValueError(f"{len(raw)} bytes are not a whole number of {_NUMPY_DTYPES[format]}")
    if raw and sys.byteorder == "little":
        return raw.cast(format)  # type: ignore[call-overload,no-any-return]
    numbers = array(format, raw.tobytes())
    numbers.byteswap()
    return memoryview(numbers)


def int_column(name: str, values: Any) -> Column:
    """Return token ids as a column, checked unless they are one already."""
    if isinstance(values, Column):
        return values
    return Column(list(token_tuple(name, values)))


def float_column(name: str, values: Any, kind: type[Column] = Column) -> Column:
    """Return numbers as a column, checked unless they are one already; None becomes NaN."""
    if isinstance(values, Column):
        return values
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of numbers, got {shown(values)}")
    values = list(values)
    try:
        numbers = array("d", values)
    except TypeError:
        numbers = _with_nan(name, values)
    except OverflowError:
        raise ValueError(f"{name} has a number too large for a float") from None
    return kind(memoryview(numbers))


def _with_nan(name: str, values: list[Any]) -> array[float]:
    try:
        return array("d", [math.nan if value is None else value for value in values])
    except TypeError:
        raise TypeError(f"{name} must hold numbers and None only") from None
    except OverflowError:
        raise ValueError(f"{name} has a number too large for a float") from None
