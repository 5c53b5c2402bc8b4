"""Samples asked for inside callbacks and observers, and clients that share a service: nobody waits for ever."""

from __future__ import annotations

import contextvars
import queue
import threading

import pytest
from serving import MODEL, PARAMS, PROMPT, all_done, sampling, until

import tinkex
from tinkex.testing import FakeServer

WHO = contextvars.ContextVar("WHO", default="nobody")


@pytest.fixture
def server():
    """A server that holds its polls."""
    with FakeServer() as fake:
        yield fake


def test_nested_results_in_callbacks(server):
    """A callback may sample and wait, and the callback of that sample, too, with one worker and one callback thread."""
    done = queue.SimpleQueue()
    with sampling(server, workers=1, callback_workers=1) as client:

        def deeper(level):
            def callback(future):
                done.put(level)
                if level:
                    inner = client.sample(PROMPT, PARAMS)
                    inner.add_done_callback(deeper(level - 1))
                    assert inner.result(10).sequences

            return callback

        client.sample(PROMPT, PARAMS).add_done_callback(deeper(4))
        assert [done.get(timeout=20) for _ in range(5)] == [4, 3, 2, 1, 0]


def test_many_nested_results_at_once(server):
    """More callbacks that wait than there are threads for them: they take turns, and all get their results."""
    done = queue.SimpleQueue()
    with sampling(server, workers=1, callback_workers=2) as client:

        def callback(future):
            done.put(client.sample(future.result().sequences[0].tokens, PARAMS).result(20))

        for number in range(30):
            client.sample([number + 1], PARAMS).add_done_callback(callback)
        assert len([done.get(timeout=20) for _ in range(30)]) == 30


def test_nested_results_in_an_observer(server):
    """An observer may sample and wait; what it waits for is not held up by the words it has not heard yet."""
    heard = queue.SimpleQueue()

    class Asking:
        def on_queue_state_change(self, event):
            heard.put(client.sample(PROMPT, PARAMS).result(20))

    with sampling(server, workers=1, callback_workers=1) as client:
        server.fail_next("asample", 429, headers={"Retry-After": "0.01"})
        outer = client.sample(PROMPT, PARAMS, queue_state_observer=Asking())
        assert outer.result(20)
        assert heard.get(timeout=20).sequences


def test_a_stream_inside_a_callback(server):
    """`sample_many` works there as well."""
    done = queue.SimpleQueue()
    with sampling(server, workers=1, callback_workers=1) as client:
        future = client.sample(PROMPT, PARAMS)
        future.add_done_callback(lambda _: done.put(list(client.sample_many([[1], [2], [3]], PARAMS))))
        assert len(done.get(timeout=20)) == 3


def test_callbacks_and_observers_that_never_return(server):
    """They hold up no other sample, no deadline and no close."""
    never = threading.Event()

    class Stuck:
        def on_queue_state_change(self, event):
            never.wait(60)

    with sampling(server, workers=1, callback_workers=2, observers=[Stuck()]) as client:
        server.fail_next("asample", 429, headers={"Retry-After": "0.01"})
        client.sample(PROMPT, PARAMS).result(10)
        for _ in range(5):
            client.sample(PROMPT, PARAMS).add_done_callback(lambda _: never.wait(60))
        all_done([client.sample([n + 1], PARAMS) for n in range(20)])
        server.hold()
        with pytest.raises(tinkex.SampleTimeoutError):
            client.sample(PROMPT, PARAMS, timeout=0.1).result(10)
    never.set()


def test_callbacks_see_the_context_they_were_added_in(server):
    """Context variables of the thread that adds a callback are visible in it, whoever asked for the sample."""
    seen = queue.SimpleQueue()
    with sampling(server) as client:
        for who in ("ann", "bob"):
            context = contextvars.copy_context()
            context.run(WHO.set, who)
            future = client.sample(PROMPT, PARAMS)
            context.run(future.add_done_callback, lambda _: seen.put(WHO.get()))
            assert seen.get(timeout=10) == who


def test_a_full_queue_by_call(server):
    """`on_full` of a call goes before the setting; the error says when to come back."""
    with sampling(server, max_in_flight=1, max_queued=1) as client:
        server.hold()
        futures = [client.sample(PROMPT, PARAMS)]
        until(lambda: futures[0].phase == "waiting")
        futures.append(client.sample(PROMPT, PARAMS))
        with pytest.raises(tinkex.QueueFullError, match="max_queued") as caught:
            client.sample(PROMPT, PARAMS, on_full="raise")
        assert caught.value.retry_after >= 1.0
        assert caught.value.retryable
        blocked = threading.Thread(target=lambda: futures.append(client.sample(PROMPT, PARAMS)), daemon=True)
        blocked.start()
        server.release()
        blocked.join(10)
        all_done(futures)
        assert len(futures) == 3


def test_a_heavy_client_starves_nobody(server):
    """Behind a hundred samples of one client the only one of another is the next to go, or the one after it."""
    with sampling(server, max_in_flight=1) as heavy:
        light = heavy.service.create_sampling_client(base_model=MODEL)
        server.hold()
        futures = [heavy.sample([1, 2], PARAMS) for _ in range(100)]
        until(lambda: futures[0].phase == "waiting")
        only = light.sample([7], PARAMS)
        server.release()
        assert only.result(10)
        ids = [request.json["sampling_session_id"] for request in server.requests_to("asample")]
        assert ids.index(light.sampling_session_id) <= 2
        for future in futures:
            future.cancel()
