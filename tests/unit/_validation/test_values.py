"""What values of other libraries mean, in one place for calls, rows and the command line."""

from __future__ import annotations

import array
import datetime as dt
import decimal
import enum
import types
import uuid
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex._validation.values import flag, plain, whole

np = pytest.importorskip("numpy")


class Split(enum.StrEnum):
    TRAIN = "train"


class Level(enum.IntEnum):
    LOW = 3


class Kind(enum.Enum):
    TEXT = np.str_("text")


class NAType:
    """Stands for pandas' NA, which goes by the name of its type."""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_json_holds_stays_as_it_is(value):
    """Plain Python values are kept, in new containers."""
    assert plain(value) == value


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (np.str_("a"), "a"),
        (Split.TRAIN, "train"),
        (Level.LOW, 3),
        (Kind.TEXT, "text"),
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (np.array([[1], [2]]), [[1], [2]]),
        (np.array([{"role": np.str_("user")}], dtype=object), [{"role": "user"}]),
        (np.array(7), 7),
        (array.array("i", [1, 2]), [1, 2]),
        (float("nan"), None),
        (np.float32("nan"), None),
        (NAType(), None),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (np.longdouble(0.5), 0.5),
        (np.datetime64("2026-01-01", "D"), "2026-01-01"),
        (np.array(["2026-01-01", "NaT"], "M8[D]"), ["2026-01-01", None]),
        (range(3), [0, 1, 2]),
        ((1, (2, np.int32(3))), [1, [2, 3]]),
        (types.MappingProxyType({"a": np.int64(1)}), {"a": 1}),
        ({"b": 2, None: 3, True: 4, 0.5: 5, Split.TRAIN: 6, np.int64(9): 7, 8: 8},
         {"b": 2, "null": 3, "true": 4, "0.5": 5, "train": 6, "9": 7, "8": 8}),
    ],
)  # fmt: skip
def test_meanings(value, meaning):
    """Each value becomes what it stands for, of exactly the plain type."""
    found = plain(value)
    assert found == meaning
    assert type(found) is type(meaning)
    if isinstance(found, list):
        assert [type(each) for each in found] == [type(each) for each in meaning]


@pytest.mark.parametrize("value", [b"x", dt.date(2026, 1, 1), decimal.Decimal("1.5"), mock.MagicMock(), object()])
def test_other_objects_stay(value):
    """What is none of these, such as a picture, is left alone."""
    assert plain(value) is value


def test_arrow():
    """Arrow's arrays and scalars are read as what they hold."""
    pa = pytest.importorskip("pyarrow")
    assert plain({"ids": pa.array([1, None]), "one": pa.scalar("x")}) == {"ids": [1, None], "one": "x"}


def test_polars():
    """So are the series of polars."""
    pl = pytest.importorskip("polars")
    assert plain({"ids": pl.Series([1, None])}) == {"ids": [1, None]}


@pytest.mark.parametrize("value", [{1: "a", "1": "b"}, {None: "a", "null": "b"}])
def test_keys_that_are_spelled_alike(value):
    """Where two keys become one, neither value can be chosen."""
    with pytest.raises(ValueError, match="spelled alike"):
        plain({"x": value})


@pytest.mark.parametrize("key", [(0, 5), dt.date(2026, 1, 1), b"k"])
def test_keys_that_json_has_none_for(key):
    """A key that is no text and cannot be spelled as one is refused."""
    with pytest.raises(TypeError, match=f"keys must be text, not {type(key).__name__}"):
        plain({"span": {key: "PER"}})


def test_what_holds_itself():
    """A value that holds itself ends with RecursionError, not with the program."""
    loop = {}
    loop["me"] = loop
    with pytest.raises(RecursionError):
        plain(loop)


@pytest.mark.parametrize("value", [16.0, np.float32(16), np.int64(16), decimal.Decimal("16.0"), np.array(16)])
def test_whole_numbers_of_other_tools(value):
    """A number without a fraction is a whole one, whatever its type: JSON and tables with gaps know no other."""
    assert whole("n", value, 1) == 16
    assert type(whole("n", value, 1)) is int
    params = tinkex.SamplingParams(max_tokens=value, seed=value, top_k=value, stop=[value])
    assert params == tinkex.SamplingParams(max_tokens=16, seed=16, top_k=16, stop=[16])
    assert tinkex.ModelInput.from_ints([value]).to_ints() == [16]


@pytest.mark.parametrize("value", [1.5, float("inf"), True, np.bool_(True), "1", None, decimal.Decimal("NaN"), [1], {}])
def test_no_whole_numbers(value):
    """Fractions, infinities, truth values and texts are no whole numbers."""
    with pytest.raises(TypeError, match="n must be a whole number"):
        whole("n", value, 1)


def test_numpy_flags():
    """NumPy's truth values are truth values, and 0 and 1 are not."""
    assert flag("f", np.bool_(True)) is True
    request = tinkex.SampleRequest([1], tinkex.SamplingParams(max_tokens=1), include_prompt_logprobs=np.bool_(True))
    assert request.include_prompt_logprobs is True
    with pytest.raises(TypeError, match="f must be True or False"):
        flag("f", 1)
