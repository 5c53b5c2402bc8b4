"""Lenient readers: what is of another kind counts as unsaid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._validation.json_values import count, flag, json_object, text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(JSON)
def test_kinds(value):
    """Each reader gives back a value of its kind unchanged, and None for every other one; it never raises."""
    assert text(value) == (value if type(value) is str and value else None)
    assert count(value) == (value if type(value) is int and value >= 0 else None)
    assert flag(value) is (value if type(value) is bool else None)
    assert json_object(value) == (value if type(value) is dict else None)


@pytest.mark.parametrize(
    ("value", "least", "found"), [(0, 0, 0), (0, 1, None), (1, 1, 1), (True, 0, None), (1.0, 0, None)]
)
def test_least_count(value, least, found):
    """A count has a least value; True and 1.0 are no counts."""
    assert count(value, least) is found


def test_objects_are_copied():
    """An object that was read does not change with the one it was read from."""
    given_object = {"a": 1}
    read = json_object(given_object)
    given_object["a"] = 2
    assert read == {"a": 1}
