from __future__ import annotations

import json
from collections import Counter

import pytest
from programs import succeed

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow
_BLOCK = 1_000_000_000


@pytest.fixture
def server():
    """A strict server whose samples take a while."""
    with FakeServer(strict=True, latency=0.5, long_poll=5.0) as fake:
        yield fake
        assert fake.violations == []


def numbers(server):
    """The sequence numbers of every submission."""
    return [json.loads(request.body)["seq_id"] for request in server.requests_to("asample")]


IN_FLIGHT = """
    service, client = open_client()
    client.sample([9], PARAMS).result(10)
    futures = [client.sample([1, i], PARAMS) for i in range(100)]
    time.sleep(0.25)

    def work():
        assert all(ends_by_fork(future) for future in futures)
        assert all(future.done() and not future.cancel() for future in futures)
        for future in [client.sample([2, i], PARAMS) for i in range(10)]:
            assert len(future.result(10).sequences[0].tokens) == 4

    pids = [in_child(work) for _ in range(3)]
    for future in futures:
        assert len(future.result(10).sequences[0].tokens) == 4
    join(*pids)
    client.sample([9], PARAMS).result(10)
    service.close()
"""


def test_a_child_samples_at_once_and_the_parent_goes_on(server):
    """Inherited futures fail at once, the child has numbers of its own, the parent's long polls are not touched."""
    succeed(IN_FLIGHT, server.url)
    blocks = Counter(number // _BLOCK for number in numbers(server))
    assert sorted(blocks.values()) == [10, 10, 10, 102]
    assert blocks[0] == 102
    assert len(set(numbers(server))) == 132
    assert server.counts["retrieve_future"] == 132
    assert server.counts["finish"] == 1


SCORED = """
    service, client = open_client()
    client.sample([9], PARAMS).result(10)
    future = client.score([1], [[2], [3]])

    def work():
        assert ends_by_fork(future)
        assert client.score([1], [[3], [2]]).result(10).best == 1

    join(in_child(work))
    assert future.result(10).best == 0
    service.close()
"""


def test_scores(server):
    """A score that was under way fails in the child at once, and the child scores."""
    succeed(SCORED, server.url)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_child_says_nothing_on_the_parents_tls_connections(version):
    """Closing the child's copies sends no byte to the peer."""
    with FakeServer(latency=0.5, tls=True, tls_version=getattr(__import__("ssl").TLSVersion, version)) as server:
        succeed(IN_FLIGHT, server.url, environ={"REQUESTS_CA_BUNDLE": server.ca_file})
        assert server.counts["retrieve_future"] == 132


BUSY_PARENT = """
    import warnings

    def work():
        warnings.simplefilter("ignore", ResourceWarning)  # of sockets that a thread of the parent was making
        client.sample([2], PARAMS).result(10)

    service, client = open_client(max_in_flight=16, max_connections=8)
    over = threading.Event()

    def busy():
        while not over.is_set():
            futures = [client.sample([1], PARAMS, timeout=5) for _ in range(10)]
            futures[0].cancel()
            client.stats()
            tinkex.ServiceClient(base_url=URL, api_key="tml-other").close()
            for future in futures[1:]:
                future.result(10)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        time.sleep(0.005)
        join(in_child(work))
    over.set()
    for thread in threads:
        thread.join()
    service.close()
"""


def test_forks_while_other_threads_hold_every_lock(server):
    """A child works whatever the parent's other threads were in the middle of."""
    server.latency = 0.0
    succeed(BUSY_PARENT, server.url, seconds=100)


def test_a_fork_in_another_thread(server):
    """The thread that forks is the only one of the child; it may be any."""
    succeed(
        """
        service, client = open_client()
        waiting = threading.Thread(target=lambda: client.sample([1], PARAMS).result(10))
        waiting.start()
        time.sleep(0.1)
        futures = [client.sample([1], PARAMS)]
        codes = []

        def fork():
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                assert ends_by_fork(futures[0])
                client.sample([2], PARAMS).result(10)
                os._exit(0)
            codes.append(os.waitpid(pid, 0)[1])

        forking = threading.Thread(target=fork)
        forking.start()
        forking.join()
        waiting.join()
        assert codes == [0], codes
        futures[0].result(10)
        service.close()
        """,
        server.url,
    )


def test_a_fork_in_a_signal_handler_inside_result_and_wait(server):
    """The child's own `result()`, `wait()` or `as_completed()`, interrupted by the fork, ends with the error too."""
    succeed(
        """
        import concurrent.futures as cf
        service, client = open_client()
        parent, children = os.getpid(), []

        def fork(*_):
            pid = os.fork()
            if pid:
                children.append(pid)
            else:
                signal.alarm(20)

        signal.signal(signal.SIGUSR1, fork)

        def waits(wait):
            future = client.sample([1], PARAMS)
            threading.Timer(0.2, lambda: os.getpid() == parent and os.kill(parent, signal.SIGUSR1)).start()
            try:
                wait(future)
                assert os.getpid() == parent
            except tinkex.ForkedFutureError:
                assert os.getpid() != parent
                client.sample([2], PARAMS).result(10)
                sys.exit(0)

        waits(lambda future: future.result(10))
        waits(lambda future: [done.result() for done in cf.wait([future], 10).done])
        waits(lambda future: [done.result() for done in cf.as_completed([future], 10)])
        assert len(children) == 3
        join(*children)
        service.close()
        """,
        server.url,
    )


def test_nested_forks(server):
    """A grandchild works as a child does, also when the child did not use the client before."""
    succeed(
        """
        service, client = open_client()
        client.sample([1], PARAMS).result(10)

        def grandchild():
            client.sample([3], PARAMS).result(10)

        def child():
            join(in_child(grandchild))
            future = client.sample([2], PARAMS)
            join(in_child(lambda: grandchild() if ends_by_fork(future) else sys.exit(3)))
            future.result(10)

        join(in_child(child))
        service.close()
        """,
        server.url,
    )
    assert len({number // _BLOCK for number in numbers(server)}) == 4


@pytest.mark.parametrize("how", ["fork", "forkserver", "spawn"])
def test_a_multiprocessing_pool(server, how, tmp_path):
    """Forked workers use the global client; others get it as a pickle, without the key, and use their own."""
    program = tmp_path / "program.py"
    program.write_text(
        """
import multiprocessing, os, pickle, sys
import tinkex

PARAMS = tinkex.SamplingParams(max_tokens=4)
client = pending = None

def sample(given):
    chosen, number = given
    if pending is not None:  # inherited
        assert isinstance(pending.exception(5), tinkex.ForkedFutureError)
    return (chosen or client).sample([number + 1], PARAMS).result(10).sequences[0].tokens

if __name__ == "__main__":
    url, how = sys.argv[1:]
    with tinkex.ServiceClient(base_url=url, api_key="tml-secret") as service:
        client = service.create_sampling_client(base_model="fake/model")
        assert b"tml-secret" not in pickle.dumps(client)
        sent = None if how == "fork" else client
        pending = client.sample([7], PARAMS)
        with multiprocessing.get_context(how).Pool(3) as pool:
            got = pool.map(sample, [(sent, number) for number in range(12)])
            pool.close()
            pool.join()
        assert got == [client.sample([number + 1], PARAMS).result(10).sequences[0].tokens for number in range(12)]
        pending.result(10)
"""
    )
    succeed(
        """
        import runpy
        sys.path.insert(0, os.path.dirname(sys.argv[2]))
        sys.argv = sys.argv[2:3] + [URL, sys.argv[3]]
        import subprocess
        sys.exit(subprocess.call([sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", *sys.argv]))
        """,
        server.url,
        str(program),
        how,
        environ={"TINKER_API_KEY": "tml-theirs"},
    )
    keys = Counter(request.headers["x-api-key"] for request in server.requests_to("asample"))
    assert keys == ({"tml-secret": 25} if how == "fork" else {"tml-secret": 13, "tml-theirs": 12})


def test_a_child_that_only_exits_is_quick_and_silent(server):
    """Two thousand samples in flight, every stage of their lives: nothing of theirs holds up or talks in the child."""
    succeed(
        """
        service, client = open_client(max_in_flight=500, max_connections=50)
        futures = [client.sample([1, i], PARAMS) for i in range(2000)]
        futures[5].add_done_callback(lambda future: os.getpid() == parent or print("called"))
        parent = os.getpid()
        for delay in (0.0, 0.02, 0.1, 0.3):
            time.sleep(delay)
            began = time.monotonic()
            join(in_child(lambda: None))
            assert time.monotonic() - began < 3, time.monotonic() - began
        service.close(cancel_pending=True)
        """,
        server.url,
    )


def test_close_in_a_child_leaves_the_parents_session_alone(server):
    """Only the process that made a session finishes it, in a `with` block, too."""
    succeed(
        """
        with tinkex.ServiceClient(base_url=URL, api_key="tml-x") as service:
            client = service.create_sampling_client(base_model="fake/model")
            pid = os.fork()
            client.sample([2], PARAMS).result(10)
            if pid:
                join(pid)
                client.sample([3], PARAMS).result(10)
        """,
        server.url,
    )
    assert server.counts["finish"] == 1


def test_a_fork_that_python_was_not_told_of(server):
    """Where the hooks of a fork do not run, as under uWSGI, the first use in the child notices."""
    succeed(
        """
        import ctypes
        service, client = open_client()
        client.sample([1], PARAMS).result(10)
        for _ in range(5):
            # Such a fork loses those who wait for the interpreter's own lock, which CPython does not survive, with or
            # without tinkex: so it comes while every other thread sleeps.
            time.sleep(0.2)
            pid = ctypes.PyDLL(None).fork()
            if pid == 0:
                signal.alarm(10)
                client.sample([2], PARAMS).result(10)
                os._exit(0)
            join(pid)
        client.sample([3], PARAMS).result(10)
        service.close()
        """,
        server.url,
    )
    assert len({number // _BLOCK for number in numbers(server)}) == 6


def test_a_requests_adapter_is_not_shared_with_a_child(server):
    """The child lets go of the connections that a user's adapter keeps."""
    succeed(
        """
        import requests.adapters
        service, client = open_client(adapter=requests.adapters.HTTPAdapter())
        futures = [client.sample([1, i], PARAMS) for i in range(10)]
        futures[0].result(10)

        def work():
            for future in [client.sample([2, i], PARAMS) for i in range(10)]:
                future.result(10)

        pid = in_child(work)
        for future in futures + [client.sample([3, i], PARAMS) for i in range(10)]:
            future.result(10)
        join(pid)
        service.close()
        """,
        server.url,
    )
