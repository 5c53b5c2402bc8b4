from __future__ import annotations

import pickle
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.types import TopkLogprobs

CELLS = st.tuples(st.integers(1, 2**31 - 1), st.floats(-50, 0, width=32))
ROWS = st.lists(st.none() | st.lists(CELLS, min_size=1, max_size=4), max_size=6)


def from_raw(rows, k):
    """Makes a table of matrices, as a protobuf result holds them."""
    ids, logprobs = array("i"), array("f")
    for row in rows:
        cells = [*(row or []), *[(0, -99999.0)] * (k - len(row or []))]
        ids.extend(cell[0] for cell in cells)
        logprobs.extend(cell[1] for cell in cells)
    return TopkLogprobs.from_columns(memoryview(ids), memoryview(logprobs), k)


@given(ROWS)
def test_rows_and_matrices_hold_the_same(rows):
    """Rows given as lists and rows read from matrices are equal, and so are their copies and matrices."""
    listed, raw = TopkLogprobs(rows), from_raw(rows, 4)
    assert listed == raw == rows
    assert pickle.loads(pickle.dumps(raw)) == pickle.loads(pickle.dumps(listed)) == rows
    assert len(listed) == len(raw) == raw.length == len(rows)
    assert np.array_equal(raw.token_ids[:, : listed.k], listed.token_ids)
    assert np.array_equal(raw.logprobs[:, : listed.k], listed.logprobs)


@given(ROWS)
def test_shifted_adds_an_undefined_row(rows):
    """A shifted table starts with None, from lists and from matrices."""
    assert TopkLogprobs(rows).shifted() == from_raw(rows, 4).shifted() == [None, *rows]


def test_it_is_a_sequence():
    """Rows can be indexed, sliced, iterated and counted."""
    topk = TopkLogprobs([None, [(5, -0.5)]])
    assert (topk[1], topk[-1:], list(topk), len(topk)) == ([(5, -0.5)], [[(5, -0.5)]], [None, [(5, -0.5)]], 2)
    assert (topk.k, topk.length) == (1, 2)
    assert topk != "text"


@pytest.mark.parametrize("rows", [[[]], [[(0, -99999.0)]], [None]])
def test_rows_without_cells_are_undefined(rows):
    """Empty rows, and rows of empty cells only, are None."""
    assert TopkLogprobs(rows) == [None]


def test_token_0_with_a_real_logprob_counts():
    """Only the pair of 0 and -99999 is an empty cell."""
    assert from_raw([[(0, -1.0), (3, -99999.0)]], 3) == [[(0, -1.0), (3, -99999.0)]]


@pytest.mark.parametrize(
    "rows", ["text", 5, {1: 2}, [5], [[5]], [[(1, 2, 3)]], [[("a", -1.0)]], [[(1, "b")]], [[(-1, 0)]]]
)
def test_what_is_no_table(rows):
    """Anything but None and pairs of an id and a number is refused."""
    with pytest.raises(TypeError, match="topk_logprobs"):
        TopkLogprobs(rows)


def test_repr_is_short():
    """A long table shows a part of itself."""
    assert len(repr(TopkLogprobs([[(1, -1.0)]] * 10_000))) < 100


def test_a_row_that_begins_empty_is_undefined():
    """A row whose first cell is empty is undefined, whatever stands behind it."""
    ids, logprobs = array("i", [0, 7, 5, 6]), array("f", [-99999.0, -1.0, -0.5, -1.5])
    table = TopkLogprobs.from_columns(memoryview(ids), memoryview(logprobs), 2)
    assert table.rows == [None, [(5, -0.5), (6, -1.5)]]
