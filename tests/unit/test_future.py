"""Futures: everything the standard ones do, with callbacks that hold nobody up."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import queue
import threading
import tracemalloc
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import at_once

from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex.errors import ForkedFutureError
from tinkex.future import ClientFuture, SampleFuture

WHO = contextvars.ContextVar("WHO", default="nobody")


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


def internally(call):
    """Run it on a thread that does the client's work."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "something holds the client's thread up"


ENDS = {
    "result": lambda future: future.set_result(1),
    "error": lambda future: future.set_exception(ValueError()),
    "cancel": lambda future: future.cancel(),
}


@pytest.mark.parametrize("end", ENDS)
def test_callbacks(future, end):
    """A callback runs once, on a thread of its own, however the future ends."""
    called = queue.SimpleQueue()
    future.add_done_callback(lambda done: called.put((done, threading.current_thread())))
    internally(partial(ENDS[end], future))
    done, thread = called.get(timeout=10)
    assert done is future
    assert thread.name.startswith("test-callback")
    assert called.empty()


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


def test_waiting_from_many_threads(future):
    """Everybody who waits for a result gets it, and a wait that is too short ends in TimeoutError."""
    results = queue.SimpleQueue()
    with pytest.raises(TimeoutError):
        future.result(0.001)
    threads = [threading.Thread(target=lambda: results.put(future.result(10))) for _ in range(5)]
    for thread in threads:
        thread.start()
    future.set_result(3)
    assert [results.get(timeout=10) for _ in threads] == [3] * 5
    with future._condition, future._condition:  # as a signal handler might
        assert future.done()


def test_callbacks_in_order(future):
    """The callbacks of one future are called one after another, as they were added."""
    called, gate, second_may = [], threading.Event(), threading.Event()

    def first(_):
        second_may.wait(10)
        called.append("first")

    future.add_done_callback(first)
    future.add_done_callback(lambda _: called.append("second"))
    future.add_done_callback(lambda _: gate.set())
    internally(lambda: future.set_result(1))
    assert called == []
    second_may.set()
    assert gate.wait(10)
    assert called == ["first", "second"]


def test_callback_of_the_past(future):
    """A callback added after the end is called here and now."""
    future.set_result(1)
    called = []
    future.add_done_callback(lambda done: called.append((done, threading.current_thread())))
    assert called == [(future, threading.current_thread())]


@pytest.mark.parametrize("late", [False, True])
def test_context(future, late):
    """A callback sees the context it was added in, and changes nobody else's."""
    seen = queue.SimpleQueue()

    def callback(_):
        seen.put(WHO.get())
        WHO.set("callback")

    def add(who):
        WHO.set(who)
        future.add_done_callback(callback)

    if late:
        future.set_result(1)
    contextvars.copy_context().run(add, "a")
    contextvars.copy_context().run(add, "b")
    if not late:
        future.set_result(1)
    assert [seen.get(timeout=10), seen.get(timeout=10)] == ["a", "b"]
    assert WHO.get() == "nobody"


def test_callbacks_that_raise(future, caplog):
    """What a callback raises is logged, and the next is called."""
    done = threading.Event()
    with caplog.at_level(logging.ERROR):
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(lambda _: exec("raise SystemExit"))
        future.add_done_callback(lambda _: done.set())
        internally(lambda: future.set_result(1))
        assert done.wait(10)
    assert "ZeroDivisionError" in caplog.text


def test_callbacks_that_wait_for_another_result(pool):
    """A callback may wait for a result that the client's threads have yet to bring."""
    outer, inner, results = SampleFuture(pool), SampleFuture(pool), queue.SimpleQueue()
    outer.add_done_callback(lambda _: results.put(inner.result(10)))
    internally(lambda: (outer.set_result(1), inner.set_result(2)))
    assert results.get(timeout=10) == 2


def test_blocking_callbacks_hold_up_no_cancel(future):
    """Whoever cancels does not wait for callbacks, and the others hear of it at once."""
    gate, interrupted = threading.Event(), []
    future.add_done_callback(lambda _: gate.wait(10))
    future.on_cancel(lambda: interrupted.append(True))
    internally(future.cancel)
    assert interrupted == [True]
    assert concurrent.futures.wait([future], 0).done == {future}
    gate.set()


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


def test_wait_and_as_completed(pool):
    """The standard functions see every way to end."""
    futures = [SampleFuture(pool) for _ in range(3)]
    threads = [threading.Timer(0, partial(end, future)) for end, future in zip(ENDS.values(), futures, strict=True)]
    for thread in threads:
        thread.start()
    assert set(concurrent.futures.as_completed(futures, 10)) == set(futures)
    assert concurrent.futures.wait(futures, 10).done == set(futures)


def test_asyncio(pool):
    """A coroutine can await one, and cancel it; a blocking callback before it does not matter."""
    futures = [SampleFuture(pool) for _ in range(3)]
    gate = threading.Event()
    futures[0].add_done_callback(lambda _: gate.wait(10))

    async def main():
        wrapped = [asyncio.wrap_future(future) for future in futures]
        loop = asyncio.get_running_loop()
        loop.call_soon(internally, lambda: futures[0].set_result("a"))
        loop.call_soon(internally, lambda: futures[1].set_exception(KeyError("b")))
        assert await wrapped[0] == "a"
        with pytest.raises(KeyError):
            await wrapped[1]
        wrapped[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped[2]

    asyncio.run(asyncio.wait_for(main(), 10))
    gate.set()
    assert futures[2].cancelled()


def test_cancel(future):
    """Cancelling is said once to those who wait, and may be said again; the result is then refused."""
    interrupted = []
    future.on_cancel(lambda: interrupted.append(True))
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


@given(st.sampled_from(["result", "error"]), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_races(end, cancellers):
    """Cancels and an end at once: exactly one wins, everybody agrees, and callbacks run once."""
    future, called, answers = SampleFuture(None), [], []
    future.add_done_callback(called.append)

    def finish():
        try:
            ENDS[end](future)
        except concurrent.futures.InvalidStateError:
            answers.append("refused")

    at_once(finish, *[lambda: answers.append(future.cancel())] * cancellers)
    assert len(called) == 1
    assert concurrent.futures.wait([future], 10).done == {future}
    if future.cancelled():
        assert sorted(map(str, answers)) == ["True"] * cancellers + ["refused"]
    else:
        assert answers == [False] * cancellers


def test_report(future):
    """A future reports its end without a thread; also one that has ended, and in a child."""
    ended = queue.SimpleQueue()
    for end in (lambda one: one.set_result(1), lambda one: one.cancel(), lambda one: one.fail_after_fork()):
        one = SampleFuture(future._callbacks)
        one.report_to(ended)
        end(one)
        assert ended.get(timeout=0) is one
    future.set_result(1)
    future.report_to(ended)
    assert ended.get(timeout=0) is future


def test_forked(pool):
    """In a child a future fails at once, whoever held its lock, and calls nobody back."""
    future, called = ClientFuture(pool), []
    future.add_done_callback(called.append)
    holder = threading.Thread(target=future._condition.acquire)
    holder.start()
    holder.join(10)
    future.fail_after_fork()
    assert isinstance(future.exception(0), ForkedFutureError)
    assert called == []
    future.fail_after_fork()
    assert not future.cancel()


def test_forked_after_the_end(future):
    """What had ended before the fork keeps its result."""
    future.set_result(1)
    future.fail_after_fork()
    assert future.result(0) == 1


def test_beginning(future):
    """A sample begins as one the server knows nothing of."""
    assert future.phase == "queued"
    unknown = (future.request_id, future.sample_sequence_ids, future.queue_state, future.last_heard, future.last_status)
    assert unknown == (None,) * 5
    assert future.attempts == 0
