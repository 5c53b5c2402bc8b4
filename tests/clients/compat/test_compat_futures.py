"""Futures through tinkex: all that can be done with the SDK's, in every way a program waits; none is left pending."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import warnings

import pytest
from serving import until

pytestmark = pytest.mark.clients

tinker = pytest.importorskip("tinker")

from tinkex.compat import CompatFuture  # noqa: E402

PROMPT = tinker.ModelInput.from_ints([11, 12, 13])
PARAMS = tinker.SamplingParams(max_tokens=3, seed=7)


@pytest.fixture
def begin(client):
    """Begins a sample, and checks what it gives."""
    return lambda: client.sample(PROMPT, 1, PARAMS)


def tokens(response):
    """The tokens of the only sequence."""
    assert type(response) is tinker.types.SampleResponse
    return response.sequences[0].tokens


@pytest.fixture
def expected(begin):
    """The tokens that every sample here has."""
    return tokens(begin().result(10))


async def awaited(future):
    """Awaits the future itself."""
    return await future


async def as_coroutine(future):
    """Gives it to what takes coroutines only."""
    return await asyncio.create_task(future.coroutine())


async def in_a_gathering(future):
    """Gathers it."""
    (response,) = await asyncio.gather(future)
    return response


async def with_a_timeout(future):
    """Waits for a bounded time."""
    return await future.result_async(timeout=10)


async def wrapped(future):
    """Wraps it, as programs for older versions do."""
    return await asyncio.wrap_future(future)


@pytest.mark.parametrize("wait", [awaited, as_coroutine, in_a_gathering, with_a_timeout, wrapped])
def test_in_coroutines(begin, expected, wait):
    """A coroutine gets the result in every way that the SDK has, before and after it is there."""
    future = begin()
    for _ in range(2):
        assert tokens(asyncio.run(wait(future))) == expected


def result(future):
    """Asks for the result."""
    return future.result(10)


def standard(future):
    """Asks the standard future."""
    return future.future().result(10)


def waited(future):
    """Waits for several, of which it is one."""
    done, rest = concurrent.futures.wait([future], timeout=10)
    assert (done, rest) == ({future}, set())
    return future.result(0)


def completed(future):
    """Takes futures as they complete."""
    (found,) = concurrent.futures.as_completed([future], timeout=10)
    assert found is future
    return found.result(0)


def called_back(future):
    """Has itself called, in which other results can be waited for."""
    called, got = threading.Event(), []
    future.future().add_done_callback(lambda done: (got.extend([done, done.result(10)]), called.set()))
    assert called.wait(10)
    assert got[0] is future
    return got[1]


@pytest.mark.parametrize("wait", [result, standard, waited, completed, called_back])
def test_in_threads(begin, expected, wait):
    """A thread gets the result in every way that standard futures have, without a warning, before and after the end."""
    future = begin()
    for _ in range(2):
        assert tokens(wait(future)) == expected
    assert (future.done(), future.cancelled(), future.running(), future.exception(10)) == (True, False, False, None)


def test_the_sdk_calls_it_one_of_its_own(begin):
    """The SDK, and programs, tell an `APIFuture` by `isinstance`; it is a standard future, too."""
    future = begin()
    assert isinstance(future, tinker.APIFuture)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(10) is future.result(10)


def test_all_that_an_api_future_has(begin):
    """Whatever public method the SDK's abstract class has, the future has."""
    names = {name for name in vars(tinker.APIFuture) if not name.startswith("_")}
    assert {"result", "result_async", "future", "coroutine"} <= names
    assert [name for name in names if not callable(getattr(begin(), name, None))] == []
    with pytest.raises(AttributeError, match="no attribute 'tokens'"):
        _ = begin().tokens


def cancel(future):
    """Cancels it."""
    assert future.cancel()


def cancel_the_await(future):
    """Cancels a task that awaits it."""

    async def main():
        task = asyncio.create_task(future.coroutine())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


async def _late(future):
    with pytest.raises(TimeoutError):
        await future.result_async(timeout=0.01)


def run_out_of_time(future):
    """Awaits it for too short a time."""
    asyncio.run(_late(future))


@pytest.mark.parametrize("end", [cancel, cancel_the_await, run_out_of_time])
def test_cancelling_reaches_the_sample(begin, server, end):
    """A cancelled future, or await, ends the sample on the server; every other wait for it ends, too."""
    server.hold()
    future = begin()
    until(lambda: server.counts["retrieve_future"])
    waiting = threading.Thread(target=concurrent.futures.wait, args=([future],))
    waiting.start()
    end(future)
    assert (future.done(), future.cancelled()) == (True, True)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(0)
    with pytest.raises(concurrent.futures.CancelledError):
        future.exception(0)
    waiting.join(10)
    assert not waiting.is_alive()
    server.wait_for("cancel_future")


def test_a_wait_that_is_too_short(begin, server, expected):
    """`result(timeout)` only waits: after a TimeoutError the sample goes on."""
    server.hold()
    future = begin()
    with pytest.raises(TimeoutError):
        future.result(0.01)
    assert not future.done()
    server.release()
    assert tokens(future.result(10)) == expected


class ConversionError(Exception):
    """What a conversion raises."""


WAITS = [result, standard, waited, completed, called_back]
ASYNC_WAITS = [awaited, as_coroutine, in_a_gathering, with_a_timeout, wrapped]


@pytest.mark.parametrize("wait", [*WAITS, *ASYNC_WAITS])
def test_a_conversion_that_raises(wait):
    """Whatever a conversion raises is raised where the result is asked for, and no wait is without an end."""

    def convert(_):
        raise ConversionError

    source = concurrent.futures.Future()
    future = CompatFuture(source, convert)
    threading.Timer(0.01, source.set_result, [None]).start()
    if wait is called_back:
        called = threading.Event()
        future.add_done_callback(lambda _: called.set())
        assert called.wait(10)
        wait = result
    with pytest.raises(ConversionError):
        asyncio.run(wait(future)) if wait in ASYNC_WAITS else wait(future)
    assert isinstance(future.exception(0), ConversionError)


@pytest.mark.parametrize("wait", [*WAITS[:4], *ASYNC_WAITS])
def test_a_sample_that_fails(begin, server, wait):
    """A failed sample raises the SDK's error in every way to wait, and `exception()` returns it."""
    server.fail_samples("out of luck", category="user", times=2)
    with pytest.raises(tinker.RequestFailedError, match="out of luck"):
        asyncio.run(wait(begin())) if wait in ASYNC_WAITS else wait(begin())
    assert isinstance(begin().exception(10), tinker.RequestFailedError)


def test_waiting_for_the_first_of_several(begin, server):
    """The first exception ends a wait for it."""
    server.fail_samples("out of luck", category="user")
    failing = begin()
    until(failing.done)
    server.hold()
    waiting = [begin(), failing]
    done, rest = concurrent.futures.wait(waiting, 10, concurrent.futures.FIRST_EXCEPTION)
    assert (done, rest) == ({failing}, {waiting[0]})
    server.release()


def test_many_threads_wait_at_once(begin, server):
    """Threads that begin to wait at the same moment all see the end."""
    server.hold()
    futures = [begin() for _ in range(8)]
    start, ends = threading.Barrier(9), []

    def wait():
        start.wait(10)
        ends.append(len(concurrent.futures.wait(futures, 10).done))

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    start.wait(10)
    server.release()
    for thread in threads:
        thread.join(10)
    assert ends == [8] * 8


def test_in_a_forked_child(client, begin, server):
    """In a forked child a future of the parent's raises at once, and new samples work."""
    server.hold()
    future = begin()
    until(lambda: server.counts["retrieve_future"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, which is the point
        child = os.fork()
    if child == 0:
        try:
            ended = isinstance(future.exception(5), tinker.TinkerError)
            fresh = client.sample(PROMPT, 1, PARAMS)
            os._exit(0 if ended and fresh.result(20) and asyncio.run(awaited(fresh)) else 1)
        finally:
            os._exit(2)
    until(lambda: server.counts["asample"] == 2)
    server.release()
    assert os.waitpid(child, 0)[1] == 0
    assert future.result(10)
