"""What a sample costs, in counts: requests, connections, threads, parks, wake-ups, bytes. Seconds are not tested."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from concurrent.futures import Future
from pathlib import Path

import pytest
from serving import KEY, MODEL, PARAMS, advance_until, all_done, make_service, sampling, until

from tinkex import _wire
from tinkex._transport import connection_pool
from tinkex._transport.http11 import ResponseReader
from tinkex._wire import encode_sample, json_bytes
from tinkex.testing import FakeServer, ManualClock
from tinkex.types import ModelInput, SampleRequest

_PACKAGE = os.sep + "tinkex" + os.sep
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WORKERS = 2  # of the clients here; see `quick_config`
PROMPT = list(range(100_000, 100_064))
MANY = 30


class Counting:
    """Counts the calls of a method, which go on to be made."""

    def __init__(self, monkeypatch, reference, name):
        self.calls = 0
        self._call = getattr(reference, name)
        monkeypatch.setattr(reference, name, self)

    def __call__(self, *arguments, **options):
        self.calls += 1
        return self._call(*arguments, **options)


def is_client(filename):
    """Whether a file is part of the client, and not of the servers of the package."""
    part = filename.rpartition(_PACKAGE)[2]
    return part != filename and not part.startswith(("_server", "testing"))


def machine_of(service):
    """The working parts of a service."""
    return service._lifecycle.runtime


def held(server, client, many):
    """So many samples that the server has accepted and does not answer."""
    server.hold()
    futures = [client.sample(PROMPT, PARAMS) for _ in range(many)]
    server.wait_for("asample", many)
    until(lambda: all(future.phase == "waiting" for future in futures))
    return futures


@pytest.fixture(scope="module")
def server():
    """One server for all: counts are taken from it as differences."""
    with FakeServer() as fake:
        yield fake


def test_requests_of_a_sample(server):
    """A sample that goes well is two requests, and a client that is set up sends nothing else."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(10)
        until(lambda: server.counts["get_server_capabilities"])  # asked for behind the first sample
        before = server.counts
        all_done([client.sample(PROMPT, PARAMS) for _ in range(MANY)])
        sent = server.counts - before
    assert {name: sent[name] for name in ("asample", "retrieve_future")} == {"asample": MANY, "retrieve_future": MANY}
    assert sent.total() == 2 * MANY


def test_connections_of_samples_in_turn(server):
    """Samples one after the other come to share a few connections, which rest a moment between two requests."""
    with sampling(server) as client:
        before = server.connections
        for _ in range(100):
            client.sample(PROMPT, PARAMS).result(10)
        opened = server.connections - before
    assert opened <= 20


def test_connections_of_a_burst(server, monkeypatch):
    """However many samples come at once, quick answers make do with two connections a worker, and eight that rest."""
    monkeypatch.setattr(connection_pool, "_SETTLING_SECONDS", 60.0)  # whatever the server here takes is soon
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(10)
        before = server.connections
        all_done([client.sample(PROMPT, PARAMS) for _ in range(3 * MANY)])
        opened = server.connections - before
    assert opened <= 10 * WORKERS


def test_connections_and_threads_of_samples_in_flight(server):
    """In flight, a sample has one connection where it polls for itself, and no thread."""
    with sampling(server) as client:
        before = server.connections
        futures = held(server, client, MANY)
        until(lambda: len(machine_of(client.service).reactor._parked) >= MANY)
        stats, opened = client.service.stats(), server.connections - before
        server.release()
        all_done(futures)
    assert opened <= MANY + 2 * WORKERS
    assert stats.in_flight == MANY
    assert stats.threads <= 1 + WORKERS + 20  # 20 may connect at once, for a moment


@pytest.fixture
def patient_server():
    """A server whose long polls are longer than any test."""
    with FakeServer(long_poll=600.0) as made:
        yield made


def test_few_connections_serve_many_samples_in_turn(patient_server):
    """Samples beyond the bound on connections wait their turn: long polls end early for those in line."""
    server, clock, most, samples = patient_server, ManualClock(), 5, 15
    service = make_service(server, clock=clock, max_connections=most)
    client = service.create_sampling_client(base_model=MODEL)
    server.hold()
    futures = [client.sample(PROMPT, PARAMS) for _ in range(samples)]
    opened = set()

    def have_come(endpoint, count):
        opened.add(service.stats().connections)
        return server.counts[endpoint] >= count

    advance_until(clock, lambda: have_come("asample", samples), step=0.1)
    advance_until(clock, lambda: have_come("retrieve_future", samples), step=0.1)
    server.release()
    advance_until(clock, lambda: have_come("asample", 0) and all(map(Future.done, futures)), step=0.1)
    assert max(opened) == most
    assert all(future.exception() is None for future in futures)
    service.close(timeout=0.0)


def test_parks_of_a_sample_in_flight(server, monkeypatch):
    """A sample that waits is parked once an exchange at most: nobody looks at what cannot be read yet."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(10)
        reactor = machine_of(client.service).reactor
        parks = Counting(monkeypatch, reactor, "park")
        futures = held(server, client, MANY)
        until(lambda: len(reactor._parked) >= MANY)
        server.release()
        all_done(futures)
    assert MANY <= parks.calls <= 2 * MANY + 2  # what a client does beside its first sample may still go on


def test_the_session_poller_asks_for_all_together():
    """With the session poller neither the polls nor the connections in use grow with the samples in flight."""
    with FakeServer(client_config={"sample_use_retrieve_futures": True}) as server, sampling(server) as client:
        futures = held(server, client, MANY)
        until(lambda: server.counts["retrieve_futures"] >= 1)
        parked, asked = len(machine_of(client.service).reactor._parked), server.counts["retrieve_future"]
        server.release()
        all_done(futures)
        until(lambda: server.counts["retrieve_future"] >= MANY)
        together = server.counts["retrieve_futures"]
    assert asked <= 2 * WORKERS  # the first polled for themselves, before there were more than workers
    assert parked <= 2 * WORKERS
    assert together <= MANY // 4


def test_work_on_the_callers_thread(server, monkeypatch):
    """`sample()` starts no thread, opens no connection and encodes nothing: others do that for it."""
    with sampling(server) as client:
        dialer, callers = machine_of(client.service).dialer, []
        for reference, name in ((threading.Thread, "start"), (type(dialer), "open"), (_wire, "encode_sample")):
            call = getattr(reference, name)

            def noting(*arguments, _call=call, _name=name, **options):
                callers.append((_name, threading.current_thread()))
                return _call(*arguments, **options)

            monkeypatch.setattr(reference, name, noting)
        all_done([client.sample(PROMPT, PARAMS) for _ in range(MANY)])
        assert [name for name, thread in callers if thread is threading.current_thread()] == []
        assert [name for name, _ in callers].count("encode_sample") == MANY


def test_thread_starts_of_a_sample(server, monkeypatch):
    """A client that has sampled has the threads it needs."""
    with sampling(server) as client:
        all_done([client.sample(PROMPT, PARAMS) for _ in range(MANY)])
        starts = Counting(monkeypatch, threading, "Thread")
        for _ in range(20):
            client.sample(PROMPT, PARAMS).result(10)
        assert starts.calls == 0


def test_wake_ups_of_a_sample(server, monkeypatch):
    """The reactor, which watches over all samples, is woken at most once an exchange."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(10)
        polls = Counting(monkeypatch, machine_of(client.service).reactor._poller, "poll")
        for _ in range(MANY):
            client.sample(PROMPT, PARAMS).result(10)
        assert polls.calls <= 2 * MANY


@contextlib.contextmanager
def counted_steps():
    """Counts the calls of the client's functions by their names, in this thread and those that start meanwhile."""
    steps, before = Counter(), threading.getprofile()

    def note(frame, event, _argument):
        if event == "call" and is_client(frame.f_code.co_filename):
            steps[frame.f_code.co_qualname] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield steps
    finally:
        sys.setprofile(None)
        threading.setprofile(before)


def test_steps_of_a_sample(server):
    """A sample is some 260 calls of the client's functions; a request is one write, and its answer one read or two.

    Whether its connection is as it was left, Linux tells without a poll, but for the first look at each.
    """
    with counted_steps() as steps, sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(10)
        until(lambda: server.counts["get_server_capabilities"])
        steps.clear()
        for _ in range(MANY):
            client.sample(PROMPT, PARAMS).result(10)
        counts = steps.copy()
    assert counts["Connection.send"] == 2 * MANY
    assert counts["Connection.receive"] <= 5 * MANY
    assert sys.platform != "linux" or counts["Connection._found"] <= 10 * WORKERS
    assert counts.total() <= 300 * MANY


@pytest.mark.slow
def test_memory_of_a_sample_in_flight():
    """A sample that waits with many others takes 2.1 KB, its future and its request included, but not its prompt."""
    with FakeServer(client_config={"sample_use_retrieve_futures": True}) as server, sampling(server) as client:
        held(server, client, 2 * MANY)  # what is there once, and what grows in steps
        prompt = ModelInput.from_ints(PROMPT)
        tracemalloc.start()
        try:
            futures = [client.sample(prompt, PARAMS) for _ in range(10 * MANY)]
            server.wait_for("asample", 12 * MANY)
            until(lambda: all(future.phase == "waiting" for future in futures), 60)
            gc.collect()
            taken = sum(
                each.size
                for each in tracemalloc.take_snapshot().statistics("filename")
                if is_client(each.traceback[0].filename)
            )
        finally:
            tracemalloc.stop()
        server.release()
        all_done(futures)
    assert taken / len(futures) < 2200


def test_looks_at_the_environment(server, monkeypatch):
    """The names in it are gone through once, when the service is made; not for its clients, nor for their samples."""
    looks = []
    names = os._Environ.__iter__
    monkeypatch.setattr(os._Environ, "__iter__", lambda self: looks.append(1) or names(self))
    with sampling(server, trust_env=True) as client:
        assert len(looks) <= 1
        for _ in range(20):
            client.service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS).result(10)
    assert len(looks) <= 1


def test_modules_of_a_first_sample(server):
    """From the import to the first result over plain HTTP, what is slow to load and not needed is not loaded.

    What comes with logging is not counted: since Python 3.15, pathlib.
    """
    script = f"""
import sys, logging
before = set(sys.modules)
import tinkex
service = tinkex.ServiceClient(base_url={server.url!r}, api_key={KEY!r})
service.create_sampling_client(base_model={MODEL!r}).sample([1, 2], tinkex.SamplingParams(max_tokens=4)).result(10)
print(*set(sys.modules) - before)
service.close(timeout=0)
"""
    bare = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    bare["NETRC"] = "/nowhere"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=bare, timeout=30
    )
    modules = set(done.stdout.split())
    loaded = {name.partition(".")[0] for name in modules}
    assert "tinkex" in loaded
    assert loaded & {"requests", "urllib3", "tenacity", "numpy", "orjson", "tokenizers"} == set()
    assert loaded & {"asyncio", "email", "html", "http", "pathlib", "ssl", "subprocess", "stringprep", "uuid"} == set()
    assert loaded & {"base64", "datetime", "random"} == set()
    assert (
        modules & {"tinkex.listing", "tinkex.types.records", "tinkex._service.stats", "tinkex._wire.records"} == set()
    )


def test_bytes_of_a_sample(server):
    """What is sent besides the prompt stays small: a head of less than 800 bytes and few fields."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(10)
    for endpoint, most in (("asample", 180), ("retrieve_future", 90)):
        request = server.requests_to(endpoint)[-1]
        head = sum(len(f"{name}: {value}\r\n") for name, value in request.headers.items())
        prompt = json.dumps(PROMPT, separators=(",", ":")) if endpoint == "asample" else ""
        assert head <= 800
        assert len(request.body) - len(prompt) <= most


def test_an_idle_client_wakes_for_heartbeats_and_flags_only():
    """In ten minutes of rest a client sends a heartbeat each 10 s, asks for the flags twice, and sleeps otherwise."""
    clock = ManualClock()
    with FakeServer() as server:
        service = make_service(server, clock=clock)
        client = service.create_sampling_client(base_model=MODEL)
        client.sample(PROMPT, PARAMS).result(10)
        server.wait_for("get_server_capabilities")  # asked for in the background
        with pytest.MonkeyPatch.context() as patch:
            polls = Counting(patch, machine_of(service).reactor._poller, "poll")
            before, began, steps = server.counts, clock.monotonic(), Counting(patch, clock, "advance")
            flags = before["client/dynamic_config"] + 2
            advance_until(clock, lambda: server.counts["client/dynamic_config"] == flags, step=5.0)
            passed, sent = clock.monotonic() - began, server.counts - before
            woken = polls.calls - steps.calls  # this kind of clock wakes it at every move
        service.close(timeout=0.0, cancel_pending=True)
    assert set(sent) == {"session_heartbeat", "client/dynamic_config"}
    assert sent["session_heartbeat"] <= passed / 10.0
    assert woken <= 4 * sent.total()


@pytest.mark.parametrize("count", [1, 32])
def test_bytes_copied_of_a_large_answer(count):
    """An answer is held once, where it was received."""
    size = 2**22
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    piece = bytes(size // count)
    reader = ResponseReader(2 * size)
    tracemalloc.start()
    try:
        reader.feed(head)
        for _ in range(count):
            with reader.room() as room:
                room[: len(piece)] = piece
            done = reader.filled(len(piece))
        assert done
        body = reader.response().body
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) == size
    assert peak <= 1.1 * size


def test_bytes_copied_of_a_large_prompt(monkeypatch):
    """Encoding a prompt takes no more than five times the bytes that are sent, for a moment."""
    monkeypatch.setattr(json_bytes, "_orjson", lambda: None)  # it reserves megabytes, which it does not touch
    request = SampleRequest(ModelInput.from_ints(range(1, 32_769)), PARAMS)
    tracemalloc.start()
    try:
        body = encode_sample(request, sampling_session_id="s", seq_id=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 5 * len(body)


@pytest.mark.usefixtures("only_new_garbage")
def test_nothing_is_left_to_the_collector(server):
    """A sample leaves no reference cycle: its memory is free at once, and collections need not find it."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(10)
        gc.collect()
        gc.disable()
        try:
            for _ in range(MANY):
                client.sample(PROMPT, PARAMS).result(10)
            assert gc.collect() < MANY
        finally:
            gc.enable()


def test_the_key_is_sent_once(server):
    """A request carries one header with the key, and nothing else repeats it."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(10)
    for endpoint in ("asample", "retrieve_future"):
        request = server.requests_to(endpoint)[-1]
        assert [value for value in request.headers.values() if KEY in value] == [KEY]


@pytest.mark.slow
@pytest.mark.parametrize("poller", [False, True])
def test_the_benchmarks_still_run(poller):
    """A scenario runs against the load server, which counts what a sample sends, in both ways to wait."""
    options = {"session_poller": poller, "latency": 0.2, "max_concurrent": 25_000}
    task = {"subject": "tinkex", "scenario": "burst", "samples": 200, "server": options, "warm": 5}
    with subprocess.Popen(
        [sys.executable, "load_server.py", json.dumps(options)], cwd=BENCHMARKS, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            command = [sys.executable, "scenario.py", json.dumps({**task, "url": process.stdout.readline().strip()})]
            done = subprocess.run(command, cwd=BENCHMARKS, check=True, capture_output=True, text=True, timeout=60)
        finally:
            process.kill()
    counted = json.loads(done.stdout)["server"]
    assert counted["asample"] == counted["retrieve_future"] == counted["most_in_flight"] == 200
    assert poller == (counted.get("retrieve_futures", 0) > 0)
