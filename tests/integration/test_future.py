from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import queue
import threading
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given
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
    future._on_cancel(SimpleNamespace(cancel=lambda: interrupted.append(True)))
    internally(future.cancel)
    assert interrupted == [True]
    assert concurrent.futures.wait([future], 0).done == {future}
    gate.set()


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


@given(st.sampled_from(["result", "error"]), st.integers(1, 3))
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


def test_forked(pool):
    """In a child a future fails at once, whoever held its lock, and calls nobody back."""
    future, called = ClientFuture(pool), []
    future.add_done_callback(called.append)
    holder = threading.Thread(target=future._condition.acquire)
    holder.start()
    holder.join(10)
    future._fail_after_fork()
    assert isinstance(future.exception(0), ForkedFutureError)
    assert called == []
    future._fail_after_fork()
    assert not future.cancel()
