from __future__ import annotations

import functools
import gc
import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import requests
from calling import PROTOBUF, Caller
from hypothesis import given
from hypothesis import strategies as st

from tinkex.testing import (
    EngineError,
    FakeServer,
    FakeServerProcess,
    Fault,
    ManualClock,
    default_answer,
    expected_logprobs,
    expected_tokens,
)
from tinkex.testing._faults.kinds import KINDS
from tinkex.testing._rules.remote import COMMANDS
from tinkex.types import ModelInput, SampledSequence, SampleRequest, SampleResponse, SamplingParams, TensorData

LOST = requests.exceptions.ConnectionError
BROKEN = requests.exceptions.ChunkedEncodingError
SLOW = requests.exceptions.Timeout


@pytest.fixture
def server():
    """A strict server like the hosted one, whose polls are answered at once."""
    with FakeServer(strict=True, long_poll=5.0) as fake:
        yield fake


@pytest.fixture
def caller(server):
    """A connection to it."""
    with Caller(server) as bare:
        yield bare


# Predictable answers


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=50), st.none() | st.integers(), st.integers(0, 9))
def test_expected_tokens_are_a_function(prompt, seed, sample):
    """The same prompt, seed and index give the same tokens, in range, and a longer answer starts with the shorter."""
    tokens = expected_tokens(prompt, seed=seed, sample=sample, max_tokens=20)
    assert tokens[:7] == expected_tokens(ModelInput.from_ints(prompt), seed=seed, sample=sample, max_tokens=7)
    assert all(0 <= token < 32_000 for token in tokens)
    assert tokens != expected_tokens([*prompt, 1], seed=seed, sample=sample, max_tokens=20)
    assert tokens != expected_tokens(prompt, seed=seed, sample=sample + 1, max_tokens=20)


@given(st.lists(st.integers(0, 2**31 - 1)))
def test_expected_logprobs_fit_32_bits(tokens):
    """Log-probabilities survive a round trip through 32-bit floats."""
    assert TensorData(expected_logprobs(tokens), "float32").data == expected_logprobs(tokens)


@given(st.lists(st.integers(0, 30_000), min_size=3, max_size=20), st.integers(1, 3), st.integers(1, 2))
def test_default_answer_has_what_was_asked(prompt, k, last_n):
    """The default answer has everything the sample asked for, of the right size."""
    request = SampleRequest(
        prompt,
        SamplingParams(max_tokens=5),
        num_samples=2,
        include_prompt_logprobs=True,
        topk_prompt_logprobs=k,
        topk_sample_logprobs=k,
        target_prompt_logprobs=TensorData([1] * (len(prompt) - 1), "int64", (len(prompt) - 1, 1)),
        prompt_alt_tokens_k=k,
        prompt_logprobs_last_n=last_n,
    )
    answer = default_answer(request)
    assert [value is None for value in answer.prompt_logprobs] == [True] * (len(prompt) - last_n) + [False] * last_n
    assert (answer.topk_prompt_logprobs.length, answer.topk_prompt_logprobs.k) == (len(prompt), k)
    assert answer.target_prompt_logprobs.shape == (len(prompt) - 1, 1)
    assert answer.prompt_alt_tokens.tokens.shape == (len(prompt) - 1, k)
    assert [(len(each.tokens), each.topk_logprobs.k) for each in answer.sequences] == [(5, k)] * 2


def test_default_answer_stops():
    """A sampled stop token ends the answer."""
    tokens = expected_tokens([1], max_tokens=5)
    answer = default_answer(SampleRequest([1], SamplingParams(max_tokens=5, stop=[tokens[2]])))
    assert (answer.sequences[0].tokens, answer.sequences[0].stop_reason) == (tokens[:3], "stop")


# The clock


def test_manual_clock():
    """Time moves when it is told to, on both clocks, and never back."""
    clock = ManualClock(monotonic=5.0, wall=100.0)
    clock.advance(2.0)
    assert (clock.monotonic(), clock.wall()) == (7.0, 102.0)
    with pytest.raises(ValueError, match="seconds must be at least 0"):
        clock.advance(-1)


def test_manual_clock_wakes_subscribers():
    """Subscribers are called after the clock has moved, until they unsubscribe."""
    clock, seen = ManualClock(), []
    unsubscribe = clock.subscribe(lambda: seen.append(clock.monotonic()))
    clock.advance(1)
    unsubscribe()
    unsubscribe()
    clock.advance(1)
    assert seen == [1.0]


# What has happened


def test_requests_are_recorded(server, caller):
    """Every request is kept with its endpoint, headers, body and the status of its answer."""
    caller.promise(num_samples=2)
    recorded = server.requests_to("asample")[0]
    assert (recorded.endpoint, recorded.method, recorded.path) == ("asample", "POST", "/api/v1/asample")
    assert (recorded.json["num_samples"], recorded.headers["x-api-key"], recorded.status) == (2, recorded.key, 200)
    assert server.counts == {"create_session": 1, "create_sampling_session": 1, "asample": 1}
    assert [each.endpoint for each in server.requests] == list(server.counts)


def test_unrecorded_requests_are_counted():
    """Without recording there are counts only."""
    with FakeServer(record=False) as server, Caller(server) as caller:
        caller.get("healthz")
        assert (server.requests, server.counts) == ([], {"healthz": 1})


def test_wait_for(server, caller):
    """A test can wait for a request to arrive, but not for ever."""
    late = threading.Timer(0.05, lambda: caller.get("healthz"))
    late.start()
    server.wait_for("healthz")
    late.join()
    with pytest.raises(TimeoutError, match="healthz had 1 of 2"):
        server.wait_for("healthz", 2, timeout=0.01)


def test_clear(server, caller):
    """Clearing forgets requests, violations, and faults to come."""
    server.fail_next("healthz", times=None)
    server.fail_samples("no")
    caller.session.post(server.url + "/api/v1/asample", data="{", timeout=5)
    server.clear()
    assert (server.requests, server.violations, server.counts) == ([], [], {})
    assert caller.get("healthz").status_code == 200


def test_unknown_endpoints_are_refused(server):
    """A typo in an endpoint's name is an error that lists the names."""
    for call in (server.requests_to, server.wait_for, server.fail_next, server.script):
        with pytest.raises(ValueError, match=r"asamples.*asample"):
            call("asamples")


def test_connections_are_counted(server, caller):
    """Accepted and open connections are known."""
    caller.get("healthz")
    caller.get("healthz")
    assert (server.connections, server.open_connections) == (1, 1)


# Answers


def test_answers_by_function(server, caller):
    """A plain function computes the answer on a thread; what it raises fails the sample."""
    threads = []

    def answers(request):
        threads.append(threading.current_thread().name)
        if request.num_samples > 1:
            raise EngineError("one at a time", 422, "user")
        return SampleResponse([SampledSequence([len(request.prompt.to_ints())])])

    server.answers = answers
    assert caller.poll(caller.promise()).json()["sequences"][0]["tokens"] == [3]
    assert caller.poll(caller.promise(num_samples=2)).json() == {"error": "one at a time", "category": "user"}
    assert "tinkex-fake-server" not in threads


def test_answers_by_coroutine(server, caller):
    """A coroutine function computes the answer on the event loop."""

    async def answers(request):
        on_loop = threading.current_thread().name == "tinkex-fake-server"
        return SampleResponse([SampledSequence([int(on_loop)])])

    server.answers = answers
    assert caller.poll(caller.promise()).json()["sequences"][0]["tokens"] == [1]
    server.answers = functools.partial(answers)
    assert caller.poll(caller.promise()).json()["sequences"][0]["tokens"] == [1]


def test_latency_by_function(server, caller):
    """Latency may depend on the sample and its index."""
    seen = []
    server.latency = lambda request, index: seen.append((request.num_samples, index)) or 0.01
    caller.poll(caller.promise(num_samples=3))
    caller.poll(caller.promise())
    assert seen == [(3, 0), (1, 1)]


def test_hold_and_release(server, caller):
    """Held samples wait until they are released, the oldest first."""
    server.hold()
    first, second = caller.promise(), caller.promise()
    assert server.running == 2
    server.release(1)
    assert caller.poll(first).status_code == 200
    assert server.running == 1
    server.release()
    assert caller.poll(second).status_code == 200
    assert caller.poll(caller.promise()).status_code == 200


def test_expire(server, caller):
    """An expired result is a 410, also for one that was never ready."""
    done = caller.promise()
    caller.poll(done)
    server.hold()
    running = caller.promise()
    server.expire()
    assert [caller.poll(each).status_code for each in (done, running)] == [410, 410]


# Faults


def test_fail_next(server, caller):
    """The next request gets the status, headers and body asked for, and then all is well."""
    server.fail_next("asample", 429, {"queue_state": "paused_rate_limit"}, {"Retry-After": "2"}, times=2)
    answers = [caller.submit() for _ in range(3)]
    assert [each.status_code for each in answers] == [429, 429, 200]
    assert (answers[0].headers["Retry-After"], answers[1].json()) == ("2", {"queue_state": "paused_rate_limit"})
    assert server.requests_to("asample")[0].status == 429


@pytest.mark.parametrize(
    ("body", "content_type", "content"),
    [
        (None, "application/json", b""),
        ("<html>", "text/plain", b"<html>"),
        (b"\x00", "text/plain", b"\x00"),
        ([1], "application/json", b"[1]"),
    ],
)
def test_fault_bodies(server, caller, body, content_type, content):
    """A body is sent as JSON, as it stands, or not at all."""
    server.fail_next("healthz", 502, body)
    answer = caller.get("healthz")
    assert (answer.headers["Content-Type"], answer.content) == (content_type, content)
    assert answer.headers["Content-Length"] == str(len(content))


def test_redirects(server, caller):
    """A redirect is a status like any other."""
    server.fail_next("healthz", 307, headers={"Location": "/elsewhere"})
    answer = caller.get("healthz", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (307, "/elsewhere")


def test_plans(server, caller):
    """Plans can skip requests, choose them, last for ever, and be taken back."""
    server.fail_next("healthz", 500, skip=1)
    assert [caller.get("healthz").status_code for _ in range(3)] == [200, 500, 200]
    server.fail_next("asample", 500, when=lambda request: request.json["seq_id"] == 1, times=None)
    assert [caller.submit().status_code for _ in range(3)] == [200, 500, 200]
    plan = server.fail_next("*", 503, times=None)
    assert [caller.get("healthz").status_code for _ in range(2)] == [503, 503]
    plan.cancel()
    assert caller.get("healthz").status_code == 200


def test_script(server, caller):
    """A script is followed in order, and None lets a request pass."""
    server.script("healthz", Fault("status", 500), None, Fault("status", 502))
    assert [caller.get("healthz").status_code for _ in range(4)] == [500, 200, 502, 200]


def test_unknown_kinds_are_refused(server):
    """A typo in a fault's kind is an error that lists the kinds."""
    with pytest.raises(ValueError, match=r"rest.*reset"):
        server.fault("healthz", "rest")
    with pytest.raises(ValueError, match="drip"):
        server.fault("connect", "drip")


def test_every_kind_is_described():
    """The documentation names every kind of fault, and each says what it does."""
    assert [kind for kind in KINDS if kind != "status" and f'"{kind}"' not in FakeServer.fault.__doc__] == []
    assert [kind for kind, function in KINDS.items() if not function.__doc__] == []


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    ("kind", "error", "acted"),
    [
        ("reset", LOST, False),
        ("reset_early", LOST, False),
        ("reset_after", LOST, True),
        ("close", LOST, False),
        ("close_after", LOST, True),
        ("hang", SLOW, False),
        ("stall", LOST, True),
        ("half", BROKEN, True),
        ("half_chunked", BROKEN, True),
        ("not_http", LOST, False),
        ("huge_header", LOST, False),
        ("bad_gzip", requests.exceptions.ContentDecodingError, True),
    ],
)
def test_faults_that_lose_the_answer(server, caller, kind, error, acted):
    """The client never gets the answer; the sample has begun only where the fault's name says so."""
    server.hold()
    body = caller.body()
    server.fault("asample", kind)
    with pytest.raises(error):
        caller.post("asample", body, timeout=0.2 if kind in ("hang", "stall") else 5)
    assert server.running == int(acted)
    caller.session.close()
    server.hold()
    assert caller.post("asample", body).status_code == 200


@pytest.mark.thin(3)
@pytest.mark.parametrize("kind", ["drip", "delay", "late", "stale", "interim", "gzip", "chunked", "bad_length"])
def test_faults_that_keep_the_answer(server, caller, kind):
    """The answer is right, however oddly it comes."""
    body = caller.body()
    server.fault("asample", kind, seconds=0.001)
    answer = caller.post("asample", body).json()
    caller.session.close()  # some kinds leave a connection that only looks alive
    assert caller.poll(answer["request_id"]).status_code == 200


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        ("wrong_type", "Content-Type", "text/html"),
        ("no_type", "Content-Type", None),
        ("gzip", "Content-Encoding", "gzip"),
        ("chunked", "Transfer-Encoding", "chunked"),
        ("huge_length", "Content-Length", "1000000000000000"),
    ],
)
def test_faults_of_headers(server, caller, kind, header, value):
    """The head of the answer is as wrong as it was asked to be."""
    server.fault("healthz", kind)
    with caller.get("healthz", stream=True) as answer:
        assert (answer.status_code, answer.headers.get(header, "").partition(";")[0] or None) == (200, value)


def test_garbage_and_truncation(server, caller):
    """Garbage is not JSON; a truncated protobuf has half of its bytes and a fitting length."""
    server.fault("asample", "garbage")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        caller.submit().json()
    request_id = caller.promise()
    whole = caller.poll(request_id, headers=PROTOBUF)
    server.fault("retrieve_future", "truncated")
    half = caller.poll(request_id, headers=PROTOBUF)
    assert half.content == whole.content[: len(whole.content) // 2]
    assert half.headers["Content-Type"] == whole.headers["Content-Type"]


def test_endless_body(server, caller):
    """An endless body goes on as long as somebody reads."""
    server.fault("healthz", "endless")
    with caller.get("healthz", stream=True) as answer:
        assert len(answer.raw.read(1_000_000)) == 1_000_000


def test_gzip_bomb(server, caller):
    """A bomb is small on the wire and large when decompressed."""
    server.fault("healthz", "gzip_bomb", size=1_000_000)
    with caller.get("healthz", stream=True) as answer:
        raw = answer.raw.read(decode_content=False)
    assert (len(raw) < 20_000, len(gzip.decompress(raw))) == (True, 1_000_000)


def test_stale_connection(server, caller):
    """A stale connection was closed after an answer that did not say so."""
    server.fault("healthz", "stale")
    address = tuple(server.url.removeprefix("http://").split(":"))
    with socket.create_connection(address, timeout=5) as raw:
        raw.sendall(b"GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while data := raw.recv(1000):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"close" not in answer


@pytest.mark.parametrize(("kind", "error"), [("reset", LOST), ("close", LOST), ("hang", SLOW)])
def test_connection_faults(server, caller, kind, error):
    """A connection can be lost as soon as it is made; the next one is fine."""
    server.fault("connect", kind)
    server.fail_next("*", 200)
    with pytest.raises(error):
        caller.session.get(server.url + "/api/v1/healthz", timeout=0.2 if kind == "hang" else 5)
    assert caller.get("healthz").content == b""
    assert caller.get("healthz").json() == {"status": "ok"}


# Strictness


def rules_broken(server):
    """The rules of a server's violations, each once."""
    return {violation.rule for violation in server.violations}


def test_good_client_breaks_no_rule(server, caller):
    """An ordinary conversation, retry and cancellation included, breaks no rule."""
    body = caller.body()
    headers = {"X-Tinker-Sampling-Backpressure": "1"}
    server.fail_next("asample", 503)
    caller.post("asample", body, headers=headers)
    caller.poll(caller.post("asample", body, headers=headers).json()["request_id"])
    server.hold()
    caller.post("cancel_future", {"request_id": caller.promise()})
    caller.post("sessions/session-1/finish", {"reason": {"type": "success"}, "detail": None})
    assert server.violations == []


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"colour": "red"}, "unknown_field"),
        ({"num_samples": None}, "null"),
        ({"sampling_params": {"max_tokens": 1, "seed": None}}, "null"),
        ({"sampling_params": {"max_tokens": 1, "colour": 1}}, "unknown_field"),
        ({"sampling_params": {"max_tokens": 1, "stop": "x"}}, "stop"),
        ({"prompt_logprobs": False}, "default_field"),
        ({"seq_id": "0"}, "seq_id"),
    ],
)
def test_bad_samples_break_rules(server, caller, fields, rule):
    """What some server would refuse is a violation even where this one does not."""
    caller.submit(**fields)
    assert rules_broken(server) == {rule}


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": None},
        {"User-Agent": ""},
        {"Authorization": "Bearer x", "X-API-Key": None},
    ],
)
def test_bad_headers_break_rules(server, caller, headers):
    """Headers that a server relies on are checked."""
    caller.session.post(server.url + "/api/v1/client/config", headers=headers, json={}, timeout=5)
    assert rules_broken(server) == {"header"}


def test_reused_seq_id_breaks_a_rule(server, caller):
    """A seq_id stands for one request, and for none once its result has expired."""
    body, headers = caller.body(), {"X-Tinker-Sampling-Backpressure": "1"}
    request_id = caller.post("asample", body, headers=headers).json()["request_id"]
    caller.post("asample", {**body, "num_samples": 2}, headers=headers)
    assert rules_broken(server) == {"seq_id_reuse"}
    server.clear()
    server.expire(request_id)
    caller.poll(request_id)
    caller.post("asample", body, headers=headers)
    assert rules_broken(server) == {"seq_id_reuse"}


def test_early_polls_break_a_rule():
    """Two polls in a row without a pause are a busy loop."""
    with FakeServer(strict=True, long_poll=0.0) as server, Caller(server) as caller:
        server.hold()
        request_id = caller.promise()
        caller.poll(request_id)
        assert rules_broken(server) == set()
        caller.poll(request_id)
        assert rules_broken(server) == {"poll_interval"}


def test_ignored_pause_breaks_a_rule(server, caller):
    """A sample sent before Retry-After is over breaks a rule."""
    server.fail_next("asample", 429, headers={"Retry-After": "30"})
    caller.submit()
    caller.submit()
    assert rules_broken(server) == {"backoff"}


def test_size_asked_twice_breaks_a_rule():
    """After the size the result itself must be asked for."""
    with FakeServer(strict=True, long_poll=5.0, metadata_size=1) as server, Caller(server) as caller:
        body = {"request_id": caller.promise(), "allow_metadata_only": True}
        caller.post("retrieve_future", body)
        caller.post("retrieve_future", body)
        assert rules_broken(server) == {"metadata"}


def test_poll_after_cancel_breaks_a_rule(server, caller):
    """Nobody asks for a sample that was cancelled, nor cancels what was never promised."""
    request_id = caller.promise()
    caller.post("cancel_future", {"request_id": request_id})
    caller.poll(request_id)
    caller.post("cancel_future", {"request_id": "99"})
    assert rules_broken(server) == {"cancelled", "cancel"}


@pytest.mark.parametrize(
    ("fields", "rule"),
    [({"prev_cursor": 7}, "cursor"), ({"retrieved_request_ids": ["b", "a"]}, "acks"), ({}, None)],
)
def test_bad_session_polls_break_rules(server, caller, fields, rule):
    """Cursors come from the server, and acknowledgements name results that were fetched."""
    target = {"type": "sampling_session", "sampling_session_id": caller.open(), "cloned_sampler_id": 0}
    body = {"target": target, "prev_cursor": 0, "retrieved_request_ids": [], "timeout": 0, **fields}
    caller.post("retrieve_futures", body)
    assert rules_broken(server) == ({rule} if rule else set())


def test_acknowledging_the_own_results_is_fine(server, caller):
    """A fetched result is acknowledged under the clone that asked for it, and no other."""
    request_id = caller.promise()
    caller.poll(request_id)
    target = {"type": "sampling_session", "sampling_session_id": caller.sampling_session_id, "cloned_sampler_id": 0}
    body = {"target": target, "prev_cursor": 0, "retrieved_request_ids": [request_id], "timeout": 0}
    caller.post("retrieve_futures", body)
    assert rules_broken(server) == set()
    caller.post("retrieve_futures", {**body, "target": {**target, "cloned_sampler_id": 4}})
    assert rules_broken(server) == {"acks"}


def test_session_rules(server, caller):
    """A session ends once, and is not kept alive after that."""
    caller.open()
    finish = {"reason": {"type": "success"}, "detail": None}
    caller.post("sessions/session-1/finish", finish)
    caller.post("session_heartbeat", {"session_id": "session-1"})
    assert rules_broken(server) == {"heartbeat"}
    caller.post("sessions/session-1/finish", finish)
    assert rules_broken(server) == {"heartbeat", "finish"}


def test_telemetry_rules(server, caller):
    """A batch has 1 to 100 events, and never the key."""
    caller.post("telemetry", {"events": [{}] * 101})
    caller.post("telemetry", {"events": [{"text": caller.session.headers["X-API-Key"]}]})
    assert rules_broken(server) == {"telemetry", "secret"}


# Life


def test_life(server):
    """Starting twice is harmless, as is stopping twice; a stopped server refuses connections."""
    others = [thread for thread in threading.enumerate() if thread is not server._thread._thread]
    server.start()
    server.stop()
    server.stop()
    with pytest.raises(LOST):
        requests.get(server.url, timeout=5)
    assert [thread for thread in threading.enumerate() if thread not in others] == []


@pytest.mark.slow
def test_stop_in_a_forked_child():
    """A forked child that leaves the context takes nothing from its parent."""
    script = (
        "import os, requests\n"
        "from tinkex.testing import FakeServer\n"
        "with FakeServer(tls=True) as server:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        server.stop()\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    print(requests.get(server.url + '/api/v1/healthz', verify=server.ca_file, timeout=5).status_code)\n"
    )
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False, timeout=60)
    assert done.stdout == "200\n", done.stderr


def test_stop_is_quick():
    """Requests under way do not hold a server up."""
    with FakeServer() as server, Caller(server) as caller:
        server.fault("healthz", "hang")
        with pytest.raises(SLOW):
            caller.session.get(server.url + "/api/v1/healthz", timeout=0.05)
        server.hold()
        caller.promise()
        begun = time.monotonic()
    assert time.monotonic() - begun < 5  # a hold-up would take 10


def test_prefix():
    """The API can stand under a path."""
    with FakeServer(prefix="/services/x") as server, Caller(server) as caller:
        assert server.url.endswith("/services/x")
        assert caller.get("healthz").status_code == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls(version):
    """Over HTTPS the server shows a certificate of its own authority, under the TLS version asked for."""
    with FakeServer(tls=True, tls_version=version) as server, Caller(server) as caller:
        caller.session.verify = server.ca_file
        assert caller.get("healthz").status_code == 200
        context = ssl.create_default_context(cafile=server.ca_file)
        port = int(server.url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as secure,
        ):
            assert secure.version() == version.name.replace("_", ".")
    assert not Path(server.ca_file).exists()


def test_client_certificates():
    """A server can insist on a client certificate, and hands one out."""
    with FakeServer(tls=True, client_certificate=True) as server, Caller(server) as caller:
        caller.session.verify = server.ca_file
        with pytest.raises(LOST):
            caller.get("healthz")
        caller.session.cert = server.client_file
        assert caller.get("healthz").status_code == 200


@pytest.mark.slow
def test_many_parked_polls_need_no_threads():
    """Hundreds of samples wait for their answers without a thread each."""
    with FakeServer(record=False) as server, Caller(server) as caller:
        server.hold()
        before = threading.active_count()
        waiting = [caller.promise() for _ in range(200)]
        address = tuple(server.url.removeprefix("http://").split(":"))
        polls = [socket.create_connection(address, timeout=5) for _ in waiting]
        for request_id, poll in zip(waiting, polls, strict=True):
            body = f'{{"request_id": "{request_id}"}}'
            head = "POST /api/v1/retrieve_future HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            poll.sendall(f"{head}X-API-Key: k\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        server.wait_for("retrieve_future", len(polls))
        assert threading.active_count() == before
        server.release()
        assert {poll.recv(15) for poll in polls} == {b"HTTP/1.1 200 OK"}
        for poll in polls:
            poll.close()


@pytest.mark.slow
def test_process():
    """A server in another process can be steered and asked, and ends with its context."""
    with FakeServerProcess("skyrl", strict=True, tls=True, prefix="/x", long_poll=1.0) as server:
        with Caller(server) as caller:
            caller.session.verify = server.ca_file
            server.do("fail_next", "asample", status=503)
            assert [caller.submit(colour="red").status_code for _ in range(2)] == [503, 200]
        assert server.counts["asample"] == 2
        assert server.requests[-1].json["colour"] == "red"
        assert server.violations == ["unknown_field: asample has no field colour."] * 2
        with pytest.raises(ValueError, match="hold_up"):
            server.do("hold_up")
        with pytest.raises(ValueError, match="asample"):
            server.do("fail_next", "nothing")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].partition("/")[0])), timeout=5)


@pytest.mark.slow
def test_process_that_cannot_start():
    """A server that cannot start says so instead of hanging."""
    with pytest.raises(RuntimeError, match="did not start"):
        FakeServerProcess("tinker", colour="red").start()


def test_commands_exist():
    """Every command for another process is a method of the server."""
    assert [name for name in sorted(COMMANDS) if not callable(getattr(FakeServer, name, None))] == []


@pytest.mark.usefixtures("only_new_garbage")
@pytest.mark.parametrize("tls", [False, True])
def test_a_stop_while_connections_come(tls):
    """A server that stops right after it accepted, or in a TLS handshake, leaves nothing open and says nothing."""
    clients = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(5):
            server = FakeServer(tls=tls).start()
            for _ in range(20):
                clients.append(socket.socket())
                clients[-1].setblocking(False)
                clients[-1].connect_ex(server._listener.getsockname())
            server.stop()
            del server
        gc.collect()
    for client in clients:
        client.close()
    assert [str(warning.message) for warning in said] == []
