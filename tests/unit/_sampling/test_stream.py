"""Many samples: lazily, boundedly, in order or as they come, and nothing left over."""

from __future__ import annotations

import itertools
import queue
import random
import threading
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import at_once, until

from tinkex._sampling import stream
from tinkex.errors import ClientClosedError, QueueFullError
from tinkex.future import SampleFuture
from tinkex.types import ModelInput, SampleRequest, SamplingParams

BOTH = pytest.mark.parametrize("run", [stream.in_order, stream.as_completed])


class Starter:
    """Begins samples whose ends the test decides."""

    def __init__(self, *, instant=False):
        self.begun = []
        self.futures = {}
        self._instant = instant
        self.most_open = 0

    def __call__(self, item):
        if isinstance(item, Exception):
            raise item
        future = SampleFuture(None)
        self.begun.append(item)
        self.futures[item] = future
        self.most_open = max(self.most_open, sum(not future.done() for future in self.futures.values()))
        if self._instant:
            future.set_result(item * 10)
        return future

    def finish(self, item):
        """End one with ten times its number."""
        self.futures[item].set_result(item * 10)


@pytest.fixture
def start():
    """Samples whose ends the test decides."""
    return Starter()


def reading(source, read):
    """The source, with what has been read of it noted."""
    for item in source:
        read.append(item)
        yield item


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


def test_as_completed(start):
    """Pairs come as the samples end."""
    results = stream.as_completed(range(4), start, 3, return_exceptions=False)
    threading.Thread(target=lambda: _when_begun(start, 3)).start()
    assert next(results) == (2, 20)
    start.finish(0)
    start.finish(1)
    start.futures[3] = SampleFuture(None)
    assert [next(results), next(results)] == [(0, 0), (1, 10)]
    results.close()


def _when_begun(start, count):
    until(lambda: len(start.begun) >= count)
    start.finish(2)


@given(st.integers(0, 30), st.integers(1, 7), st.booleans(), st.integers())
@settings(deadline=None, max_examples=40)
def test_everything_once(count, most, ordered, seed):
    """Whatever the order of the ends: every result once, never more at once than allowed."""
    start, opened, chance = Starter(), queue.SimpleQueue(), random.Random(seed)

    def begin(item):
        future = start(item)
        opened.put(item)
        return future

    def finish():
        open_items, left = [], count
        while left:
            open_items.append(opened.get(timeout=10))
            while not opened.empty():
                open_items.append(opened.get())
            chance.shuffle(open_items)
            while open_items:
                start.finish(open_items.pop())
                left -= 1

    results = []
    run = stream.in_order if ordered else stream.as_completed
    at_once(finish, lambda: results.extend(run(range(count), begin, most, return_exceptions=False)))
    expected = [item * 10 for item in range(count)]
    assert results == expected if ordered else sorted(results) == list(enumerate(expected))
    assert start.most_open <= most


@BOTH
def test_lazy_and_bounded(run, start):
    """Nothing is read before the first result is asked for, and never more than may be in flight."""
    read = []
    results = run(reading(itertools.count(), read), start, 5, return_exceptions=False)
    assert read == []
    threading.Thread(target=lambda: _end_first(start)).start()
    next(results)
    assert read == [0, 1, 2, 3, 4]
    results.close()


def _end_first(start):
    until(lambda: len(start.begun) >= 5)
    start.finish(0)


@BOTH
def test_cancel_on_stop(run, start):
    """A consumer that stops leaves nothing in flight."""
    results = run(itertools.count(), start, 5, return_exceptions=False)
    threading.Thread(target=lambda: _end_first(start)).start()
    next(results)
    results.close()
    assert [future.cancelled() for future in start.futures.values()] == [False, True, True, True, True]


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
def test_a_failed_sample_cancels_the_rest(run, start):
    """Where errors are raised, the first one ends it all."""

    def fail():
        until(lambda: len(start.begun) >= 5)
        start.futures[0].set_exception(RuntimeError("sample"))

    results = run(itertools.count(), start, 5, return_exceptions=False)
    threading.Thread(target=fail).start()
    with pytest.raises(RuntimeError, match="sample"):
        next(results)
    assert all(future.cancelled() for item, future in start.futures.items() if item)


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


def test_forked_while_waiting(start):
    """In a forked child, where nothing ends any more, the consumer is not left waiting."""
    results = stream.as_completed(range(3), start, 3, return_exceptions=True)
    threading.Thread(target=lambda: _when_begun(start, 3)).start()
    assert next(results) == (2, 20)
    for future in start.futures.values():
        future.fail_after_fork()
    assert {number for number, _ in results} == {0, 1}


def test_keywords():
    """An item is a prompt, a mapping, or a request; it overrules the defaults."""
    params, other = SamplingParams(max_tokens=1), SamplingParams(max_tokens=2)
    defaults = {"sampling_params": params, "num_samples": 3}
    assert stream.keywords([1, 2], defaults) == {**defaults, "prompt": [1, 2]}
    assert stream.keywords({"prompt": [1], "num_samples": 1}, defaults) == {**defaults, "prompt": [1], "num_samples": 1}
    request = SampleRequest(ModelInput.from_ints([1]), other, num_samples=2)
    assert SampleRequest(**stream.keywords(request, defaults)) == request


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


def test_the_window_stays_full_while_results_are_taken(start):
    """For each result that is taken another item is begun, also where many results are waiting."""
    results = stream.in_order(itertools.count(), start, 10, return_exceptions=False)
    threading.Thread(target=lambda: _end_all(start, 10)).start()
    for _ in range(10):
        next(results)
    assert sum(not future.done() for future in start.futures.values()) >= 9
    results.close()


def _end_all(start, count):
    until(lambda: len(start.begun) >= count)
    for item in range(count - 1, -1, -1):
        start.finish(item)
