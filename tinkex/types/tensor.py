"""Tensor data: numbers with a shape, dense or sparse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from attrs import field, frozen

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import shown, whole
from tinkex.errors import extra
from tinkex.types._forms.columns import Column, float_column
from tinkex.types._json.numbers import json_numbers, read_numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TensorDtype = Literal["int64", "float32"]

_INT64 = 2**63
_MOST_DIMENSIONS = 16


def _dtype(value: Any) -> TensorDtype:
    if value not in get_args(TensorDtype):
        raise ValueError(f"dtype must be 'int64' or 'float32', got {shown(value)}")
    return value  # type: ignore[no-any-return]


def _sizes(value: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if value is None else _wholes("shape", value, 0)


def _crow(value: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if value is None else _wholes("sparse_crow_indices", value, 0)


def _col(value: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if value is None else _wholes("sparse_col_indices", value, 0)


def _wholes(name: str, values: Any, low: int) -> tuple[int, ...]:
    values = _listed(name, values)
    if set(map(type, values)) <= {int} and (not values or (min(values) >= low and max(values) < _INT64)):
        return tuple(values)
    return tuple([whole(f"{name}[{i}]", value, low, _INT64 - 1) for i, value in enumerate(values)])


def _listed(name: str, values: Any) -> Sequence[Any]:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of numbers, got {shown(values)}")
    return values if isinstance(values, (list, tuple)) else list(values)


@with_field_docs
@frozen(init=False, eq=False, repr=False)
class TensorData(Fieldwise):
    """Numbers with a shape, dense or in compressed sparse rows (CSR). Immutable; safe to share.

    - *data*: the numbers in row-major order; for CSR only the listed ones.
    - *dtype*: `"int64"` or `"float32"`.
    - *shape*: None means one dimension, as long as the data.
    - *sparse_crow_indices*, *sparse_col_indices*: both or neither. Row i's listed numbers are those from `crow[i]`
      up to `crow[i + 1]`, and their columns ascend. CSR needs a two-dimensional *shape*.

    Wrong types raise TypeError and numbers that do not fit together ValueError, naming the field.

    >>> TensorData([1, 2, 3, 4], "int64", (2, 2)).tolist()
    [[1, 2], [3, 4]]
    >>> TensorData([7], "int64", (2, 3), [0, 0, 1], [2]).tolist()
    [[0, 0, 0], [0, 0, 7]]
    """

    dtype: TensorDtype
    shape: tuple[int, ...]
    sparse_crow_indices: tuple[int, ...] | None
    sparse_col_indices: tuple[int, ...] | None
    _data: Column = field(alias="data")

    def __init__(
        self,
        data: Iterable[float] | Column,
        dtype: TensorDtype,
        shape: Iterable[int] | None = None,
        sparse_crow_indices: Iterable[int] | None = None,
        sparse_col_indices: Iterable[int] | None = None,
    ) -> None:
        column = _column(data, _dtype(dtype))
        sizes = _sizes(shape)
        self.__attrs_init__(
            dtype=dtype,
            shape=(len(column),) if sizes is None else sizes,
            sparse_crow_indices=_crow(sparse_crow_indices),
            sparse_col_indices=_col(sparse_col_indices),
            data=column,
        )
        self._check()

    def _check(self) -> None:
        if len(self.shape) > _MOST_DIMENSIONS:
            raise ValueError(f"shape must have at most {_MOST_DIMENSIONS} dimensions, got {len(self.shape)}")
        crow, col, count = self.sparse_crow_indices, self.sparse_col_indices, len(self._data)
        if crow is not None and col is not None:
            check_csr(self.shape, crow, col, count)
        elif crow is not None or col is not None:
            raise ValueError("sparse_crow_indices and sparse_col_indices must come together")
        elif math.prod(self.shape) != count:
            raise ValueError(f"shape {self.shape} does not hold the {count} numbers of data")

    @property
    def data(self) -> list[int] | list[float]:
        """The numbers in row-major order; of a sparse tensor the listed ones. The list is made on first use."""
        return self._data.values

    @classmethod
    def from_list(cls, nested: Iterable[Any], dtype: TensorDtype | None = None) -> TensorData:
        """Make a dense tensor of a list, or of lists in lists of equal lengths.

        *dtype* None means int64 when every number is an int, else float32.
        """
        shape, flat = flattened(nested)
        if dtype is None:
            dtype = "int64" if all(type(value) is int for value in flat) else "float32"
        return cls(flat, dtype, shape)

    @classmethod
    def from_numpy(cls, array: Any) -> TensorData:
        """Make a dense tensor of a NumPy array of whole numbers or floats."""
        kind = getattr(getattr(array, "dtype", None), "kind", None)
        if kind not in ("i", "u", "f"):
            raise TypeError(f"array must be a NumPy array of numbers, got {shown(array)}")
        return cls(array.ravel().tolist(), "float32" if kind == "f" else "int64", array.shape)

    def to_numpy(self, pad_value: float = 0) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return a NumPy array, of int64 or float32; what a sparse tensor does not list is *pad_value*.

        A dense tensor's array may be a read-only view of the tensor's own memory.
        """
        with extra("numpy", "A NumPy array"):
            import numpy as np
        numbers = self._data.numpy(self.dtype)
        if self.sparse_crow_indices is None:
            return numbers.reshape(self.shape)  # type: ignore[no-any-return]
        dense = np.full(self.shape, pad_value, dtype=self.dtype)
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.sparse_crow_indices))
        dense[rows, np.array(self.sparse_col_indices, dtype=np.int64)] = numbers
        return dense

    @classmethod
    def from_torch(cls, tensor: Any) -> TensorData:
        """Make a dense tensor of one of PyTorch, on any device; bfloat16 and other floats become float32."""
        kind: Any = getattr(tensor, "dtype", None)
        if not hasattr(kind, "is_floating_point"):
            raise TypeError(f"tensor must be a tensor of PyTorch, got {shown(tensor)}")
        dtype: TensorDtype = "float32" if kind.is_floating_point else "int64"
        return cls(tensor.flatten().tolist(), dtype, tensor.shape)

    @classmethod
    def from_torch_sparse(cls, tensor: Any, pad_value: int = 0) -> TensorData:
        """Make a sparse tensor of a two-dimensional one of PyTorch, in which *pad_value* is not listed.

        It is dense where that takes no more numbers, and where there are not two dimensions, as in the official SDK.
        """
        dense = cls.from_torch(tensor)
        pad = whole("pad_value", pad_value, -_INT64, _INT64 - 1)
        if len(dense.shape) != 2:
            return dense
        listed = [[(index, value) for index, value in enumerate(row) if value != pad] for row in dense.tolist()]
        crow = [0, *accumulate(map(len, listed))]
        if len(crow) + 2 * crow[-1] >= len(dense.data):
            return dense
        cells = [cell for row in listed for cell in row]
        return cls([value for _, value in cells], dense.dtype, dense.shape, crow, [index for index, _ in cells])

    def to_torch(self, pad_value: float = 0) -> Any:
        """Return a tensor of PyTorch, of int64 or float32; what a sparse tensor does not list is *pad_value*."""
        import torch  # which the caller has

        numbers = torch.tensor(self.data, dtype=getattr(torch, self.dtype))
        if self.sparse_crow_indices is None:
            return numbers.reshape(self.shape)
        dense = torch.full(self.shape, pad_value, dtype=numbers.dtype)
        counts = torch.tensor(self.sparse_crow_indices).diff()
        rows = torch.arange(self.shape[0]).repeat_interleave(counts)
        dense[rows, torch.tensor(self.sparse_col_indices, dtype=torch.int64)] = numbers
        return dense

    def tolist(self, pad_value: float = 0) -> Any:
        """Return lists in lists after the shape; what a sparse tensor does not list is *pad_value*."""
        crow, col = self.sparse_crow_indices, self.sparse_col_indices
        if crow is None or col is None:
            return nested_lists(self.data, self.shape)
        rows = [[pad_value] * self.shape[1] for _ in range(self.shape[0])]
        for row, (start, end) in zip(rows, pairwise(crow), strict=True):
            for index in range(start, end):
                row[col[index]] = self.data[index]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the tensor as the JSON object that servers read and send; NaN is None, minus infinity -9999.0."""
        plain: dict[str, Any] = {"data": [*json_numbers(self.data)], "dtype": self.dtype, "shape": list(self.shape)}
        if self.sparse_crow_indices is not None and self.sparse_col_indices is not None:
            plain["sparse_crow_indices"] = list(self.sparse_crow_indices)
            plain["sparse_col_indices"] = list(self.sparse_col_indices)
        return plain

    @classmethod
    def from_dict(cls, plain: Any) -> TensorData:
        """Read what `to_dict` made, or a server sent; unknown keys are ignored.

        Raises:
            TypeError: It is not such an object.
            ValueError: Its parts do not fit together.
        """
        try:
            data, dtype = plain["data"], plain["dtype"]
            sparse = (plain.get("sparse_crow_indices"), plain.get("sparse_col_indices"))
            shape = plain.get("shape")
        except (TypeError, KeyError, AttributeError):
            raise TypeError(f"a tensor must be an object with data and dtype, got {shown(plain)}") from None
        if dtype == "float32" and data is not None:
            data = read_numbers("data", data)
        return cls(data, dtype, shape, *sparse)

    def __repr__(self) -> str:
        layout = "" if self.sparse_crow_indices is None else ", sparse"
        return f"TensorData({self._data!r}, {self.dtype!r}, {self.shape}{layout})"


def _column(data: Any, dtype: TensorDtype) -> Column:
    if isinstance(data, Column):
        return data
    data = _listed("data", data)
    if dtype == "float32":
        return float_column("data", data)
    return Column(list(_wholes("data", data, -_INT64)))


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
