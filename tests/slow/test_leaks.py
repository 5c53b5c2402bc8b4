from __future__ import annotations

import pytest
from leaking import COUNT, measure
from programs import succeed

from tinkex.testing import FakeServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def server():
    """A server that answers at once."""
    with FakeServer(record=False) as fake:
        yield fake


def test_clients_that_come_and_go(server):
    """Two thousand closed clients leave no thread, no descriptor, no memory."""
    body = """
    for _ in range(500):
        with tinkex.ServiceClient(base_url=URL, api_key="tml-x") as service:
            service.create_sampling_client(base_model="fake/model").sample([1], PARAMS).result(10)
    """
    measure(body, server, seconds=350)


def test_clients_that_are_only_made(server):
    """A client that was never used holds three descriptors, and lets go of them when it is collected."""
    body = """
    for _ in range(200):
        tinkex.ServiceClient(base_url=URL, api_key="tml-x")
    """
    measure(body, server)


def test_samples_that_end_in_every_way(server):
    """Twenty thousand samples, some cancelled, some too late, some failed: all that they held is free."""
    server.latency = lambda request, index: 0.0 if len(request.prompt.to_ints()) % 2 else 0.2
    body = """
    service, client = open_client()
    for _ in range(5):
        futures = [client.sample([1] * (1 + i % 2), PARAMS, timeout=0.05 if i % 10 == 1 else 60) for i in range(1000)]
        for future in futures[3::10]:
            future.cancel()
        for i, future in enumerate(futures):
            try:
                future.result(60)
            except (tinkex.SampleTimeoutError, __import__("concurrent.futures").futures.CancelledError):
                assert i % 10 in (1, 3)
        del future, futures
        stats = service.stats()
    gc.collect()
    deadline = time.monotonic() + 5
    while service.stats().in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.stats().in_flight == 0, service.stats()
    service.close()
    """
    measure(body, server, seconds=350)


def test_an_error_that_is_asked_for_again_and_again(server):
    """A failed future that is asked twenty thousand times, from deep calls with much in them, holds no more."""
    body = """
    service, client = open_client()
    future = client.sample([1], PARAMS, timeout=1e-9)

    def ask(depth):
        held = [depth] * 1000
        if depth:
            return ask(depth - 1)
        return future.result(60)

    for _ in range(20_000):
        try:
            ask(3)
        except tinkex.SampleTimeoutError:
            pass
    service.close()
    """
    measure(body, server, seconds=350)


def test_results_are_not_kept(server):
    """A response lives as long as somebody holds it, not as long as its deadline would have."""
    succeed(
        COUNT
        + """
service, client = open_client()
import weakref
future = client.sample([1], PARAMS, timeout=3600)
gone = weakref.ref(future), weakref.ref(future.result(10))
del future
deadline = time.monotonic() + 5
while any(reference() for reference in gone) and time.monotonic() < deadline:
    gc.collect()
    time.sleep(0.01)
assert [reference() for reference in gone] == [None, None]
service.close()
""",
        server.url,
    )


FORKS = """
    service, client = open_client()
    for _ in range(25):
        future = client.sample([1], PARAMS)
        join(in_child(lambda: client.sample([2], PARAMS).result(10)))
        future.result(10)
    service.close()
"""


def test_many_forks(server):
    """A hundred forks leave the parent as it was."""
    measure(FORKS, server, seconds=350)


def test_close_leaves_nothing_at_once(server):
    """With pending samples, from several threads, from a callback: after `close` threads and sockets are gone."""
    server.latency = 30.0
    succeed(
        COUNT
        + """
settle()
files = open_files()
for how in ({}, {"timeout": 0}, {"cancel_pending": True}):
    service, client = open_client()
    futures = [client.sample([1], PARAMS) for _ in range(50)] if how else []
    from_callback = []
    for future in futures[:1]:
        future.add_done_callback(lambda _, close=service.close: from_callback.append(close()))
    time.sleep(0.2)
    closing = [threading.Thread(target=service.close, kwargs=how) for _ in range(5)]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(20)
        assert not thread.is_alive()
    assert all(future.done() for future in futures)
    if how:
        ends = [future.exception() for future in futures if not future.cancelled()]
        assert all(isinstance(end, tinkex.ClientClosedError) for end in ends)
    service.close()
    ends = None
    del service, client, futures, from_callback, closing, thread
    assert settle() == (1, files), (settle(), files)
""",
        server.url,
    )
