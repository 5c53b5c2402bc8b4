"""What the bundled servers take and keep is bounded, and pages of other hosts cannot reach them."""

from __future__ import annotations

import gc
import json
import tracemalloc

import pytest
import requests
from calling import KEY, Caller

from tinkex._server.service import SERVICE
from tinkex.testing import FakeServer, FakeServerProcess
from tinkex.testing._rules.remote import CONTROL, CONTROL_KEY

MIB = 2**20
PNG = "iVBORw0KGgo="
JSON = {"Content-Type": "application/json", "X-API-Key": KEY}


@pytest.fixture(scope="module")
def server():
    """A strict server that several tests share."""
    with FakeServer(strict=True, long_poll=0.0, max_body_bytes=24 * MIB) as fake:
        yield fake


@pytest.fixture
def caller(server):
    """A connection to it."""
    with Caller(server) as bare:
        yield bare


def state(server):
    """What the server keeps."""
    return server._app[SERVICE].state


def kept(server):
    """The estimated bytes of all that a server keeps."""
    rules = 0 if server._rules is None else server._rules.kept_bytes
    return state(server).kept_bytes + server._journal.kept_bytes + rules


@pytest.mark.slow
def test_everything_kept_is_within_one_bound():
    """Results that are never fetched again, sessions, seq_ids, records and violations: all within `max_bytes`."""
    with FakeServer(strict=True, long_poll=0.0, max_bytes=MIB) as server, Caller(server) as caller:
        caller.promise()
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(120):
                caller.post("create_session", {"tags": [], "user_metadata": {"a": "b" * 300}, "sdk_version": "0"})
                caller.poll(caller.promise(max_tokens=200, num_samples=3))
                caller.get(f"unknown/{number}")
                assert kept(server) <= MIB
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 1.5 * MIB
        assert kept(server) > MIB // 2
        assert server.counts["create_session"] == 121
        assert 10 < len(server.requests) < 480
        assert server.requests[-1].endpoint.endswith("/unknown/119")


def test_the_latest_results_stay():
    """Beyond the bound the oldest results are gone, the latest can be fetched."""
    with FakeServer(long_poll=5.0, max_bytes=2 * MIB) as server, Caller(server) as caller:
        promised = [caller.promise(max_tokens=500) for _ in range(30)]
        statuses = [caller.poll(request_id).status_code for request_id in promised]
        assert statuses[0] == 404
        assert statuses[-3:] == [200] * 3


def test_a_result_beyond_the_bound_fails():
    """A result that is larger than all that may be kept is an error that names the bound."""
    with FakeServer(long_poll=5.0, max_bytes=MIB) as server, Caller(server) as caller:
        answer = caller.poll(caller.promise(max_tokens=10_000))
        assert "max_bytes" in answer.json()["error"]


def test_a_session_in_use_outlives_the_others():
    """Sessions are bounded as well; the ones that were used last stay."""
    with FakeServer(max_bytes=MIB) as server, Caller(server) as caller:
        mine, other = (caller.post("create_session").json()["session_id"] for _ in range(2))
        for _ in range(40):
            assert caller.post("session_heartbeat", {"session_id": mine}).status_code == 200
            caller.post("create_session")
        assert caller.post("session_heartbeat", {"session_id": other}).status_code == 404


def test_metadata_that_does_not_fit():
    """A session whose metadata alone exceed the bound is refused."""
    with FakeServer(max_bytes=MIB) as server, Caller(server) as caller:
        assert caller.post("create_session", {"user_metadata": {"a": "b" * 100_000}}).status_code == 413


def test_running_samples_are_refused_beyond_the_bound():
    """Samples that run keep their place; beyond half of the bound the next ones are told to come again."""
    with FakeServer(long_poll=5.0, max_bytes=2 * MIB) as server, Caller(server) as caller:
        server.hold()
        answers = [caller.submit(prompt=range(2000)) for _ in range(10)]
        accepted = [answer for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers[len(accepted) :]} == {429}
        assert 0 < len(accepted) < 10
        server.release()
        assert caller.poll(accepted[0].json()["request_id"]).status_code == 200
        assert caller.submit(prompt=range(2000)).status_code == 200


@pytest.mark.parametrize("name", ["num_samples", "topk_prompt_logprobs", "topk_sample_logprobs", "prompt_alt_tokens_k"])
def test_counts_are_bounded(caller, name):
    """A count beyond the bound is refused before anything is made of it."""
    answer = caller.submit(**{name: 10**9})
    assert (answer.status_code, name in answer.json()["detail"]) == (400, True)
    assert caller.submit(num_samples=1025).status_code == 400
    assert "request_id" in caller.submit(num_samples=1024, max_tokens=1).json()


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 10**9},
        {"num_samples": 1024, "max_tokens": 10_000},
        {"topk_sample_logprobs": 1000, "max_tokens": 10_000},
        {"prompt": {"chunks": [{"type": "image", "format": "png", "data": PNG, "expected_tokens": 2**31 - 1}]}},
    ],
)
def test_answers_are_bounded(server, fields):
    """A default answer of more than four million numbers is a failure of its sample, not the end of the server."""
    with FakeServer(long_poll=5.0) as fake, Caller(fake) as caller:
        body = {**caller.body(), **fields}
        body["sampling_params"] = {"max_tokens": body.pop("max_tokens", 4)}
        request_id = caller.post("asample", body).json()["request_id"]
        assert "4,000,000" in caller.poll(request_id).json()["error"]


@pytest.mark.thin(5)
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"[" * 10_000_000, 413),
        (b"[" * 1_000_000, 422),
        (b'{"user_metadata": ' + b'{"a":' * 500 + b"1" + b"}" * 501, 422),
        (b'{"user_metadata": ' + b'{"a":' * 64 + b"1" + b"}" * 65, 422),
        (b'{"user_metadata": ' + b'{"a":' * 63 + b"1" + b"}" * 64, 200),
        (b'{"user_metadata": {"a": "' + b"[{" * 500 + b'"}}', 200),
        (b'{"user_metadata": {"a": "\\"' + b"[{" * 500 + b'\\\\"}}', 200),
        (b'{"user_metadata": {}, "a": [' + b"1," * 5_000_000 + b"1]}", 413),
        (b'{"timeout": NaN}', 422),
        (b'{"seq_id": ' + b"1" * 5000 + b"}", 422),
        (b'"' + b"\\" * 1_000_001, 422),
        (b'{"a": "' + b"b" * (24 * MIB) + b'"}', 413),
    ],
    ids=range(12),
)
def test_bodies_are_bounded(server, data, status):
    """A body that is nested deeply, has very many values, or is large is refused; brackets in texts do not count."""
    url = server.url + "/api/v1/"
    assert requests.post(url + "create_session", data=data, headers=JSON, timeout=30).status_code == status
    if status != 200:
        assert requests.post(url + "asample", data=data, headers=JSON, timeout=30).status_code == status


def test_a_body_of_no_announced_length_is_bounded(server):
    """So is one that comes in chunks."""
    pieces = (b"[" * MIB for _ in range(25))
    answer = requests.post(server.url + "/api/v1/create_session", data=pieces, headers=JSON, timeout=30)
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/api/v1/healthz", "/api/v1/get_server_capabilities", CONTROL])
def test_other_hosts_are_refused(server, path):
    """No endpoint answers to another host's name, or to a page of another host."""
    url = server.url + path
    assert requests.get(url, headers={"Host": "evil.example"}, timeout=5).status_code == 403
    assert requests.get(url, headers={"Origin": "https://evil.example"}, timeout=5).status_code == 403


def test_bodies_that_a_page_could_send_are_refused(server):
    """What a page can send without asking first has no effect."""
    before = len(state(server).sessions)
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {**JSON, "Content-Type": kind}
        answer = requests.post(server.url + "/api/v1/create_session", data=b"{}", headers=headers, timeout=5)
        assert answer.status_code == 415
    assert len(state(server).sessions) == before


def test_the_control_endpoint_needs_its_key(server):
    """A server in this process has no control endpoint, and one in another process obeys those who have its key."""
    command = {"command": "fail_next", "arguments": ["asample"]}
    assert requests.get(server.url + CONTROL, timeout=5).status_code == 404
    assert requests.post(server.url + CONTROL, json=command, headers={CONTROL_KEY: ""}, timeout=5).status_code == 404
    with FakeServer(_control_key="right") as fake:
        url = fake.url + CONTROL
        for key in (None, "", "wrong"):
            headers = {} if key is None else {CONTROL_KEY: key}
            assert requests.post(url, json=command, headers=headers, timeout=5).status_code == 404
        right = {CONTROL_KEY: "right"}
        assert requests.post(url, json=command, headers=right, timeout=5).json() == {}
        assert requests.post(url, json={"command": ["hold"]}, headers=right, timeout=5).status_code == 404
        assert requests.post(url, data=b"[" * 100, headers={**JSON, **right}, timeout=5).status_code == 422
        assert requests.get(url, headers=right, timeout=5).json()["requests"] == []


@pytest.mark.slow
def test_a_server_process_is_told_its_key_in_private():
    """The key of a server's process stands neither in its command line nor in its output."""
    with FakeServerProcess() as process:
        process.do("fail_next", "healthz", status=418)
        assert requests.get(process.url + "/api/v1/healthz", timeout=5).status_code == 418
        assert process._control_key not in json.dumps(process._command)
        assert [request.endpoint for request in process.requests] == ["healthz"]


def test_names_that_a_server_is_given():
    """A server can be told other names to answer to."""
    with FakeServer(hosts=["tinker.example"]) as server:
        url = server.url + "/api/v1/healthz"
        assert requests.get(url, headers={"Host": "tinker.example:80"}, timeout=5).status_code == 200
        assert requests.get(url, headers={"Host": "evil.example"}, timeout=5).status_code == 403
