"""Many samples: lazily, boundedly, in order or as they come, and nothing left over."""

from __future__ import annotations

import itertools
import weakref

import pytest
from starting import Starter, reading

from tinkex._sampling import stream
from tinkex.errors import ClientClosedError, QueueFullError
from tinkex.future import SampleFuture
from tinkex.types import ModelInput, SampleRequest, SamplingParams

BOTH = pytest.mark.parametrize("run", [stream.in_order, stream.as_completed])


@pytest.fixture
def start():
    """Samples whose ends the test decides."""
    return Starter()


def test_in_order():
    """Results come in the order of the items."""
    assert list(stream.in_order(range(7), Starter(instant=True), 3, return_exceptions=False)) == [
        0,
        10,
        20,
        30,
        40,
        50,
        60,
    ]


@BOTH
@pytest.mark.parametrize("error", [TypeError("item"), ValueError("item"), QueueFullError("full", 1.0)])
def test_a_wrong_item_is_raised_in_its_turn(run, error):
    """What came before a wrong item is yielded first; nothing is begun after it."""
    start = Starter(instant=True)
    results = run([1, 2, error, 3], start, 10, return_exceptions=False)
    found = [next(results), next(results)]
    assert [result if run is stream.in_order else result[1] for result in found] == [10, 20]
    with pytest.raises(type(error)):
        next(results)
    assert start.begun == [1, 2]


@BOTH
def test_errors_in_place(run):
    """With `return_exceptions` errors of items and of samples stand in the place of results."""
    wrong, failed = ValueError("item"), RuntimeError("sample")

    def start(item):
        if item == 1:
            raise wrong
        future = SampleFuture(None)
        future.set_exception(failed) if item == 2 else future.set_result(item)
        return future

    results = list(run(range(4), start, 2, return_exceptions=True))
    assert results == [0, wrong, failed, 3] if run is stream.in_order else list(enumerate([0, wrong, failed, 3]))


@BOTH
def test_a_closed_client_ends_it(run):
    """That the client is closed is nobody item's error."""
    with pytest.raises(ClientClosedError):
        next(run([ClientClosedError("closed")], Starter(), 5, return_exceptions=True))


@BOTH
def test_errors_of_the_source(run, start):
    """What reading the items raises is raised, and what is in flight is cancelled."""

    def source():
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(run(source(), start, 5, return_exceptions=True))
    assert start.futures[1].cancelled()


def test_items():
    """An item is an argument, a mapping, or a request; it overrules the defaults."""
    params, other = SamplingParams(max_tokens=1), SamplingParams(max_tokens=2)
    defaults = {"sampling_params": params, "num_samples": 3}

    def begun(item):
        return stream.begin(lambda *given, **named: (given, named), item, defaults)

    assert begun([1, 2]) == (([1, 2],), defaults)
    assert begun({"prompt": [1], "num_samples": 1}) == ((), {**defaults, "prompt": [1], "num_samples": 1})
    request = SampleRequest(ModelInput.from_ints([1]), other, num_samples=2)
    assert SampleRequest(**begun(request)[1]) == request


@BOTH
def test_wrong_items_have_a_number(run):
    """What is wrong with an item is said with its number."""

    def start(item):
        raise TypeError(f"prompt must be {item}")

    results = run(["a"], start, 5, return_exceptions=False)
    with pytest.raises(TypeError, match=r"items\[0\]: prompt must be a"):
        next(results)


@BOTH
def test_constant_memory(run):
    """Of a long stream no more futures live than may be in flight."""
    living = weakref.WeakSet()

    def start(item):
        future = SampleFuture(None)
        future.set_result(item)
        living.add(future)
        return future

    most = max(len(living) for _ in run(range(3000), start, 10, return_exceptions=False))
    assert most <= 10


@BOTH
def test_a_slow_source_holds_no_result_up(run):
    """A result that is there is yielded before more than one further item is read."""
    read = []
    results = run(reading(itertools.count(), read), Starter(instant=True), 100, return_exceptions=False)
    for number in range(1, 6):
        next(results)
        assert len(read) <= number + 1
    results.close()
