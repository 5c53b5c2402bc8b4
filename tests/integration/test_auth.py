"""Credentials on the wire: the key as it is, tokens made of it, commands, rotation."""

from __future__ import annotations

import threading
import time

import pytest
from serving import KEY, MODEL, PARAMS, PROMPT, advance_until, all_done, make_service, result_of, sampling, until

import tinkex
from tinkex.testing import FakeServer, ManualClock

RAW = ("client/config", "auth/token")


@pytest.fixture
def server():
    """A strict server that wants tokens."""
    with FakeServer(jwt=True, strict=True) as fake:
        yield fake
        assert not fake.violations


def keys(server, *endpoints):
    """The credentials that came with requests to some endpoints."""
    return {request.key for request in server.requests if request.endpoint in endpoints}


def real_clock():
    """A clock to move by hand that starts at today's date, as tokens are dated."""
    return ManualClock(wall=time.time())


def test_the_key_is_exchanged(server):
    """The key itself goes to client/config and auth/token only, the token everywhere else."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(5)
    assert keys(server, *RAW) == {KEY}
    (token,) = {request.key for request in server.requests if request.endpoint not in RAW}
    assert token.startswith("eyJ")
    assert server.counts["auth/token"] == 1


def test_no_exchange_without_the_flag():
    """A server that does not ask for tokens gets the key."""
    with FakeServer(require_key=KEY) as fake, sampling(fake) as client:
        client.sample(PROMPT, PARAMS).result(5)
        assert {request.key for request in fake.requests} == {KEY}
        assert fake.counts["auth/token"] == 0


def test_rejected_token_is_exchanged_once_for_all(server):
    """After a 401 with invalid_token everybody shares one exchange, and each request is replayed once."""
    with sampling(server) as client:
        server.hold()
        futures = [client.sample([n + 1], PARAMS) for n in range(10)]
        server.wait_for("retrieve_future", 10)
        server.revoke_tokens()
        server.release()
        futures += [client.sample([n + 1], PARAMS) for n in range(10)]
        all_done(futures)
        assert [future.exception() for future in futures] == [None] * 20
        assert server.counts["auth/token"] == 2


def test_token_that_is_rejected_again(server):
    """A request is replayed once only: a token that is new and refused is an error."""
    with sampling(server) as client:
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        server.fail_next("asample", 401, {"detail": "stale"}, challenge, times=None)
        with pytest.raises(tinkex.AuthenticationError, match="stale"):
            client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["asample"] == 2
        assert server.counts["auth/token"] == 2


def test_other_401s_are_final(server):
    """A 401 that does not speak of the token is an error at once."""
    with sampling(server) as client:
        server.fail_next("asample", 401, {"detail": "not you"})
        with pytest.raises(tinkex.AuthenticationError, match="not you"):
            client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["auth/token"] == 1


def test_key_that_cannot_be_exchanged(server):
    """A 401 from the exchange is raised at once, by what needed the token."""
    server.fail_next("auth/token", 401, {"detail": "unknown key"})
    with make_service(server) as service, pytest.raises(tinkex.AuthenticationError, match="unknown key"):
        service.create_sampling_client(base_model=MODEL)
    assert server.counts["auth/token"] == 1


@pytest.mark.parametrize("body", [{}, {"jwt": None}, {"jwt": ""}, {"jwt": "a\nb"}, [], "text"])
def test_exchange_for_garbage(server, body):
    """An exchange that gives no token is an error, and nothing odd gets into a header."""
    server.fail_next("auth/token", 200, body)
    with make_service(server) as service, pytest.raises(tinkex.APIResponseError):
        service.create_sampling_client(base_model=MODEL)


def test_token_is_refreshed_in_the_background():
    """Half-way through its life a token is replaced, without anybody waiting for it."""
    clock = real_clock()
    with FakeServer(jwt=True, jwt_lifetime=1000.0) as fake, sampling(fake, clock=clock) as client:
        first = fake.requests_to("create_session")[0].key
        clock.advance(449.0)
        client.service.get_server_capabilities()
        assert fake.counts["auth/token"] == 1
        clock.advance(102.0)
        fake.wait_for("auth/token", 2)
        until(lambda: client.service.get_server_capabilities() and fake.requests[-1].key != first)
        assert fake.counts["auth/token"] == 2


def test_failing_refresh(caplog):
    """A refresh that fails is tried again every minute, while the old token is used; then it is over."""
    clock = real_clock()
    with FakeServer(jwt=True, jwt_lifetime=1000.0) as fake, sampling(fake, clock=clock) as client:
        plan = fake.fail_next("auth/token", 403, {"detail": "busy"}, times=None)
        clock.advance(551.0)
        fake.wait_for("auth/token", 2)
        assert result_of(client.sample(PROMPT, PARAMS), clock, step=0.1)
        until(lambda: "could not be renewed" in caplog.text)
        for refreshes in (3, 4):
            client.service.get_server_capabilities()
            advance_until(clock, lambda n=refreshes: fake.counts["auth/token"] >= n, step=5.0)
        assert 650 <= clock.monotonic() <= 700
        plan.cancel()
        advance_until(clock, lambda: fake.counts["auth/token"] >= 5, step=5.0)
        until(lambda: len({r.key for r in fake.requests_to("auth/token")}) == 1)
        assert result_of(client.sample(PROMPT, PARAMS), clock, step=0.1)


@pytest.fixture
def last_minute(caplog):
    """A client whose token of 200 s was not refreshed; the call given last moves the clock to 55 s before its end.

    A heartbeat may be the first that finds itself in the last minute: faults are planned before the call.
    """
    clock = real_clock()
    with FakeServer(jwt=True, jwt_lifetime=200.0) as fake, sampling(fake, clock=clock) as client:
        fake.fail_next("auth/token", 403, {"detail": "not now"})
        begun = clock.monotonic()
        clock.advance(90.0)
        advance_until(clock, lambda: "not now" in caplog.text, step=0.05)  # after 90 to 110 s
        assert client.sample(PROMPT, PARAMS).result(5)  # by then the failure has been noted
        first = fake.requests_to("create_session")[0].key
        yield client, fake, clock, first, lambda: clock.advance(begun + 145.0 - clock.monotonic())


def test_token_in_its_last_minute_is_used_and_replaced_beside(last_minute):
    """In its last minute a token is still used, and one exchange for everybody runs beside the requests."""
    client, fake, clock, first, enter = last_minute
    fake.fault("auth/token", "hang")
    enter()
    all_done([client.sample(PROMPT, PARAMS) for _ in range(5)])
    assert {request.key for request in fake.requests_to("asample")} == {first}
    fake.wait_for("auth/token", 3)
    assert fake.counts["auth/token"] == 3
    clock.advance(61.0)  # now the token has ended, and the exchange that hangs is given up
    assert result_of(client.sample(PROMPT, PARAMS), clock, step=5.0)
    assert fake.requests_to("asample")[-1].key != first


def test_failing_exchange_in_the_last_minute(last_minute, caplog):
    """While the old token is good, a failing exchange delays nobody and is tried every few seconds, not every time."""
    client, fake, clock, first, enter = last_minute
    fake.fail_next("auth/token", 403, {"detail": "not today"}, times=2)
    enter()
    assert client.sample(PROMPT, PARAMS).result(5)
    until(lambda: "not today" in caplog.text)
    for _ in range(3):
        assert client.sample(PROMPT, PARAMS).result(5)
    assert fake.counts["auth/token"] == 3
    for failures in (1, 2):
        until(lambda n=failures: caplog.text.count("not today") == n)
        clock.advance(5.0)
        assert client.sample(PROMPT, PARAMS).result(5)
        fake.wait_for("auth/token", 3 + failures)
    until(lambda: client.service.get_server_capabilities() and fake.requests[-1].key != first)


@pytest.mark.parametrize("wrong_by", [-5000.0, 5000.0])
def test_wrong_date_does_not_shorten_or_lengthen_the_life_of_a_token(wrong_by):
    """A token lives as long as it says itself where this machine's date is wrong; there is no storm of exchanges."""
    clock = ManualClock(wall=time.time() + wrong_by)
    with FakeServer(jwt=True, jwt_lifetime=1000.0) as fake, sampling(fake, clock=clock) as client:
        all_done([client.sample(PROMPT, PARAMS) for _ in range(5)])
        assert fake.counts["auth/token"] == 1
        clock.advance(449.0)
        client.service.get_server_capabilities()
        assert fake.counts["auth/token"] == 1
        clock.advance(102.0)
        fake.wait_for("auth/token", 2)


# Commands


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A credential command that prints another key each time; the number of runs so far."""
    runs = tmp_path / "runs"
    runs.touch()
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo x >> {runs}; echo tml-command-$(wc -l < {runs} | tr -d ' ')")
    return lambda: len(runs.read_text().splitlines())


def test_command_runs_once_a_session(command):
    """The command is run once, however many requests there are."""
    with FakeServer() as fake, sampling(fake, api_key=None) as client:
        all_done([client.sample(PROMPT, PARAMS) for _ in range(20)])
        assert {request.key for request in fake.requests} == {"tml-command-1"}
        assert command() == 1


def test_command_runs_again_after_a_401(command):
    """A 401 is answered with what the command says now, once for everybody."""
    with FakeServer() as fake, sampling(fake, api_key=None) as client:
        fake.fail_next("asample", 401, times=None, when=lambda request: request.key == "tml-command-1")
        futures = [client.sample(PROMPT, PARAMS) for _ in range(10)]
        all_done(futures)
        assert not any(future.exception() for future in futures)
        assert command() == 2


def test_command_runs_for_each_exchange(command, server):
    """A token is made of what the command says at the time."""
    with sampling(server, api_key=None) as client:
        server.revoke_tokens()
        assert client.sample(PROMPT, PARAMS).result(5)
        assert [request.key for request in server.requests_to("auth/token")] == ["tml-command-2", "tml-command-3"]


def test_server_wants_the_command(command):
    """Where the server insists, the command goes before a key that was configured."""
    with FakeServer(client_config={"credential_default_source": "credential_cmd"}) as fake, sampling(fake) as client:
        client.sample(PROMPT, PARAMS).result(5)
        assert keys(fake, "client/config") == {KEY}
        assert keys(fake, "asample", "retrieve_future", "create_session") == {"tml-command-1"}


def test_server_wants_a_command_that_is_not_there():
    """Where the server insists and there is no command, the error says what to set."""
    with (
        FakeServer(client_config={"credential_default_source": "credential_cmd"}) as fake,
        make_service(fake) as service,
        pytest.raises(tinkex.CredentialError, match="TINKER_CREDENTIAL_CMD"),
    ):
        service.create_sampling_client(base_model=MODEL)


def test_failing_command(monkeypatch):
    """A command that fails is an error that repeats neither the command nor its output."""
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", "echo tml-secret; exit 3")
    with (
        FakeServer() as fake,
        make_service(fake, api_key=None) as service,
        pytest.raises(tinkex.CredentialError, match="status 3") as caught,
    ):
        service.create_sampling_client(base_model=MODEL)
    assert "secret" not in str(caught.value)
    assert not fake.requests


# Rotation


def test_rotation_reaches_samples_under_way():
    """A key that is rotated goes with the very next request, also of samples that began before."""
    with FakeServer(long_poll=0.0) as fake, sampling(fake, min_poll_interval=0.25) as client:
        fake.hold()
        future = client.sample(PROMPT, PARAMS)
        fake.wait_for("retrieve_future")
        client.service.reconfigure(api_key="tml-second")
        asked = fake.counts["retrieve_future"]
        fake.wait_for("retrieve_future", asked + 1)
        fake.release()
        assert future.result(5)
        assert fake.requests_to("retrieve_future")[0].key == KEY
        assert fake.requests_to("retrieve_future")[-1].key == "tml-second"


@pytest.mark.thin(2)
@pytest.mark.parametrize("changes", [{"api_key": "tml-second"}, {"default_headers": {"X-Project": "two"}}])
@pytest.mark.parametrize("status", [402, 429])
def test_rotation_ends_a_pause(status, changes):
    """What pauses the samples of one credential holds up none that is sent with another: it is tried at once."""
    with FakeServer() as server, sampling(server, clock=ManualClock(), billing_wait=1.0) as client:  # time stands still
        server.fail_next("asample", status, {"detail": "too poor"}, {"Retry-After": "1e12"})
        futures = [client.sample(PROMPT, PARAMS) for _ in range(50)]
        until(lambda: client.service.health().state == "paused")
        client.service.reconfigure(max_queued=1000, api_key=client.service.config.api_key)
        assert client.service.health().state == "paused"
        client.service.reconfigure(**changes)
        assert all(future.result(10) for future in futures)
        assert client.service.health().ok


@pytest.mark.thin(2)
@pytest.mark.parametrize("jwt", [False, True])
def test_rotation_under_load(jwt):
    """Keys rotated while a hundred samples run disturb none of them."""
    with FakeServer(jwt=jwt, latency=0.01) as fake, sampling(fake) as client:
        futures = []
        for number in range(8):
            futures += [client.sample([number + 1], PARAMS) for _ in range(13)]
            client.service.reconfigure(api_key=f"tml-rotated-{number}")
        all_done(futures)
        assert not any(future.exception() for future in futures)
        client.sample(PROMPT, PARAMS).result(5)
        last = fake.requests_to("auth/token" if jwt else "asample")[-1]
        assert last.key == "tml-rotated-7"


def test_a_rotated_key_that_is_refused_does_not_go_on_as_the_old_one():
    """After a rotation nothing is sent with the token of the key before, also where the new key gives none."""
    with FakeServer(jwt=True) as fake, sampling(fake) as client:
        client.sample(PROMPT, PARAMS).result(5)
        fake.fail_next("auth/token", 403, {"detail": "unknown key"}, times=None)
        client.service.reconfigure(api_key="tml-refused")
        sent = fake.counts["asample"]
        with pytest.raises(tinkex.PermissionDeniedError):
            client.sample(PROMPT, PARAMS).result(5)
        assert fake.counts["asample"] == sent


def test_services_do_not_share_credentials(server):
    """Services of several threads and keys in one process keep their own tokens."""
    made = [make_service(server, api_key=f"tml-service-{n}") for n in range(4)]
    results = []

    def use(service):
        client = service.create_sampling_client(base_model=MODEL)
        results.append([client.sample(PROMPT, PARAMS).result(10) for _ in range(5)])

    threads = [threading.Thread(target=use, args=(service,)) for service in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for service in made:
        service.close()
    assert len(results) == 4
    assert keys(server, "auth/token") == {f"tml-service-{n}" for n in range(4)}
    assert len(keys(server, "asample")) == 4
