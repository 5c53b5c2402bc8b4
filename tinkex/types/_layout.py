"""How the numbers of a tensor lie: row by row, nested, or in compressed sparse rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def check_csr(shape: tuple[int, ...], crow: tuple[int, ...], col: tuple[int, ...], count: int) -> None:
    """Check that row pointers and columns describe *count* listed numbers of a matrix.

    Raises:
        ValueError: They do not; the message names the field.
    """
    if len(shape) != 2:
        raise ValueError(f"shape of a sparse tensor must have two dimensions, got {shape}")
    rows, columns = shape
    if len(crow) != rows + 1 or crow[0] != 0 or crow[-1] != count:
        raise ValueError(f"sparse_crow_indices must be {rows + 1} numbers from 0 to {count}")
    if any(before > after for before, after in pairwise(crow)):
        raise ValueError("sparse_crow_indices must not descend")
    if len(col) != count or (col and max(col) >= columns):
        raise ValueError(f"sparse_col_indices must be {count} numbers below {columns}")
    if any(a >= b for start, end in pairwise(crow) for a, b in pairwise(col[start:end])):
        raise ValueError("sparse_col_indices must ascend within each row")


def flattened(nested: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of lists in lists, and their numbers in row-major order.

    Raises:
        ValueError: Lists of one depth differ in length.
    """
    shape: list[int] = []
    level: list[Any] = [nested]
    while level and all(isinstance(item, (list, tuple)) for item in level):
        if len({len(item) for item in level}) != 1:
            raise ValueError("nested must hold lists of equal lengths")
        shape.append(len(level[0]))
        level = [value for item in level for value in item]
    return tuple(shape), level


def nested_lists(flat: list[Any], shape: tuple[int, ...]) -> Any:
    """Return numbers in row-major order as lists in lists of a shape."""
    if not shape:
        return flat[0]
    for size in reversed(shape[1:]):
        if not size:
            return _empties(shape)
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat


def _empties(shape: tuple[int, ...]) -> list[Any]:
    return [_empties(shape[1:]) for _ in range(shape[0])] if shape else []
