"""A server that was never reached, and what a service's health says before and after."""

from __future__ import annotations

import re
import socket

import pytest
from serving import MODEL, PARAMS, PROMPT, advance_until, make_service, quick_config, until

import tinkex
from tinkex import RetryConfig, ServiceClient
from tinkex.testing import FakeServer, ManualClock

STEADY = RetryConfig(max_attempts=1000, max_elapsed=200.0, base_delay=1.0, max_delay=2.0, jitter=0.0)


@pytest.fixture
def nowhere():
    """The URL of a port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def service_of(url, clock, **settings):
    """A service that tries again steadily."""
    config = quick_config(retry=STEADY, **settings)
    return ServiceClient(base_url=url, api_key="tml-key", config=config, _clock=clock)


def error_of(future, clock, step=0.5):
    """The error of a future that waits for the clock."""
    advance_until(clock, future.done, step=step)
    return future.exception()


def test_a_server_that_never_answers(nowhere):
    """It is given up after reach_timeout, whatever the retry settings; the error names address, cause and next step."""
    clock = ManualClock()
    with service_of(nowhere, clock) as service:
        error = error_of(service.create_sampling_client_async(base_model=MODEL), clock)
        assert type(error) is tinkex.APIConnectionError
        assert 10.0 <= clock.monotonic() <= 20.0
        for words in (nowhere, "refused", "Nothing was sent", "Check base_url", "reach_timeout=15"):
            assert words in str(error)
        assert error.retryable
        assert not error.may_have_run


def test_samples_of_a_server_that_never_answers(nowhere):
    """Samples of a client that only a handle brought learn it as soon."""
    clock = ManualClock()
    with service_of(nowhere, clock) as service:
        client = service.create_sampling_client(sampling_session_id="session-1:0")
        errors = [error_of(client.sample(PROMPT, PARAMS), clock) for _ in range(2)]
        assert {type(error) for error in errors} == {tinkex.APIConnectionError}
        assert clock.monotonic() <= 40.0


def test_reach_timeout_is_a_setting(nowhere):
    """Zero gives up at the first failure, infinity leaves it to the retry settings."""
    clock = ManualClock()
    with service_of(nowhere, clock, reach_timeout=0.0) as service:
        with pytest.raises(tinkex.APIConnectionError, match="refused"):
            service.create_sampling_client(base_model=MODEL)
        service.reconfigure(reach_timeout=float("inf"))
        error_of(service.create_sampling_client_async(base_model=MODEL), clock, step=5.0)
        assert 190.0 <= clock.monotonic() <= 210.0


def test_after_the_first_answer_the_retry_settings_count(monkeypatch):
    """A server that has answered and is gone is tried for as long as they say, in a forked child as well."""
    clock = ManualClock()
    with FakeServer() as fake, service_of(fake.url, clock) as service:
        service.get_server_capabilities()
        fake.fault("create_session", "reset", times=None)
        began = clock.monotonic()
        error_of(service.create_sampling_client_async(base_model=MODEL), clock, step=5.0)
        assert clock.monotonic() - began >= 190.0
        parents = service._lifecycle.runtime
        monkeypatch.setattr(parents, "forked", parents.stop)  # no fork: its threads are here
        service._lifecycle.forked()
        assert service._lifecycle.start() is not parents
        assert service._lifecycle.runtime.api.reached


def test_a_certificate_that_is_not_trusted():
    """No repetition changes that: the error comes at once."""
    with FakeServer(tls=True) as secure:
        with (
            service_of(secure.url, ManualClock()) as service,  # whose time stands still
            pytest.raises(tinkex.APIConnectionError, match="certificate verify failed") as caught,
        ):
            service.create_sampling_client(base_model=MODEL)
        assert not caught.value.retryable


def test_health_of_a_server_that_never_answers(nowhere):
    """Nothing is known before the first request, and it is not well while the server cannot be reached."""
    clock = ManualClock()
    with service_of(nowhere, clock) as service:
        assert (service.health().ok, service.health().state) == (True, "unused")
        future = service.create_sampling_client_async(base_model=MODEL)
        until(lambda: not service.health().ok)
        assert service.health().state == "unreachable"
        assert "refused" in service.health().reason
        error_of(future, clock)


def test_health_over_a_life():
    """From the first request to the last, health says what is known, and asks nobody."""
    clock = ManualClock()
    with FakeServer() as fake:
        fake.fault("create_session", "hang")
        service = make_service(fake, clock=clock)
        future = service.create_sampling_client_async(base_model=MODEL)
        fake.wait_for("create_session")
        assert service.health() == tinkex.Health(ok=True, state="starting", reason="no session yet")
        advance_until(clock, future.done, step=5.0)
        assert service.health() == tinkex.Health(ok=True)
        fake.fail_next("asample", 429, {"detail": "too many"}, {"Retry-After": "30"})
        fake.fault("asample", "hang")
        sample = future.result().sample(PROMPT, PARAMS)
        until(lambda: service.health().state == "paused")
        assert service.health().ok
        assert re.fullmatch(r"samples are paused; in 3\d s one tries again: too many", service.health().reason)
        clock.advance(service.stats().paused_for)
        fake.wait_for("asample", 2)
        assert service.health().reason == "samples are paused; one is trying again: too many"
        advance_until(clock, sample.done, step=2.0)
        fake.fail_next("session_heartbeat", 410)
        advance_until(clock, lambda: not service.health().ok, step=2.0)
        assert service.health().state == "ended"
        service.close()
        assert service.health() == tinkex.Health(ok=False, state="closed", reason="the client is closed")


@pytest.mark.parametrize(("timeout", "ok"), [(400.0, True), (200.0, False)])
def test_health_of_a_pause_that_no_sample_outlives(timeout, ok):
    """A service that is paused for longer than its samples have time is not well."""
    with FakeServer() as fake:
        service = make_service(fake, clock=ManualClock(), timeout=timeout)
        client = service.create_sampling_client(base_model=MODEL)
        fake.fail_next("asample", 429, {"detail": "too many"}, {"Retry-After": "1e12"})
        client.sample(PROMPT, PARAMS)
        until(lambda: service.health().state == "paused")
        assert service.health().ok is ok
        assert re.fullmatch(r"samples are paused; in 30\d s one tries again: too many", service.health().reason)
        service.close(0)


def test_health_of_a_refused_start():
    """A start that failed is not well until one succeeds."""
    with FakeServer() as fake, make_service(fake) as service:
        fake.fail_next("create_session", 403, {"detail": "not you"})
        with pytest.raises(tinkex.PermissionDeniedError):
            service.create_sampling_client(base_model=MODEL)
        assert not service.health().ok
        assert "not you" in service.health().reason
        service.create_sampling_client(base_model=MODEL)
        assert service.health().ok
