from __future__ import annotations

import gc
import importlib
import sys
import threading
import time
import types
import warnings
import weakref
from concurrent.futures import CancelledError

import pytest
from serving import KEY, MODEL, make_service

import tinkex
from tinkex._service import lifecycle as lifecycle_module
from tinkex.testing import FakeServer

PARAMS = tinkex.SamplingParams(max_tokens=4)

pytestmark = pytest.mark.usefixtures("only_new_garbage")


@pytest.fixture
def server():
    """A server that answers when it is let."""
    with FakeServer(long_poll=30.0) as fake:
        yield fake


@pytest.fixture
def service(server):
    """A client of it."""
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as made:
        yield made
        server.release()


def threads():
    """The names of this package's threads but the server's."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("tinkex-") and "fake" not in thread.name
    ]


def gone(condition):
    """Wait until a condition holds."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.002)
    return condition()


def held(server, service, count=5):
    """So many samples that the server does not answer."""
    client = service.create_sampling_client(base_model="fake/model")
    server.hold()
    futures = [client.sample([1], PARAMS) for _ in range(count)]
    server.wait_for("retrieve_future", count)
    return futures


def test_nothing_runs_before_the_first_use(server):
    """Making and closing a client starts no thread and sends nothing."""
    before = threads()
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-x"):
        assert threads() == before
    assert not server.requests


@pytest.fixture
def interrupted_start(server, monkeypatch):
    """A service in whose first call a Ctrl-C came while its first thread was being started; not closed."""

    class Interrupted(threading.Thread):
        def start(self):
            super().start()
            raise KeyboardInterrupt

    service = tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=tinkex.ClientConfig(telemetry=False))
    with monkeypatch.context() as patch:
        patch.setattr("tinkex._runtime.reactor.threading", types.SimpleNamespace(Thread=Interrupted))
        with pytest.raises(KeyboardInterrupt):
            service.create_sampling_client(base_model="fake/model")
    return service


def test_a_start_that_was_interrupted_is_taken_up_again(interrupted_start):
    """After a Ctrl-C in the first call the next one works, with one reactor, and no thread is left at the end."""
    with interrupted_start as service:
        client = service.create_sampling_client(base_model="fake/model", timeout=5)
        assert client.sample([1], PARAMS).result(5)
        assert sum(name.endswith("-reactor") for name in threads()) == 1
    assert gone(lambda: not threads())


@pytest.mark.parametrize("end", ["close", "drop"])
def test_a_start_that_was_interrupted_leaves_no_thread(request, end):
    """A service whose first call was interrupted, and that is closed or dropped then, leaves no thread."""
    service = request.getfixturevalue("interrupted_start")
    if end == "close":
        service.close(0)
        assert gone(lambda: not threads())
        return
    lifecycle = weakref.ref(service._lifecycle)
    reference, service._reference = service._reference, None
    del reference
    assert gone(lambda: not threads())
    assert lifecycle().closed


def test_closing_waits_for_what_is_under_way(server, service):
    """Samples that end in time end well; the session is finished, once, and no thread is left."""
    futures = held(server, service)
    threading.Timer(0.1, server.release).start()
    service.close(timeout=10)
    assert all(len(future.result(0).sequences) == 1 for future in futures)
    assert server.counts["finish"] == 1
    assert gone(lambda: not threads())


def test_closing_fails_what_takes_too_long(server, service):
    """After the timeout every future fails with ClientClosedError."""
    futures = held(server, service)
    service.close(timeout=0.05)
    for future in futures:
        with pytest.raises(tinkex.ClientClosedError):
            future.result(0)


def test_closing_cancels_where_asked(server, service):
    """With `cancel_pending` nothing is waited for."""
    futures = held(server, service)
    service.close(cancel_pending=True)
    assert all(future.cancelled() for future in futures)


def test_closing_twice_and_at_once(server, service):
    """Every call returns when it is over; a later one may lose patience for all."""
    futures = held(server, service)
    closing = [threading.Thread(target=service.close) for _ in range(4)]
    for thread in closing:
        thread.start()
    assert gone(lambda: service._lifecycle.closed)
    service.close(cancel_pending=True)
    for thread in closing:
        thread.join(5)
        assert not thread.is_alive()
    assert all(future.cancelled() for future in futures)
    service.close()
    assert server.counts["finish"] == 1


def test_closing_inside_a_callback(server, service):
    """A callback may close the client whose future it is called for."""
    [future] = held(server, service, 1)
    closed = threading.Event()
    future.add_done_callback(lambda _: (service.close(), closed.set()))
    server.release()
    assert closed.wait(5)
    with pytest.raises(tinkex.ClientClosedError):
        service.create_sampling_client(base_model="fake/model")


def test_an_exception_leaves_a_with_block(server):
    """What is under way is cancelled, and the exception goes on; a clean end waits."""
    service = tinkex.ServiceClient(base_url=server.url, api_key="tml-x")
    futures = held(server, service)
    with pytest.raises(ZeroDivisionError), service:
        raise ZeroDivisionError
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(0)


def test_a_closed_client_refuses(service):
    """Every use raises ClientClosedError."""
    client = service.create_sampling_client(base_model="fake/model")
    service.close()
    for use in (
        lambda: client.sample([1], PARAMS),
        lambda: client.compute_logprobs([1]),
        service.get_server_capabilities,
        lambda: service.create_sampling_client(base_model="fake/model"),
    ):
        with pytest.raises(tinkex.ClientClosedError):
            use()
    assert not service.health().ok


def test_closing_a_service_that_cannot_reach_its_server():
    """It takes no longer than a moment, and raises nothing."""
    service = tinkex.ServiceClient(base_url="http://127.0.0.1:1", api_key="tml-x")
    future = service.create_sampling_client_async(base_model="fake/model")
    began = time.monotonic()
    service.close(timeout=0.1)
    assert time.monotonic() - began < 2
    assert isinstance(future.exception(0), tinkex.ClientClosedError)


def test_a_dropped_client_warns_once_and_ends(server):
    """Nobody has closed it: one ResourceWarning, and its threads end."""
    service = tinkex.ServiceClient(base_url=server.url, api_key="tml-x")
    client = service.create_sampling_client(base_model="fake/model")
    client.sample([1], PARAMS).result(5)
    lifecycle = weakref.ref(service._lifecycle)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del service, client
        assert gone(lambda: not threads() and lifecycle() is None)
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert server.counts["finish"] == 1


def test_a_future_keeps_what_it_needs(server):
    """Nobody but the sample holds the client, and it ends well all the same; then the client ends, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        server.latency = 0.1
        future = (
            tinkex.ServiceClient(base_url=server.url, api_key="tml-x")
            .create_sampling_client(base_model="fake/model")
            .sample([1], PARAMS)
        )
        gc.collect()
        assert len(future.result(5).sequences) == 1
        assert gone(lambda: not threads())


def test_an_ended_future_holds_nothing_of_the_client(server):
    """Results may be kept for long; threads, sockets and settings are not kept with them."""
    service = tinkex.ServiceClient(base_url=server.url, api_key="tml-x")
    future = service.create_sampling_client(base_model="fake/model").sample([1], PARAMS)
    future.result(5)
    service.close()
    runtime = weakref.ref(service._lifecycle._runtime)
    del service
    assert gone(lambda: runtime() is None)
    assert future.done()


def test_the_end_of_the_interpreter(server, service, monkeypatch):
    """Everything ends with ClientClosedError, and clients made from then on refuse."""
    monkeypatch.setattr(lifecycle_module, "_exiting", threading.Event())
    monkeypatch.setattr(lifecycle_module, "_lifecycles", weakref.WeakValueDictionary({1: service._lifecycle}))
    futures = held(server, service)
    began = time.monotonic()
    lifecycle_module._exit()
    assert time.monotonic() - began < 1
    for future in futures:
        with pytest.raises(tinkex.ClientClosedError):
            future.result(0)
    late = tinkex.ServiceClient(base_url=server.url, api_key="tml-x")
    with pytest.raises(tinkex.ClientClosedError):
        late.create_sampling_client(base_model="fake/model")
    service._lifecycle._runtime.stop()


def test_a_fork_waits_for_imports(tmp_path, monkeypatch):
    """A module that another thread is importing would never be there for the child."""
    (tmp_path / "loaded_slowly.py").write_text("from loading import begun, go\nbegun.set()\ngo.wait(10)\n")
    loading = types.SimpleNamespace(begun=threading.Event(), go=threading.Event())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "loading", loading)
    monkeypatch.setattr("tinkex._service.lifecycle._LOADED_LATE", ("loaded_slowly", "never_loaded"))
    threads = [
        threading.Thread(target=call, args=arguments)
        for call, arguments in ((importlib.import_module, ("loaded_slowly",)), (lifecycle_module._about_to_fork, ()))
    ]
    threads[0].start()
    assert loading.begun.wait(10)
    threads[1].start()
    threads[1].join(0.05)
    assert threads[1].is_alive()
    loading.go.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    del sys.modules["loaded_slowly"]


class Meeting(set):
    """The holds of a service, at whose looking-at something else happens once."""

    def __init__(self, holds, meets):
        super().__init__(holds)
        self._meets = meets

    def __len__(self):
        meets, self._meets = self._meets, None
        if meets is not None:
            meets()
        return super().__len__()


def test_a_service_that_ends_is_not_held_any_more():
    """A reference made while the last one goes either keeps the service, or is told that it ends: never neither."""
    for moment in ("before", "while", "after"):
        service = tinkex.ServiceClient(base_url="http://127.0.0.1:9", api_key=KEY)
        lifecycle, held = service._lifecycle, []
        first = service._reference._held
        if moment == "before":
            held.append(lifecycle.hold(object()))
        if moment == "while":
            lifecycle._holds = Meeting(lifecycle._holds, lambda: held.append(lifecycle.hold(object())))  # noqa: B023
        lifecycle.release(first)
        if moment == "after":
            held.append(lifecycle.hold(object()))
        assert held[0] is not lifecycle.closed


def test_threads_that_gevent_replaces_later(monkeypatch):
    """A client made before gevent replaced the threads says so at once, unused or used: it could never answer."""
    monkeypatch.setitem(sys.modules, "gevent.monkey", types.SimpleNamespace(is_module_patched=lambda name: False))
    with FakeServer(models=[MODEL]) as server, make_service(server) as used, make_service(server) as unused:
        client = used.create_sampling_client(base_model=MODEL)
        with monkeypatch.context() as patched:
            patched.setattr("tinkex._service.lifecycle.patched_by", lambda: "gevent")
            for begin in (lambda: client.sample([1], PARAMS), lambda: unused.create_sampling_client(base_model=MODEL)):
                with pytest.raises(tinkex.NoThreadsError, match="after the client was made"):
                    begin()
