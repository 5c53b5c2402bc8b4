"""Futures: everything the standard ones do, with callbacks that hold nobody up."""

from __future__ import annotations

import concurrent.futures
import logging
import queue
import threading
import tracemalloc
from types import SimpleNamespace

import pytest

from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex.future import ClientFuture, SampleFuture


@pytest.fixture
def pool():
    """Threads for callbacks."""
    made = ElasticPool(8, "test-callback")
    yield made
    made.stop()


@pytest.fixture
def future(pool):
    """A future that is pending."""
    return SampleFuture(pool)


def test_a_future_is_made_as_the_standard_one():
    """A new future has exactly the state that this Python's standard class gives one, but for what is smaller."""
    standard, ours = vars(concurrent.futures.Future()), vars(ClientFuture(None))
    assert {name: value for name, value in ours.items() if name != "_callbacks"} == {
        **standard, "_condition": ours["_condition"], "_done_callbacks": (),
    }  # fmt: skip
    assert isinstance(ours["_condition"], threading.Condition)


def test_a_future_is_small():
    """A thousand futures take 0.7 KB each at most: there may be as many as samples in flight."""
    tracemalloc.start()
    try:
        futures = [SampleFuture(None) for _ in range(1000)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 700 * len(futures)


def test_callback_of_the_past(future):
    """A callback added after the end is called here and now."""
    future.set_result(1)
    called = []
    future.add_done_callback(lambda done: called.append((done, threading.current_thread())))
    assert called == [(future, threading.current_thread())]


def test_without_threads(future, pool, monkeypatch, caplog):
    """Where no thread can be had for callbacks the future ends all the same."""

    def refuse(work):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "submit", refuse)
    future.add_done_callback(lambda _: None)
    with caplog.at_level(logging.ERROR, "tinkex"):
        future.set_result(1)
    assert future.result(0) == 1
    assert "not called" in caplog.text


def test_callbacks_without_a_pool():
    """A future that was never pending calls them where it ends."""
    future, called = SampleFuture(None), []
    future.add_done_callback(called.append)
    future.set_result(1)
    assert called == [future]


def test_what_the_result_has(future):
    """What is looked for in the future and stands in its result is said to; anything else is missing as usual."""
    with pytest.raises(AttributeError, match=r"no attribute 'text': .* future\.result\(\)\.text$"):
        _ = future.text
    with pytest.raises(AttributeError, match=r"'SampleFuture' object has no attribute 'txet'$"):
        _ = future.txet


def test_cancel(future):
    """Cancelling is said once to those who wait, and may be said again; the result is then refused."""
    interrupted = []
    future._on_cancel(SimpleNamespace(cancel=lambda: interrupted.append(True)))
    assert not future.running()
    assert future.cancel()
    assert future.cancel()
    assert future.cancelled()
    assert future.phase == "done"
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(0)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(1)


def test_cancel_after_the_end(future):
    """What has ended cannot be cancelled."""
    future.set_result(1)
    assert not future.cancel()
    assert future.result(0) == 1
    assert future.phase == "done"


def test_report(future):
    """A future reports its end without a thread; also one that has ended, and in a child."""
    ended = queue.SimpleQueue()
    for end in (lambda one: one.set_result(1), lambda one: one.cancel(), lambda one: one._fail_after_fork()):
        one = SampleFuture(future._callbacks)
        one._report_to(ended)
        end(one)
        assert ended.get(timeout=0) is one
    future.set_result(1)
    future._report_to(ended)
    assert ended.get(timeout=0) is future


def test_forked_after_the_end(future):
    """What had ended before the fork keeps its result."""
    future.set_result(1)
    future._fail_after_fork()
    assert future.result(0) == 1


def test_beginning(future):
    """A sample begins as one the server knows nothing of."""
    assert future.phase == "queued"
    unknown = (future.request_id, future.sample_sequence_ids, future.queue_state, future.last_heard, future.last_status)
    assert unknown == (None,) * 5
    assert future.attempts == 0


def test_an_error_asked_for_again_and_again_does_not_grow():
    """A future that failed raises its error with the frames of this time only."""
    future = ClientFuture(None)
    future.set_exception(ValueError("no"))
    lengths = []
    for _ in range(5):
        with pytest.raises(ValueError, match="no") as caught:
            future.result()
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1
    assert future.exception() is caught.value


@pytest.mark.parametrize("use", [lambda future: future[0], list, lambda future: dict(zip(future, "ab", strict=False))])
def test_a_future_is_not_its_result(use):
    """Whoever takes a future for the response is told to take its result, by an index and in a loop."""
    with pytest.raises(TypeError, match=r"take its result, future.result\(\)$"):
        use(SampleFuture(None))
    with pytest.raises(AttributeError, match=r"it is the result's, as in future.result\(\).text$"):
        _ = SampleFuture(None).text
