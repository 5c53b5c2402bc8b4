"""The session of a service: begun once, told what the server wants, kept alive."""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from serving import MODEL, PARAMS, PROMPT, advance_until, make_service, result_of, sampling, until

import tinkex
from tinkex._api import limits
from tinkex._api.flags import Flags
from tinkex.testing import FakeServer, Fault, ManualClock


@pytest.fixture
def server():
    """A strict server."""
    with FakeServer(strict=True) as fake:
        yield fake
        assert not fake.violations


def test_one_session_a_service(server):
    """However many threads make clients, there is one start-up and one session, and each client has a number."""
    service = make_service(server)
    clients = []
    threads = [
        threading.Thread(target=lambda: clients.append(service.create_sampling_client(base_model=MODEL)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    service.close()
    assert len({client.sampling_session_id for client in clients}) == 8
    for endpoint in ("client/config", "client/dynamic_config", "create_session"):
        assert server.counts[endpoint] == 1
    numbers = [request.json["sampling_session_seq_id"] for request in server.requests_to("create_sampling_session")]
    assert sorted(numbers) == list(range(8))


def test_nothing_is_sent_before_the_first_use(server):
    """Making and closing a service that nobody used sends nothing."""
    make_service(server).close()
    assert not server.requests


def test_start_up_in_order(server):
    """Flags first, then the session, then the sampling session, with a version that the server knows."""
    with sampling(server):
        first = [request.endpoint for request in server.requests[:4]]
    assert first == ["client/config", "client/dynamic_config", "create_session", "create_sampling_session"]
    assert server.requests[0].json == {"sdk_version": "0.38.0"}


def test_what_a_session_is_filed_under(server):
    """Tags, metadata, project and name go into create_session; without tags there is one of ours."""
    service = tinkex.ServiceClient(
        base_url=server.url,
        api_key="tml-x",
        config=tinkex.ClientConfig(tags=("a", "b"), telemetry=False),
        user_metadata={"run": 3},
        project_id="p1",
        display_name="mine",
    )
    with service, make_service(server) as plain:
        for each in (service, plain):
            each.create_sampling_client(base_model=MODEL)
    full, bare = (request.json for request in server.requests_to("create_session"))
    assert (full["tags"], full["user_metadata"], full["project_id"], full["display_name"]) == (
        ["a", "b"], {"run": 3}, "p1", "mine",
    )  # fmt: skip
    assert (bare["tags"], bare["user_metadata"]) == (["tinkex-python"], {})
    assert not {"project_id", "display_name"} & bare.keys()


def test_failed_start_is_not_kept(server):
    """A start-up that failed is made again by the next who needs it."""
    server.fail_next("create_session", 403, {"detail": "not you"})
    with make_service(server) as service:
        with pytest.raises(tinkex.PermissionDeniedError, match="not you"):
            service.create_sampling_client(base_model=MODEL)
        assert service.create_sampling_client(base_model=MODEL)
        assert server.counts["client/config"] == 1


def test_start_up_is_tried_again(server):
    """Start-up calls meet trouble as samples do: again, under the retry settings, with one idempotency key a call."""
    for endpoint in ("client/config", "client/dynamic_config", "create_session", "create_sampling_session"):
        server.script(endpoint, Fault("status", 503), Fault("reset"), None)
    with sampling(server) as client:
        assert client.sample(PROMPT, PARAMS).result(5)
    assert server.counts["create_session"] == 3


def test_the_servers_messages_are_logged(server, caplog):
    """What the server says at the start of a session is logged at the level it belongs to."""
    caplog.set_level(logging.INFO, "tinkex")
    body = {"session_id": "s1", "info_message": "hello", "warning_message": "soon", "error_message": "oh\nno"}
    server.fail_next("create_session", 200, body)
    service = make_service(server)
    service.create_sampling_client(base_model=MODEL)  # in another session, since the server does not know that one
    service.close()
    said = [(r.levelname, r.getMessage()) for r in caplog.records if "The server says" in r.getMessage()]
    assert said == [
        ("INFO", "The server says: hello"),
        ("WARNING", "The server says: soon"),
        ("ERROR", "The server says: oh no"),
    ]


@pytest.mark.parametrize("body", [{}, {"session_id": ""}, {"session_id": None}, {"session_id": [1]}])
def test_answer_without_a_session(server, body):
    """An answer that names no session is an error that says so."""
    server.fail_next("create_session", 200, body)
    with make_service(server) as service, pytest.raises(tinkex.APIResponseError, match="session_id"):
        service.create_sampling_client(base_model=MODEL)


# Heartbeats


def test_heartbeats(server):
    """The session is kept alive every ten seconds, and stats tell when that last worked."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        assert client.service.stats().last_heartbeat == 0.0
        clock.advance(9.9)
        client.service.get_server_capabilities()
        assert server.counts["session_heartbeat"] == 0
        advance_until(clock, lambda: server.counts["session_heartbeat"] == 4, step=2.0)
        assert 38 <= clock.monotonic() <= 60
        until(lambda: client.service.stats().last_heartbeat < 9.0)
        session_id = server.requests_to("session_heartbeat")[0].json["session_id"]
        assert client.sampling_session_id.startswith(session_id)


def test_heartbeat_of_a_finished_session(server, caplog):
    """A 410 stops the heartbeat for good, with a line at INFO and no warning."""
    caplog.set_level(logging.INFO, "tinkex")
    clock = ManualClock()
    with sampling(server, clock=clock):
        server.fail_next("session_heartbeat", 410, {"detail": "finished"})
        clock.advance(10.0)
        until(lambda: "its heartbeat stops" in caplog.text)
        for _ in range(20):
            clock.advance(10.0)
        assert server.counts["session_heartbeat"] == 1
    assert {record.levelname for record in caplog.records} == {"INFO"}


@pytest.mark.thin(2)
@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (500, "who?")])
def test_heartbeats_that_fail(server, caplog, status, words):
    """They go on; only after 120 s without success is there a warning, at each further failure, and health says why."""
    caplog.set_level(logging.INFO, "tinkex")
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        plan = server.fail_next("session_heartbeat", status, {"detail": words}, times=None)
        advance_until(clock, lambda: warnings(caplog), step=2.5)
        assert 120 < clock.monotonic() <= 145
        assert server.counts["session_heartbeat"] >= 10
        assert re.match(r"No heartbeat of session session-1 was confirmed for 1[2-4]\d s; ", warnings(caplog)[0])
        advance_until(clock, lambda: len(warnings(caplog)) == 2, step=2.5)
        assert 130 < clock.monotonic() <= 160
        health = client.service.health()
        assert (health.state, words in health.reason, str(status) in health.reason) == ("silent", True, True)
        plan.cancel()
        advance_until(clock, lambda: client.service.health().ok, step=1.0)
    assert len(warnings(caplog)) == 2


def warnings(caplog):
    """What was logged as a warning."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_what_goes_on_whatever_an_adapter_raises(server):
    """Heartbeats, and looks at the flags, do not end with an error that nobody expected."""
    failures = Counter()

    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, request, *arguments, **options):
            endpoint = request.url.rpartition("/")[2]
            failures[endpoint] += 1
            if endpoint == "session_heartbeat" and failures[endpoint] == 1:
                raise RuntimeError("no thread")
            if endpoint == "dynamic_config" and failures[endpoint] == 2:
                raise RuntimeError("no thread")
            return super().send(request, *arguments, **options)

    clock = ManualClock()
    with sampling(server, clock=clock, adapter=Adapter()):
        advance_until(clock, lambda: server.counts["session_heartbeat"] >= 2, step=1.0)
        advance_until(clock, lambda: server.counts["client/dynamic_config"] >= 2, step=20.0)
    assert failures["dynamic_config"] >= 3


def test_heartbeats_of_a_clone():
    """Who is attached to a session that somebody else began keeps it alive too, under the server's flags."""
    clock = ManualClock()
    with FakeServer(strict=True, jwt=True) as fake, sampling(fake) as maker, make_service(fake, clock=clock) as service:
        service._lifecycle.start().session.heartbeats.keep_alive(
            fake.requests_to("create_sampling_session")[0].json["session_id"]
        )
        client = service.create_sampling_client(sampling_session_id=maker.sampling_session_id)
        advance_until(clock, lambda: fake.counts["session_heartbeat"] >= 2, step=1.0)
        assert {request.status for request in fake.requests_to("session_heartbeat")} <= {200, None}
        assert fake.counts["create_session"] == 1
        assert client.sampling_session_id == maker.sampling_session_id


def test_health_without_heartbeats(server):
    """A service whose heartbeats have gone unanswered for two minutes is not healthy, nor is a closed one."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        clock.advance(10.0)
        until(lambda: client.service.stats().last_heartbeat == 0.0)
        assert client.service.health().ok
        server.fail_next("session_heartbeat", 500, times=None)
        clock.advance(121.0)
        server.wait_for("session_heartbeat", 2)
        health = client.service.health()
        assert not health.ok
        assert "121 s" in health.reason
    assert not client.service.health().ok


# Flags


def test_flags_are_refreshed(server):
    """The dynamic flags are asked for again at the server's interval; a failure leaves the last known ones."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        flags = client.service._lifecycle.runtime.session.flags
        answers = [
            (200, {"sample_cancel_enabled": True, "refresh_interval_sec": 20, "unknown": 1}, True),
            (500, {"sample_cancel_enabled": False}, True),
            (200, "garbage", True),
            (200, {"sample_cancel_enabled": "no", "refresh_interval_sec": 0}, True),
            (200, {"sample_cancel_enabled": False}, False),
        ]
        for number, (status, body, expected) in enumerate(answers):
            server.fail_next("client/dynamic_config", status, body)
            asked = server.counts["client/dynamic_config"]
            advance_until(clock, lambda asked=asked: server.counts["client/dynamic_config"] > asked, step=5.0)
            client.service.get_server_capabilities()
            until(lambda expected=expected: flags.current.sample_cancel_enabled is expected)
            if number == 0:
                assert 300 <= clock.monotonic() <= 310
        assert clock.monotonic() <= 310 + 3 * 25 + 20  # an interval of 0 is taken as 10 s


def test_flags_that_do_not_come_again(server):
    """A dynamic_config that is gone is not asked for any more."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.fail_next("client/dynamic_config", 404, times=None)
        for asked in (2, 2, 2):
            clock.advance(300.1)
            server.wait_for("client/dynamic_config", asked)
            client.service.get_server_capabilities()
        assert server.counts["client/dynamic_config"] == 2


@pytest.mark.parametrize("status", [404, 405])
def test_servers_without_flags(status):
    """Where there are no flags the defaults hold."""
    with FakeServer() as fake:
        fake.fail_next("client/config", status, times=None)
        fake.fail_next("client/dynamic_config", status, times=None)
        with sampling(fake) as client:
            assert client.sample(PROMPT, PARAMS).result(5)
            assert vars(client.service._lifecycle.runtime.session.flags.current) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=2)
)


@given(st.dictionaries(st.sampled_from([*Flags.__annotations__, "odd"]), JSON))
def test_flags_take_what_makes_sense(answer):
    """Whatever the server sends, a flag keeps its type, and numbers are finite and within their limits."""
    before = Flags()
    after = before.updated(answer)
    for name in Flags.__annotations__:
        value, default = getattr(after, name), getattr(before, name)
        assert isinstance(value, bool) is isinstance(default, bool)
        assert isinstance(value, str) is isinstance(default, str)
        if not isinstance(value, str):
            assert 0 <= value < float("inf")
        limit = limits.FLAGS.get(name)
        assert value == default or value == (answer[name] if limit is None else limit.apply(answer[name]))
        assert limit is None or limit.floor <= value <= limit.ceiling


def test_flags_that_are_cut_to_their_limits():
    """A number that makes sense and is beyond its limit is the limit."""
    flags = Flags().updated({"refresh_interval_sec": 10**15, "sample_cancel_max_batch_size": 0})
    assert (flags.refresh_interval_sec, flags.sample_cancel_max_batch_size) == (3600, 1)


def test_server_limits_what_is_in_flight():
    """The server's limit holds if it is less than ours."""
    with (
        FakeServer(client_config={"sample_max_concurrent_requests": 2}) as fake,
        sampling(fake, max_in_flight=5) as client,
    ):
        fake.hold()
        futures = [client.sample(PROMPT, PARAMS) for _ in range(6)]
        fake.wait_for("retrieve_future", 2)
        client.service.get_server_capabilities()
        assert fake.counts["asample"] == 2
        fake.release()
        assert all(future.result(5) for future in futures)


# A sampling session that comes as a future


def test_sampling_session_as_a_future():
    """A promise of a sampling session is redeemed, through pauses, lost connections and timeouts."""
    clock = ManualClock()
    with FakeServer(session_future=True, strict=True) as fake:
        pending = {"type": "try_again", "queue_state": "active"}
        faults = [Fault("status", 200, body=pending), Fault("status", 408), Fault("status", 503), Fault("reset")]
        fake.script("retrieve_future", *faults, Fault("hang"), None)
        service = make_service(fake, clock=clock, poll_timeout=5.0)
        client = result_of(service.create_sampling_client_async(base_model=MODEL), clock)
        assert ":sampler:" in client.sampling_session_id
        assert result_of(client.sample(PROMPT, PARAMS), clock)
        accepted = [request.headers["Accept"] for request in fake.requests_to("retrieve_future")]
        assert accepted[-1] == "application/x-protobuf"
        assert set(accepted[:-1]) == {"application/json"}
        service.close(0.0, cancel_pending=True)


def test_sampling_session_that_fails_later():
    """A promise that ends in a failure is an error with the server's words."""
    with FakeServer(session_future=True) as fake, make_service(fake) as service:
        body = {"type": "request_failed", "error": "no such model", "category": "user_error"}
        fake.fail_next("retrieve_future", 200, body)
        with pytest.raises(tinkex.RequestFailedError, match="no such model") as caught:
            service.create_sampling_client(base_model=MODEL)
        assert caught.value.category == "user"
        fake.fail_next("retrieve_future", 400, {"detail": "worse"})
        with pytest.raises(tinkex.BadRequestError, match="worse"):
            service.create_sampling_client(base_model=MODEL)
