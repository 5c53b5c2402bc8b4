"""What the server is told: in batches, never in anybody's way, and never a key or a prompt."""

from __future__ import annotations

import threading

import pytest
from resting import rest
from serving import KEY, MODEL, PARAMS, advance_until, make_service, sampling, until

import tinkex
from tinkex.testing import FakeServer, ManualClock

SECRET_PROMPT = [31_337, 31_338, 31_339]


@pytest.fixture
def server():
    """A strict server, which also looks for keys in telemetry."""
    with FakeServer(strict=True) as fake:
        yield fake
        assert not fake.violations


def events(server):
    """Everything that was told so far."""
    return [event for request in server.requests_to("telemetry") for event in request.json["events"]]


def kinds(server):
    """What sort of events those were."""
    return [event["event"] for event in events(server)]


def test_start_and_end(server):
    """A session's start and end are told, in one numbered series, with its duration."""
    with sampling(server, telemetry=True):
        pass
    assert kinds(server) == ["SESSION_START", "SESSION_END"]
    start, end = events(server)
    assert [start["event_session_index"], end["event_session_index"]] == [0, 1]
    assert start["event_id"] != end["event_id"]
    assert start["timestamp"].endswith("Z")
    assert end["duration"].startswith("0:00:0")
    batch = server.requests_to("telemetry")[0].json
    assert batch["session_id"] == server.requests_to("create_sampling_session")[0].json["session_id"]
    assert batch["sdk_version"] == "0.38.0"
    assert batch["platform"]
    assert batch["process_uuid"]


def test_batches_wait_ten_seconds(server):
    """What happens is sent ten seconds after the first of it, not at once."""
    clock = ManualClock()
    with sampling(server, clock=clock, telemetry=True) as client:
        clock.advance(9.0)
        client.service.get_server_capabilities()
        assert server.counts["telemetry"] == 0
        advance_until(clock, lambda: server.counts["telemetry"] == 1)
        assert kinds(server) == ["SESSION_START"]
        client.service.get_telemetry().log("mine", {"n": 1})
        advance_until(clock, lambda: server.counts["telemetry"] == 2)
        assert kinds(server)[1:] == ["GENERIC_EVENT"]


def test_a_failed_post_silences_nothing(server):
    """What a post that failed leaves behind is sent ten seconds later, and so is what comes after it."""
    clock = ManualClock()
    with sampling(server, clock=clock, telemetry=True) as client:
        telemetry = client.service.get_telemetry()
        server.fault("telemetry", "reset", times=1)
        for number in range(250):
            telemetry.log("mine", {"n": number})
        advance_until(clock, lambda: not telemetry.pending)
        posted = server.counts["telemetry"]
        telemetry.log("later", {})
        advance_until(clock, lambda: server.counts["telemetry"] > posted)
        assert [event["event_name"] for event in events(server) if event["event"] == "GENERIC_EVENT"][-1] == "later"


def test_batches_are_bounded(server):
    """No batch has more than a hundred events."""
    with sampling(server, telemetry=True) as client:
        for number in range(250):
            client.service.get_telemetry().log("mine", {"n": number})
    sizes = [len(request.json["events"]) for request in server.requests_to("telemetry")]
    assert sizes == [100, 100, 52]


def test_failures_are_told(server):
    """A failure of the server is an exception, one of the user a warning; neither holds the key or the prompt."""
    with sampling(server, telemetry=True) as client:
        server.fail_samples(f"broken for {KEY}", category="server")
        client.sample(SECRET_PROMPT, PARAMS).exception(5)
        server.fail_samples("your fault", category="user")
        client.sample(SECRET_PROMPT, PARAMS).exception(5)
        client.sample(SECRET_PROMPT, PARAMS).result(5)
    assert kinds(server) == ["SESSION_START", "UNHANDLED_EXCEPTION", "GENERIC_EVENT", "SESSION_END"]
    _, broken, fault, _ = events(server)
    assert (broken["severity"], broken["error_type"]) == ("ERROR", "RequestFailedError")
    assert (fault["severity"], fault["event_name"]) == ("WARNING", "user_error")
    told = b"".join(request.body for request in server.requests_to("telemetry"))
    assert KEY.encode() not in told
    assert b"31337" not in told
    assert b"31338" not in told


def test_cancels_and_deadlines_are_no_failures(server):
    """What the caller gave up is not told as an error."""
    with sampling(server, telemetry=True) as client:
        server.hold()
        future = client.sample(SECRET_PROMPT, PARAMS)
        server.wait_for("retrieve_future")
        future.cancel()
        until(lambda: client.service.stats().in_flight == 0)
    assert kinds(server) == ["SESSION_START", "SESSION_END"]


def test_turned_off(server, monkeypatch):
    """TINKER_TELEMETRY=0 turns it off, and so does the setting."""
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    with tinkex.ServiceClient(base_url=server.url, api_key=KEY) as service:
        client = service.create_sampling_client(base_model=MODEL)
        assert service.get_telemetry() is None
        assert client.get_telemetry() is None
        client.sample(SECRET_PROMPT, PARAMS).result(5)
    monkeypatch.delenv("TINKER_TELEMETRY")
    with sampling(server, telemetry=False):
        pass
    assert server.counts["telemetry"] == 0


def test_turned_off_on_the_way(server):
    """After reconfigure(telemetry=False) nothing more is sent."""
    with sampling(server, telemetry=True) as client:
        assert client.service.get_telemetry() is client.get_telemetry() is not None
        client.service.reconfigure(telemetry=False)
        server.fail_samples("broken", category="server")
        client.sample(SECRET_PROMPT, PARAMS).exception(5)
    assert server.counts["telemetry"] == 0


def test_before_the_session(server):
    """There is no reporter before the session."""
    with make_service(server, telemetry=True) as service:
        assert service.get_telemetry() is None


@pytest.mark.parametrize("trouble", ["reset", "garbage"])
def test_trouble_is_nobodys_concern(server, trouble):
    """A telemetry endpoint that fails loses a batch and nothing else."""
    server.fault("telemetry", trouble, times=None)
    with sampling(server, telemetry=True) as client:
        assert client.sample(SECRET_PROMPT, PARAMS).result(5)
        client.service.get_telemetry().log("mine")
    assert server.counts["finish"] == 1


def test_telemetry_that_hangs(server):
    """A telemetry endpoint that never answers delays no sample, and a close by a second."""
    server.fault("telemetry", "hang", times=None)
    clock = ManualClock()
    service = make_service(server, telemetry=True, clock=clock)
    client = service.create_sampling_client(base_model=MODEL)
    advance_until(clock, lambda: server.counts["telemetry"] == 1)
    assert client.sample(SECRET_PROMPT, PARAMS).result(5)
    closing = threading.Thread(target=service.close)
    closing.start()
    server.wait_for("finish")
    rest()
    clock.advance(0.9)
    rest()
    assert closing.is_alive()
    clock.advance(0.2)
    closing.join(10)
    assert not closing.is_alive()


def test_one_start_for_many_clients(server):
    """However many sampling clients there are, the session starts once."""
    with make_service(server, telemetry=True) as service:
        futures = [service.create_sampling_client_async(base_model=MODEL) for _ in range(20)]
        assert all(future.result(5) for future in futures)
    assert kinds(server) == ["SESSION_START", "SESSION_END"]
