from __future__ import annotations

import math
import pickle
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tinkex.types import TensorData

SHAPES = nps.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)


@given(nps.arrays(np.int64, SHAPES) | nps.arrays(np.float32, SHAPES, elements=st.floats(-9, 9, width=32)))
def test_numpy_round_trip(array):
    """An array comes back from a dense tensor as it was, and as nested lists."""
    tensor = TensorData.from_numpy(array)
    assert np.array_equal(tensor.to_numpy(), array)
    assert tensor.to_numpy().dtype == array.dtype
    assert tensor.tolist() == array.tolist()
    assert tensor == TensorData.from_dict(tensor.to_dict()) == pickle.loads(pickle.dumps(tensor))


@given(nps.arrays(np.int64, nps.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.integers(-1, 2)))
def test_sparse_tensors_become_dense(array):
    """CSR gives the dense array, whatever value stands for the entries it does not list."""
    rows, columns = np.nonzero(array != -1)
    crow = np.concatenate([[0], np.cumsum((array != -1).sum(axis=1))])
    tensor = TensorData(array[rows, columns], "int64", array.shape, crow, columns)
    assert np.array_equal(tensor.to_numpy(-1), array)
    assert tensor.tolist(-1) == array.tolist()
    assert tensor == TensorData.from_dict(tensor.to_dict())


@pytest.mark.parametrize(
    ("nested", "shape", "dtype"),
    [
        ([1, 2], (2,), "int64"),
        ([1, 2.0], (2,), "float32"),
        ([[1, 2], [3, 4]], (2, 2), "int64"),
        ([[], []], (2, 0), "int64"),
        ([[[1]], [[2]]], (2, 1, 1), "int64"),
    ],
)
def test_from_list(nested, shape, dtype):
    """Lists in lists say their shape and type themselves."""
    tensor = TensorData.from_list(nested)
    assert (tensor.shape, tensor.dtype, tensor.tolist()) == (shape, dtype, nested)


def test_no_shape_is_one_dimension():
    """Without a shape, a tensor is a list of numbers."""
    assert TensorData([1, 2, 3], "int64").shape == (3,)


class TorchLike:
    """What is asked of a tensor of PyTorch."""

    def __init__(self, rows, *, floats=False):
        self.shape = (len(rows), len(rows[0]))
        self.dtype = types.SimpleNamespace(is_floating_point=floats)
        self._flat = [value for row in rows for value in row]

    def flatten(self):
        return self

    def tolist(self):
        return self._flat


def test_from_torch():
    """A tensor of PyTorch gives its numbers, its shape and the nearer of the two types."""
    tensor = TensorData.from_torch(TorchLike([[1, 2], [3, 4]]))
    assert (tensor.shape, tensor.dtype, tensor.tolist()) == ((2, 2), "int64", [[1, 2], [3, 4]])
    assert TensorData.from_torch(TorchLike([[0.5]], floats=True)).dtype == "float32"
    for other in ([1], np.array([1])):
        with pytest.raises(TypeError, match="tensor must be a tensor of PyTorch"):
            TensorData.from_torch(other)


def test_from_torch_sparse():
    """What is not the pad value is listed, unless that takes as many numbers as all of them."""
    sparse = TensorData.from_torch_sparse(TorchLike([[-1] * 9, [*[-1] * 8, 7]]), pad_value=-1)
    assert (sparse.sparse_crow_indices, sparse.sparse_col_indices, sparse.data) == ((0, 0, 1), (8,), [7])
    assert sparse.tolist(-1) == [[-1] * 9, [*[-1] * 8, 7]]
    assert TensorData.from_torch_sparse(TorchLike([[1, 2], [3, 4]])).sparse_crow_indices is None
    with pytest.raises(TypeError, match="pad_value"):
        TensorData.from_torch_sparse(TorchLike([[1]]), pad_value=0.5)


def test_a_single_number():
    """A tensor without dimensions holds one number."""
    assert TensorData([7], "int64", ()).tolist() == 7


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([1], "int32"), "dtype"),
        (([1], None), "dtype"),
        (([1.5], "int64"), r"data\[0\]"),
        (([True], "int64"), r"data\[0\]"),
        (([2**63], "int64"), r"data\[0\]"),
        ((["a"], "float32"), "data"),
        (([10**400], "float32"), "data"),
        (("12", "int64"), "data"),
        ((5, "int64"), "data"),
        (([1, 2], "int64", (3,)), "shape"),
        (([1, 2], "int64", (-2, -1)), r"shape\[0\]"),
        (([1], "int64", (1,) * 17), "shape"),
        (([1], "int64", (1, 1), [0, 1]), "sparse_col_indices"),
        (([1], "int64", (1,), [0, 1], [0]), "shape"),
        (([1], "int64", (1, 1), [0, 2], [0]), "sparse_crow_indices"),
        (([1], "int64", (2, 1), [0, 1], [0]), "sparse_crow_indices"),
        (([1], "int64", (2, 1), [1, 1, 1], [0]), "sparse_crow_indices"),
        (([1, 1], "int64", (3, 2), [0, 2, 1, 2], [0, 1]), "sparse_crow_indices"),
        (([1], "int64", (1, 1), [0, 1], [1]), "sparse_col_indices"),
        (([1], "int64", (1, 1), [0, 1], [-1]), "sparse_col_indices"),
        (([1, 1], "int64", (1, 2), [0, 2], [1, 1]), "sparse_col_indices"),
        (([1, 1], "int64", (1, 2), [0, 2], [1]), "sparse_col_indices"),
    ],
)
def test_parts_that_do_not_fit_are_named(arguments, name):
    """Each contradiction is refused with the name of the field."""
    with pytest.raises((TypeError, ValueError), match=name):
        TensorData(*arguments)


@pytest.mark.parametrize("array", [np.array([True]), np.array(["a"]), [1, 2], np.array([1j])])
def test_from_numpy_takes_numbers_only(array):
    """Arrays of anything but whole numbers and floats are refused."""
    with pytest.raises(TypeError, match="array"):
        TensorData.from_numpy(array)


def test_ragged_lists_are_refused():
    """Lists of unequal lengths have no shape."""
    with pytest.raises(ValueError, match="nested"):
        TensorData.from_list([[1], [1, 2]])


@pytest.mark.parametrize("plain", [None, [], {}, {"data": [1]}, "text"])
def test_from_dict_of_something_else(plain):
    """What has no data and dtype is no tensor."""
    with pytest.raises(TypeError, match="tensor"):
        TensorData.from_dict(plain)


def test_undefined_numbers_travel_as_null():
    """NaN is None in JSON, and NaN again after it; two such tensors are equal."""
    tensor = TensorData([math.nan, 1.0], "float32")
    assert tensor.to_dict()["data"] == [None, 1.0]
    assert tensor == TensorData.from_dict(tensor.to_dict())


def test_dense_arrays_of_floats_are_views():
    """to_numpy of a dense tensor that came as bytes copies nothing."""
    tensor = pickle.loads(pickle.dumps(TensorData([1.0], "float32")))
    assert tensor.to_numpy().dtype == np.float32


def test_repr_is_short():
    """A large tensor shows a few numbers, its type and its shape."""
    text = repr(TensorData(list(range(1000)), "int64", (10, 100)))
    assert "(10, 100)" in text
    assert len(text) < 200
