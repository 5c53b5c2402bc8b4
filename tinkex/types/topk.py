"""Top-k log-probabilities: the likeliest tokens at each position."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, overload

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.values import shown, whole
from tinkex.errors import extra
from tinkex.types._forms.columns import Numbers

Row = list[tuple[int, float]] | None

_EMPTY = (0, -99999.0)


@with_field_docs
class TopkLogprobs(Sequence[Row]):
    """The likeliest tokens at each position: a sequence of rows, made on first use.

    A row is a list of up to k `(token id, log-probability)` pairs, the likeliest first, or None where nothing is
    defined. Equal to any list of equal rows. Read-only; safe to share between threads.

    >>> topk = TopkLogprobs([None, [(5, -0.5), (7, -1.5)]])
    >>> topk.length, topk.k, topk[1][0]
    (2, 2, (5, -0.5))
    """

    __slots__ = ("_ids", "_logprobs", "_rows", "k", "length")
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    k: int
    """The most pairs a row can have: the number that was asked for, as far as the server says it."""
    length: int
    """The number of rows."""

    def __init__(self, rows: Iterable[Iterable[tuple[int, float]] | None]) -> None:
        made = [_checked(index, row) for index, row in enumerate(_listed(rows))]
        self._ids: Numbers | None = None
        self._logprobs: Numbers | None = None
        self._rows: list[Row] | None = made
        self.length = len(made)
        self.k = max((len(row) for row in made if row), default=0)

    @classmethod
    def from_columns(cls, ids: Numbers, logprobs: Numbers, k: int) -> TopkLogprobs:
        """Make one of two row-major matrices of equal size, of formats i and f, whose rows have k > 0 cells."""
        topk = cls.__new__(cls)
        topk._ids, topk._logprobs, topk._rows = ids, logprobs, None  # noqa: SLF001 - it is one of ours
        topk.k, topk.length = k, len(ids) // k
        return topk

    def shifted(self) -> TopkLogprobs:
        """Return the same with an undefined row before these."""
        if self._ids is None or self._logprobs is None:
            return TopkLogprobs([None, *self.rows])
        ids, logprobs = array("i", [_EMPTY[0]] * self.k), array("f", [_EMPTY[1]] * self.k)
        ids.frombytes(self._ids.tobytes())
        logprobs.frombytes(self._logprobs.tobytes())
        return TopkLogprobs.from_columns(memoryview(ids), memoryview(logprobs), self.k)

    @property
    def rows(self) -> list[Row]:
        """All rows as a list."""
        made = self._rows
        if made is None:
            made = self._rows = self._made()
        return made

    def _made(self) -> list[Row]:
        assert self._ids is not None
        assert self._logprobs is not None
        logprobs, k = self._logprobs.tolist(), self.k
        cells: list[tuple[int, float]] = list(zip(self._ids.tolist(), logprobs, strict=True))
        full = [cells[start : start + k] for start in range(0, len(cells), k)]
        if _EMPTY[1] not in logprobs:
            return [*full]
        return [_trimmed(row) if _EMPTY in (row[0], row[-1]) else row for row in full]

    @property
    def token_ids(self) -> Any:
        """A NumPy matrix of int32, one row a position and k columns; empty cells hold 0."""
        return self._matrix(0, "int32", self._ids)

    @property
    def logprobs(self) -> Any:
        """A NumPy matrix of float32, one row a position and k columns; empty cells hold -99999."""
        return self._matrix(1, "float32", self._logprobs)

    def _matrix(self, part: int, dtype: str, raw: Numbers | None) -> Any:
        with extra("numpy", "A NumPy array"):
            import numpy as np
        if raw is not None:
            return np.frombuffer(raw, dtype).reshape(self.length, self.k)
        matrix = np.full((self.length, self.k), _EMPTY[part], dtype)
        for index, row in enumerate(self.rows):
            if row:
                matrix[index, : len(row)] = [cell[part] for cell in row]
        return matrix

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return self.length

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TopkLogprobs):
            return self.rows == other.rows
        return self.rows == other if isinstance(other, list) else NotImplemented

    def __repr__(self) -> str:
        return f"TopkLogprobs({shown(self.rows[:4])})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._ids is None or self._logprobs is None:
            return TopkLogprobs, (self._rows,)
        return _unpickled, (self._ids.tobytes(), self._logprobs.tobytes(), self.k)


def _unpickled(ids: bytes, logprobs: bytes, k: int) -> TopkLogprobs:
    return TopkLogprobs.from_columns(memoryview(ids).cast("i"), memoryview(logprobs).cast("f"), k)


def _trimmed(row: list[tuple[int, float]]) -> Row:
    if row[0] == _EMPTY:
        return None
    end = len(row)
    while row[end - 1] == _EMPTY:
        end -= 1
    return row[:end]


def _listed(rows: Any) -> Iterable[Any]:
    if isinstance(rows, (str, bytes, dict)) or not isinstance(rows, Iterable):
        raise TypeError(f"topk_logprobs must be a sequence of rows, got {shown(rows)}")
    return rows


def _checked(index: int, row: Any) -> Row:
    if row is None:
        return None
    try:
        cells = [(whole("token", token, 0), math.nan if logprob is None else float(logprob)) for token, logprob in row]
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"topk_logprobs[{index}] must be None or pairs of a token id and a number, got {shown(row)}"
        ) from None
    return _trimmed(cells) if cells else None
