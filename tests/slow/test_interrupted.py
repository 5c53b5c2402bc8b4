"""Ctrl-C at any line of a call: no thread, descriptor, place or sample is lost, and what can be used goes on."""

from __future__ import annotations

import gc
import json
import pathlib
import threading
import time

import pytest
from interrupting import each_line, each_place
from serving import MODEL, PARAMS, PROMPT, make_service
from stepping import until

from tinkex import bulk
from tinkex.testing import FakeServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),  # an interrupt at each of thousands of lines
    pytest.mark.usefixtures("only_new_garbage"),
]


@pytest.fixture(scope="module")
def server():
    """A server that answers at once."""
    with FakeServer(record=False) as fake:
        with make_service(fake) as service:  # whatever is imported late
            service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS).result(10)
        yield fake


def ours():
    """The threads of tinkex, and the descriptors that are not connections to the server."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("tinkex-")]
    links = [_link(entry) for entry in pathlib.Path("/proc/self/fd").iterdir()]
    lines = pathlib.Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:]
    pairs = {f"socket:[{line.split()[6]}]" for line in lines}
    return len(threads), sum(link.startswith(("pipe:", "anon_inode:")) or link in pairs for link in links)


def _link(entry):
    try:
        return str(entry.readlink())
    except OSError:
        return ""


@pytest.fixture
def before():
    """What there is before the test, once the threads of what was there earlier have ended, but for the server's."""
    deadline = time.monotonic() + 10
    while ours()[0] > 1 and time.monotonic() < deadline:
        time.sleep(0.002)
    gc.collect()
    return ours()


def comes_back(before, where, kept=None):
    """Threads and descriptors become what they were, soon; two descriptors stay as long as a service is `kept`."""
    deadline = time.monotonic() + 10
    while ours() != (before if kept is None else (before[0], before[1] + 2)):
        gc.collect()
        assert time.monotonic() < deadline, (where, ours(), before, [t.name for t in threading.enumerate()])
        time.sleep(0.002)


def works(service):
    """A service that was interrupted samples as ever."""
    client = service.create_sampling_client(base_model=MODEL, timeout=10)
    assert client.sample(PROMPT, PARAMS, timeout=10).result(20)


@pytest.mark.filterwarnings("ignore:A ServiceClient:ResourceWarning")
@pytest.mark.parametrize("then", ["close", "use", "drop"])
def test_start_and_create(server, before, then):
    """The first call of a service, interrupted: closed, used again or dropped, it leaves what there was before."""
    for interrupter, interrupted in each_line():
        service = make_service(server)
        with interrupted():
            service.create_sampling_client(base_model=MODEL)
        if then == "use":
            works(service)
            reactors = [t for t in threading.enumerate() if t.name.endswith("-reactor") and t.is_alive()]
            assert len(reactors) == 1, interrupter.hit
        if then != "drop":
            service.close(0.0)
        del service
        comes_back(before, interrupter.hit)


def test_sample(server):
    """A call of sample() that is interrupted takes no place with it."""
    with make_service(server, max_queued=3) as service:
        client = service.create_sampling_client(base_model=MODEL)
        client.sample(PROMPT, PARAMS).result(10)
        for interrupter, interrupted in each_line():
            with interrupted():
                client.sample(PROMPT, PARAMS)
            settles(service, interrupter.hit)
        works(service)


def test_score(server):
    """A call of score() that is interrupted leaves none of its samples a place."""
    with make_service(server, max_queued=3) as service:
        client = service.create_sampling_client(base_model=MODEL)
        client.score([1], [[2], [3]]).result(10)
        for interrupter, interrupted in each_line():
            with interrupted():
                client.score([1], [[2], [3]])
            settles(service, interrupter.hit)
        works(service)


def test_blocked_sample(server):
    """Nor does one that waits for room in the queue, and the place it waited for is free afterwards."""
    with make_service(server, max_queued=1, max_in_flight=1) as service:
        client = service.create_sampling_client(base_model=MODEL)
        admission = service._lifecycle.runtime.sampling.admission
        for interrupter, interrupted in each_line():
            server.hold()
            running = client.sample(PROMPT, PARAMS)
            while admission.in_flight == 0:
                time.sleep(0.001)
            queued = client.sample(PROMPT, PARAMS)
            timer = threading.Timer(0.02, queued.cancel)
            timer.start()
            with interrupted():
                client.sample(PROMPT, PARAMS)
            timer.join()
            server.release()
            assert running.result(10)
            settles(service, interrupter.hit)
            assert not admission._blocked
            assert not admission._lock.locked()
        works(service)


def settles(service, where):
    """Every place, in the queue and in flight, comes back."""
    runtime = service._lifecycle.runtime
    admission = runtime.sampling.admission
    deadline = time.monotonic() + 10
    while admission._places or admission.in_flight or admission._submitting or admission._bytes:
        assert time.monotonic() < deadline, (where, admission._places, admission.in_flight)
        time.sleep(0.001)


@pytest.mark.parametrize("how", [{}, {"timeout": 0.0}, {"cancel_pending": True}])
def test_close(server, before, how):
    """A close that is interrupted ends the service all the same, though it is not called again."""
    for interrupter, interrupted in each_line():
        service = make_service(server)
        client = service.create_sampling_client(base_model=MODEL)
        future = client.sample(PROMPT, PARAMS)
        with interrupted():
            service.close(**how)
        if (interrupter.hit or "").startswith(("/service_client.py", "/_validation/")):  # it had not begun
            service.close(**how)
        comes_back(before, interrupter.hit, kept=(service, client))
        assert future.done()
        del service, client, future
        comes_back(before, interrupter.hit)


ROWS = [{"id": number, "prompt": [1, 2, number]} for number in range(5)]


def descriptors(folder):
    """The descriptors of files in a folder."""
    return [link for link in map(_link, pathlib.Path("/proc/self/fd").iterdir()) if link.startswith(str(folder))]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file that closes with its object
@pytest.mark.parametrize("times", [1, 2, 3])
def test_bulk_run(server, times, tmp_path):
    """A run that is interrupted holds no lock, thread or place; the same call again goes on, and no row is lost.

    So it is, but for an interrupt that comes while the run is ending, as long as the traceback is kept.
    """
    with make_service(server) as service:
        client = service.create_sampling_client(base_model=MODEL)

        def run(output):
            return bulk.run(ROWS, output, client, max_tokens=2, omit=["text"])

        run(tmp_path / "first.jsonl")  # whatever is imported late
        for number, (interrupter, _) in enumerate(each_place(times)):
            output = tmp_path / f"{number}.jsonl"
            try:
                with interrupter:
                    run(output)
            except KeyboardInterrupt:
                assert interrupter.ending or not descriptors(tmp_path), interrupter.hit  # while the traceback is there
            assert not descriptors(tmp_path), interrupter.hit
            settles(service, interrupter.hit)
            written = output.read_bytes().splitlines() if output.exists() else []
            assert run(output).skipped == len(written), interrupter.hit
            lines = output.read_bytes().splitlines()
            assert set(written) <= set(lines), interrupter.hit
            rows = [json.loads(line) for line in lines]
            assert [(row["id"], row["status"]) for row in rows] == [(row["id"], "ok") for row in ROWS], interrupter.hit
            until(lambda: not [each for each in threading.enumerate() if each.name == "tinkex-bulk"])
