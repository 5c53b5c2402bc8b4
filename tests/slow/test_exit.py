from __future__ import annotations

import signal
import time

import pytest
from programs import run, succeed

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow
_SOON = 2.0  # a second, and what a busy machine adds


@pytest.fixture
def server():
    """A server that answers no sample."""
    with FakeServer(latency=600.0, long_poll=60.0) as fake:
        yield fake


FLIGHT = """
    service, client = open_client()
    futures = [client.sample([1, i], PARAMS) for i in range(1000)]
    while service.stats().in_flight < 900:
        time.sleep(0.01)
"""


def test_main_returns(server):
    """A thousand samples in flight hold the end of the interpreter up for less than a second, and say nothing."""
    ended = succeed(FLIGHT + "\n    print('main ends')", server.url)
    assert ended.seconds < _SOON
    server.wait_for("finish")  # it was sent before the end, and a busy server reads it after that


def test_main_returns_where_the_server_has_gone_silent(server):
    """Finishing the session is tried for half a second only."""
    server.fault("finish", "hang", times=None)
    server.fault("telemetry", "hang", times=None)
    server.fault("asample", "hang", times=None)
    program = """
    others = [open_client() for _ in range(5)]
    service, client = open_client()
    futures = [client.sample([1, i], PARAMS) for i in range(1000)]
    time.sleep(0.5)
    print('main ends')
    """
    assert succeed(program, server.url).seconds < _SOON


def test_sys_exit(server):
    """`sys.exit` ends as soon, with its status."""
    ended = run(FLIGHT + "\n    print('main ends')\n    sys.exit(3)", server.url)
    assert (ended.code, ended.err) == (3, "")
    assert ended.seconds < _SOON


def test_sys_exit_in_a_with_block(server):
    """Leaving the block by SystemExit cancels what is under way."""
    program = """
    with tinkex.ServiceClient(base_url=URL, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="fake/model")
        futures = [client.sample([1, i], PARAMS) for i in range(1000)]
        time.sleep(0.5)
        print('main ends')
        sys.exit(4)
    """
    ended = run(program, server.url)
    assert (ended.code, ended.err) == (4, "")
    assert ended.seconds < _SOON


def test_control_c_in_result(server):
    """Ctrl-C gets through a wait, and the end follows at once; only Python's own traceback is printed."""
    ended = run(FLIGHT + "\n    print('ready')\n    futures[0].result()", server.url, interrupt=signal.SIGINT)
    assert ended.code in (130, -signal.SIGINT)
    assert ended.err.count("Traceback") == 1
    assert ended.err.rstrip().endswith("KeyboardInterrupt")
    assert ended.seconds < _SOON


def test_sigterm_whose_handler_raises_in_a_with_block(server):
    """The exception leaves the block, which cancels; nothing is printed."""
    program = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tinkex.ServiceClient(base_url=URL, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="fake/model")
        futures = [client.sample([1, i], PARAMS) for i in range(1000)]
        print('ready')
        futures[0].result()
    """
    ended = run(program, server.url, interrupt=signal.SIGTERM)
    assert (ended.code, ended.err) == (0, "")
    assert ended.seconds < _SOON


@pytest.mark.parametrize("how", ["close()", "close(cancel_pending=True)"])
def test_control_c_while_closing(server, how):
    """Ctrl-C in `close()` ends the wait, the samples and the threads."""
    server.fault("finish", "hang", times=None)
    program = f"""
    {FLIGHT}
    threading.Timer(0.05, print, ["ready"]).start()
    try:
        service.{how}
    except KeyboardInterrupt:
        pass
    assert all(future.done() for future in futures)
    deadline = time.monotonic() + 1
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    print(threading.enumerate())
    assert threading.active_count() == 1
    """
    ended = succeed(program.replace("\n    \n    service", "\n    service"), server.url, interrupt=signal.SIGINT)
    assert ended.seconds < 2 * _SOON


def test_submitting_while_the_interpreter_ends(server):
    """Whatever is asked of a client after the end has begun raises ClientClosedError, also of one made then."""
    succeed(
        """
        import atexit, pickle

        def late():
            for use in (
                lambda: client.sample([1], PARAMS),
                lambda: service.create_sampling_client(base_model="fake/model"),
                lambda: open_client(),
                lambda: pickle.loads(pickled),
                service.get_server_capabilities,
            ):
                try:
                    use()
                except tinkex.ClientClosedError:
                    continue
                print("no error", file=sys.stderr)
            try:
                future.result(0)
            except tinkex.ClientClosedError:
                return
            print("not ended", file=sys.stderr)

        service, client = open_client()
        pickled = pickle.dumps(client)
        future = client.sample([1], PARAMS)
        import tinkex._service.lifecycle as core
        atexit.unregister(core._exit)
        atexit.register(late)
        atexit.register(core._exit)
        """,
        server.url,
    )


def test_blocking_callbacks_do_not_hold_the_end_up(server):
    """Callbacks of futures that the end fails run on daemon threads."""
    program = f"""
    {FLIGHT}
    for future in futures[:100]:
        future.add_done_callback(lambda future: time.sleep(30))
    print('main ends')
    """
    assert succeed(program.replace("\n    \n    service", "\n    service"), server.url).seconds < _SOON


def test_a_daemon_thread_in_result_and_an_unclosed_client(server):
    """Threads that wait or submit when the end comes get ClientClosedError, and hold nothing up."""
    program = f"""
    {FLIGHT}
    def submit():
        while True:
            try:
                client.sample([2], PARAMS).result()
            except tinkex.ClientClosedError:
                return

    for _ in range(20):
        threading.Thread(target=submit, daemon=True).start()
    time.sleep(0.1)
    print('main ends')
    """
    assert succeed(program.replace("\n    \n    service", "\n    service"), server.url).seconds < _SOON


def test_a_stuck_connect_does_not_hold_the_end_up():
    """A thread inside `connect` to a host that does not answer is left there."""
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=0) as hole:
        plugs = [socket.socket() for _ in range(3)]
        for plug in plugs:
            plug.setblocking(False)
            plug.connect_ex(hole.getsockname())
        ended = succeed(
            """
            service = tinkex.ServiceClient(base_url=URL, api_key="tml-x")
            future = service.create_sampling_client_async(base_model="fake/model")
            time.sleep(0.3)
            assert not future.done()
            print("main ends")
            """,
            f"http://127.0.0.1:{hole.getsockname()[1]}",
        )
        for plug in plugs:
            plug.close()
    assert ended.seconds < _SOON


def test_a_dropped_client_is_collected(server):
    """Nobody holds it: its threads end, its session is finished, and one ResourceWarning is given."""
    server.latency = 0.0
    ended = succeed(
        """
        import gc, warnings, weakref
        warnings.simplefilter("always")
        with warnings.catch_warnings(record=True) as caught:
            service, client = open_client()
            client.sample([1], PARAMS).result(10)
            gone = weakref.ref(service), weakref.ref(client), weakref.ref(service._lifecycle)
            runtime = weakref.ref(service._lifecycle.runtime)
            del service, client
            deadline = time.monotonic() + 5
            while threading.active_count() > 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            gc.collect()
        print([str(warning.message) for warning in caught])
        assert len(caught) == 1 and caught[0].category is ResourceWarning
        assert [reference() for reference in gone] == [None, None, None], gone
        assert threading.active_count() == 1, threading.enumerate()
        assert runtime() is None
        """,
        server.url,
    )
    assert "never closed" in ended.out
    assert server.counts["finish"] == 1


def test_an_expression_that_keeps_nothing(server):
    """A pending future keeps alive what it needs."""
    server.latency = 0.2
    succeed(
        """
        import gc, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        future = (
            tinkex.ServiceClient(base_url=URL, api_key="tml-x")
            .create_sampling_client(base_model="fake/model")
            .sample([1], PARAMS)
        )
        gc.collect()
        assert len(future.result(10).sequences) == 1
        """,
        server.url,
    )


def test_exit_is_not_slow_without_samples():
    """Nothing that runs in the background is waited for."""
    with FakeServer() as server:
        began = time.monotonic()
        ended = succeed(
            "service, client = open_client()\nclient.sample([1], PARAMS).result(10)\nprint('main ends')", server.url
        )
        assert ended.seconds < 1.0
        assert time.monotonic() - began < 10
