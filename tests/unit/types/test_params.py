from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from tinkex.types import SamplingParams


def test_defaults():
    """What is not said is None, temperature 1, and no truncation."""
    params = SamplingParams()
    assert (params.max_tokens, params.seed, params.stop) == (None, None, None)
    assert (params.temperature, params.top_k, params.top_p) == (1.0, -1, 1.0)


def test_unknown_names_are_refused():
    """A misspelt parameter is a TypeError that names it."""
    with pytest.raises(TypeError, match="max_token'"):
        SamplingParams(max_token=5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", True),
        ("max_tokens", 2.5),
        ("max_tokens", 2**31),
        ("max_tokens", "5"),
        pytest.param("max_tokens", 10**5000, id="huge"),
        ("seed", 1.5),
        ("seed", True),
        ("seed", 2**64),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", True),
        ("temperature", "1"),
        ("temperature", None),
        pytest.param("temperature", 10**400, id="large"),
        ("top_k", -2),
        ("top_k", 1.5),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("stop", 5),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", ["a", 1]),
        ("stop", [1, "a"]),
        ("stop", [-1]),
        ("stop", [True]),
        ("stop", [1.5]),
        ("stop", b"ab"),
        ("stop", {"a"}),
        ("stop", "\ud800"),
    ],
)
def test_wrong_values_name_the_field(name, value):
    """Each wrong type or value is refused with the name of its parameter."""
    with pytest.raises((TypeError, ValueError), match=name):
        SamplingParams(**{name: value})


@pytest.mark.parametrize(
    ("given", "kept"), [("a", "a"), (["a", "b"], ("a", "b")), ([1, 2], (1, 2)), ([], ()), (np.array([3]), (3,))]
)
def test_stop_is_kept_as_text_or_a_tuple(given, kept):
    """One string stays one; sequences become tuples, and an empty one differs from None."""
    assert SamplingParams(stop=given).stop == kept


def test_numpy_numbers_become_plain():
    """NumPy scalars are numbers too, and leave as int and float."""
    params = SamplingParams(max_tokens=np.int64(5), temperature=np.float32(0.5), top_k=np.int32(4), seed=2**64 - 1)
    assert (type(params.max_tokens), type(params.temperature), type(params.top_k)) == (int, float, int)


def test_values_and_pickles():
    """Equal parameters are equal, hash alike and survive pickling."""
    params = SamplingParams(5, 1, ["a"], 0.5, 4, 0.9)
    assert pickle.loads(pickle.dumps(params)) == params == SamplingParams(5, 1, ("a",), 0.5, 4, 0.9)
    assert params != SamplingParams(max_tokens=5, stop=("a",))
    assert hash(params) == hash(pickle.loads(pickle.dumps(params)))
    with pytest.raises(AttributeError):
        params.max_tokens = 6
