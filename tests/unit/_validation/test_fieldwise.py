"""Comparison, hash and repr by fields: what attrs, and named tuples, make of the same class."""

from __future__ import annotations

from typing import NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._validation.fieldwise import Fieldwise, Record

SHOWN = {"alias": "shown", "repr": "{:.3}...".format}


@attrs.frozen
class Plain:
    """As attrs makes it."""

    first: object
    other: object = None
    _words: str = attrs.field(default="abcdef", **SHOWN)
    unseen: object = attrs.field(default=0, eq=False, repr=False)


@attrs.frozen(eq=False, repr=False)
class Shared(Fieldwise):
    """The same, with methods that are shared."""

    first: object
    other: object = None
    _words: str = attrs.field(default="abcdef", **SHOWN)
    unseen: object = attrs.field(default=0, eq=False, repr=False)


VALUES = st.tuples(
    st.integers(0, 1) | st.just(float("nan")), st.sampled_from(["a", ()]), st.text(max_size=2), st.integers(0, 1)
)


@given(VALUES, VALUES)
def test_as_attrs_makes_it(left, right):
    """Two objects are equal, and have one hash, where those of attrs are; both are shown alike."""
    assert (Shared(*left) == Shared(*right)) is (Plain(*left) == Plain(*right))
    assert (hash(Shared(*left)) == hash(Shared(*right))) is (hash(Plain(*left)) == hash(Plain(*right)))
    assert repr(Shared(*left)).removeprefix("Shared") == repr(Plain(*left)).removeprefix("Plain")


def test_repr():
    """A class made in a function is shown by its own name, and an object in itself as dots, as with attrs."""

    @attrs.frozen(eq=False, repr=False)
    class Local(Fieldwise):
        held: list

    held = []
    held.append(Local(held))
    assert repr(held[0]) == "Local(held=[...])"


def test_another_class():
    """Objects of another class are never equal, also of one that is derived; what cannot be hashed is refused."""

    @attrs.frozen(eq=False, repr=False)
    class Derived(Shared):
        pass

    assert Shared(1) != Derived(1)
    assert Shared(1) != Plain(1)
    assert Shared(1) != 1
    with pytest.raises(TypeError):
        hash(Shared([]))


class Pair(Record):
    """A plain class with slots."""

    __slots__ = ("first", "second")

    def __init__(self, first, second):
        self.first = first
        self.second = second


class Named(NamedTuple):
    """The same, as a named tuple."""

    first: object
    second: object


PAIRS = st.tuples(st.integers(0, 1) | st.just("1"), st.integers(0, 1) | st.none())


@given(PAIRS, PAIRS)
def test_records_are_compared_as_named_tuples(left, right):
    """Two records are equal where named tuples are, and shown alike."""
    assert (Pair(*left) == Pair(*right)) is (Named(*left) == Named(*right))
    assert repr(Pair(*left)).removeprefix("Pair") == repr(Named(*left)).removeprefix("Named")


def test_records_are_no_tuples():
    """A record equals none of another class, and has no hash: its parts may change."""
    assert Pair(1, 2) != (1, 2)
    assert Pair(1, 2) != Named(1, 2)
    with pytest.raises(TypeError):
        hash(Pair(1, 2))
