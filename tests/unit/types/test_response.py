from __future__ import annotations

import json
import math
import pickle
from array import array

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tinkex.types import PromptAltTokens, SampledSequence, SampleResponse, TensorData, Timing, TopkLogprobs, Usage
from tinkex.types._forms.columns import Column, OptionalColumn

LOGPROBS = st.floats(-50, 0, width=32)
IDS = st.integers(0, 2**31 - 1)
ROW = st.none() | st.lists(st.tuples(st.integers(1, 99), LOGPROBS), min_size=1, max_size=3)


@st.composite
def sequences(draw):
    """Draws a sequence whose columns are as long as its tokens."""
    tokens = draw(st.lists(IDS, max_size=5))
    same = {"min_size": len(tokens), "max_size": len(tokens)}
    return SampledSequence(
        tokens,
        draw(st.none() | st.lists(LOGPROBS, **same)),
        draw(st.none() | st.lists(ROW, **same)),
        draw(st.sampled_from(["stop", "length"])),
        draw(st.none() | st.just("sequence-1")),
    )


TENSORS = st.lists(LOGPROBS, max_size=4).map(lambda data: TensorData(data, "float32"))
RESPONSES = st.builds(
    SampleResponse,
    st.lists(sequences(), max_size=3),
    prompt_logprobs=st.none() | st.lists(st.none() | LOGPROBS, max_size=5),
    topk_prompt_logprobs=st.none() | st.lists(ROW, max_size=3),
    target_prompt_logprobs=st.none() | TENSORS,
    prompt_alt_tokens=st.none() | st.builds(PromptAltTokens, TENSORS, TENSORS),
    prompt_cache_hit_tokens=st.integers(0, 9),
    request_id=st.none() | st.text(),
    usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
    timing=st.none() | st.builds(Timing, *[st.floats(0, 9)] * 4),
)


@given(RESPONSES)
def test_dictionaries_and_pickles_round_trip(response):
    """A response survives JSON and pickling, its labels included."""
    for copy in (
        SampleResponse.from_dict(json.loads(json.dumps(response.to_dict()))),
        pickle.loads(pickle.dumps(response)),
    ):
        assert copy == response
        assert copy.to_dict() == response.to_dict()
        assert (copy.request_id, copy.usage, copy.timing) == (response.request_id, response.usage, response.timing)


def test_labels_do_not_count():
    """Two responses are equal when the server computed the same, however long it took."""
    response = SampleResponse([SampledSequence([1])])
    assert response == evolve(response, request_id="7", usage=Usage(1, 1, 0), timing=Timing(1.0))
    assert response != SampleResponse([SampledSequence([2])])


def test_undefined_prompt_logprobs_are_none():
    """NaN and None are both None in the list and both NaN in the array; an empty list is not an absent one."""
    response = SampleResponse([], prompt_logprobs=[None, -1.0, math.nan])
    assert response.prompt_logprobs == [None, -1.0, None]
    assert np.array_equal(response.prompt_logprobs_np, np.array([math.nan, -1, math.nan], np.float32), equal_nan=True)
    assert (SampleResponse([]).prompt_logprobs, SampleResponse([], prompt_logprobs=[]).prompt_logprobs) == (None, [])
    assert SampleResponse([]) != SampleResponse([], prompt_logprobs=[])


def test_undefined_sample_logprobs_are_nan():
    """A sampled token without log-probability is NaN, so that the list holds floats only, and still compares equal."""
    one, other = SampledSequence([1, 2], [None, -1.0]), SampledSequence([1, 2], [math.nan, -1.0])
    assert math.isnan(one.logprobs[0])
    assert one == other
    assert one.to_dict()["logprobs"] == [None, -1.0]


def test_lists_are_made_once():
    """The same list is returned every time."""
    sequence = SampledSequence(Column(memoryview(array("i", [1, 2]))), [-1.0, -2.0])
    assert sequence.tokens is sequence.tokens
    assert sequence.logprobs is sequence.logprobs


def test_arrays_are_views_of_machine_numbers():
    """NumPy arrays of a decoded column share its memory and cannot be written."""
    raw = memoryview(bytes(8)).cast("i")
    sequence = SampledSequence(Column(raw))
    assert np.shares_memory(sequence.tokens_np, np.frombuffer(raw, np.int32))
    assert not sequence.tokens_np.flags.writeable
    assert SampledSequence([1]).tokens_np.dtype == np.int32
    assert SampledSequence([1], [-1.0]).logprobs_np.dtype == np.float32
    assert SampledSequence([1]).logprobs_np is None
    assert SampleResponse([]).prompt_logprobs_np is None


@given(st.lists(LOGPROBS | st.just(math.nan) | st.just(-math.inf) | st.just(math.inf)))
def test_nan_is_found_wherever_it_is(values):
    """Each NaN of a column becomes None, and nothing else does."""
    column = OptionalColumn(memoryview(array("f", values)))
    assert column.values == [None if math.isnan(value) else value for value in values]
    assert column.shifted().values == [None, *column.values]
    assert OptionalColumn(column.values).shifted() == column.shifted()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: SampledSequence("ab"), "tokens"),
        (lambda: SampledSequence(None), "tokens"),
        (lambda: SampledSequence([-1]), r"tokens\[0\]"),
        (lambda: SampledSequence([1], ["a"]), "logprobs"),
        (lambda: SampledSequence([1], "a"), "logprobs"),
        (lambda: SampledSequence([1], 5), "logprobs"),
        (lambda: SampledSequence([1], [10**400]), "logprobs"),
        (lambda: SampledSequence([1, 1], [10**400, None]), "logprobs"),
        (lambda: SampledSequence([1], [-1.0, -2.0]), "logprobs"),
        (lambda: SampledSequence([1], topk_logprobs=[]), "topk_logprobs"),
        (lambda: SampledSequence([1], stop_reason=None), "stop_reason"),
        (lambda: SampleResponse(["x"]), "sequences"),
        (lambda: SampleResponse([], prompt_logprobs=[[1]]), "prompt_logprobs"),
        (lambda: SampleResponse([], prompt_cache_hit_tokens=-1), "prompt_cache_hit_tokens"),
        (lambda: SampleResponse.from_dict(None), "response"),
        (lambda: SampleResponse.from_dict({}), "sequences"),
        (lambda: SampleResponse.from_dict({"sequences": [None]}), "sequence"),
        (lambda: SampleResponse.from_dict({"sequences": [], "prompt_alt_tokens": 5}), "prompt_alt_tokens"),
    ],
)
def test_wrong_fields_are_named(make, name):
    """Each wrong field is refused with its name."""
    with pytest.raises((TypeError, ValueError), match=name):
        make()


def test_no_logprobs_written_as_an_empty_list():
    """An empty list beside tokens means that there are none; without tokens it is what it is."""
    assert SampledSequence([1], []).logprobs is None
    assert SampledSequence([], []).logprobs == []


def test_dialects_of_servers():
    """Upper-case stop reasons, the other name of the top-k field, and odd extras are all read."""
    sequence = {
        "tokens": [1],
        "stop_reason": "LENGTH",
        "topk_sampled_logprobs": [[[5, -1]]],
        "extra": 1,
        "sequence_id": 7,
    }
    made = SampleResponse.from_dict({"type": "sample", "sequences": [sequence], "usage": "much", "request_id": 5})
    assert made == SampleResponse([SampledSequence([1], None, [[(5, -1.0)]], "length")])
    assert (made.usage, made.request_id) == (None, None)


def test_text():
    """A tokenizer turns a sequence into text."""

    class Letters:
        def decode(self, tokens):
            return "".join(map(chr, tokens))

    assert SampledSequence([97, 98]).text(Letters()) == "ab"


def test_text_without_special_tokens():
    """Options go to the tokenizer's decode."""

    class Marked:
        def decode(self, tokens, *, skip_special_tokens=False):
            return "".join("" if token == 0 and skip_special_tokens else chr(token or 36) for token in tokens)

    sequence = SampledSequence([97, 98, 0])
    assert (sequence.text(Marked()), sequence.text(Marked(), skip_special_tokens=True)) == ("ab$", "ab")


def test_reprs_are_short():
    """Reprs show the beginning of long columns."""
    sequence = SampledSequence(list(range(10_000)), [-1.0] * 10_000, sequence_id="s")
    text = repr(SampleResponse([sequence], prompt_logprobs=[None] * 10_000, request_id="r"))
    assert len(text) < 600
    assert "10000 in all" in text
    assert repr(SampledSequence([1])) == "SampledSequence(tokens=[1], stop_reason='stop')"


def test_unknown_things_are_not_equal():
    """A column equals columns only; a table equals tables and lists only."""
    assert Column([1]) != [1]
    assert TopkLogprobs([None]) != (None,)


def test_timing_adds_up():
    """The total is the sum of the parts."""
    assert Timing(1.0, 2.0, 3.0, 4.0).total == 10.0
