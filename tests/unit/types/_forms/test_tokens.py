from __future__ import annotations

from array import array
from enum import IntEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.types._forms.tokens import token_tuple

MOST = 2**31 - 1


class Special(IntEnum):
    END = 7


@given(st.lists(st.integers(0, MOST)))
def test_ids_are_kept(tokens):
    """Every list of ids in range comes back as a tuple of the same numbers."""
    assert token_tuple("prompt", tokens) == tuple(tokens)


@given(st.lists(st.integers(0, MOST), max_size=20), st.data())
def test_first_offender_is_named(tokens, data):
    """One item that is no id is refused, and the message names the field, the index and the value."""
    index = data.draw(st.integers(0, len(tokens)))
    wrong = data.draw(st.sampled_from([-1, 2**31, 2**40, -(2**70), True, False, 1.5, "7", None, [1], b"i"]))
    with pytest.raises((TypeError, ValueError)) as caught:
        token_tuple("prompt", [*tokens, wrong, -5] if not tokens else [*tokens[:index], wrong, *tokens[index:]])
    assert f"prompt[{index if tokens else 0}]" in str(caught.value)
    assert repr(wrong)[:20] in str(caught.value)


@pytest.mark.parametrize(
    "tokens",
    [
        (1, 2, 3),
        iter([1, 2, 3]),
        range(1, 4),
        np.array([1, 2, 3]),
        np.array([1, 2, 3], dtype=np.uint16),
        array("q", [1, 2, 3]),
        [np.int64(1), 2, np.uint8(3)],
    ],
)
def test_sources_of_ids(tokens):
    """Tuples, iterators, ranges and arrays of any integer type are fine; plain ints come of them."""
    made = token_tuple("prompt", tokens)
    assert made == (1, 2, 3)
    assert {type(token) for token in made} == {int}


def test_int_subclasses_become_ints():
    """An enum of ids is turned into plain ints."""
    assert type(token_tuple("stop", [Special.END])[0]) is int


@pytest.mark.parametrize(
    "tokens",
    [
        "123",
        b"123",
        {1, 2},
        {1: 2},
        5,
        None,
        np.array(5),
        np.array([1.5]),
        np.array([True]),
        np.array([[1, 2]]),
        array("d", [1.5]),
    ],
)
def test_what_is_no_sequence_of_ids(tokens):
    """Text, bytes, sets, single numbers and arrays of fractions, bools or two dimensions are type errors."""
    with pytest.raises(TypeError, match="prompt"):
        token_tuple("prompt", tokens)


def test_long_prompts_are_checked_to_the_end():
    """The last of many ids is looked at like the first."""
    tokens = [*range(40_000), True]
    with pytest.raises(TypeError, match=r"prompt\[40000\] must be a whole number, got True"):
        token_tuple("prompt", tokens)
