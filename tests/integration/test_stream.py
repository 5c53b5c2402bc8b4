from __future__ import annotations

import itertools
import queue
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starting import Starter, reading
from stepping import at_once, until

from tinkex._sampling import stream
from tinkex.future import SampleFuture
from tinkex.types import ModelInput

BOTH = pytest.mark.parametrize("run", [stream.in_order, stream.as_completed])


@pytest.fixture
def start():
    """Samples whose ends the test decides."""
    return Starter()


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


def test_forked_while_waiting(start):
    """In a forked child, where nothing ends any more, the consumer is not left waiting."""
    results = stream.as_completed(range(3), start, 3, return_exceptions=True)
    threading.Thread(target=lambda: _when_begun(start, 3)).start()
    assert next(results) == (2, 20)
    for future in start.futures.values():
        future._fail_after_fork()
    assert {number for number, _ in results} == {0, 1}


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


@pytest.mark.parametrize("items", ["a text", b"a text", {"prompt": [1]}, ModelInput.from_ints([1]), 7, None])
def test_one_item_is_no_stream(items):
    """A single item is refused at once: a text, or a mapping, would be taken apart."""
    with pytest.raises(TypeError, match=r"^items must be a list of prompts, or another iterable of them, got "):
        stream.check_stream(items, None)


def test_what_is_a_stream():
    """Lists, iterators, and what can only be indexed are."""

    class Indexed:
        def __getitem__(self, index):
            return [[1], [2]][index]

    for items in ([], iter([]), range(3), Indexed()):
        stream.check_stream(items, None)
