from __future__ import annotations

import attrs
import pytest
from serving import sampling, until

import tinkex
from tinkex.testing import FakeServer, ManualClock
from tinkex.testing._faults.kinds import KINDS

PARAMS = tinkex.SamplingParams(max_tokens=4)
SETTINGS = tinkex.ClientConfig(
    telemetry=False,
    request_timeout=0.3,
    poll_timeout=0.3,
    max_response_bytes=2**20,
    min_poll_interval=0.01,
    retry=tinkex.RetryConfig(max_attempts=5, base_delay=0.01, max_delay=0.02),
)
ENDPOINTS = ("asample", "retrieve_future")
# Answers that cannot be read: a submission ends with one, a poll is asked again.
UNREADABLE = {"endless", "huge_length", "bad_length", "huge_header", "garbage", "truncated", "not_http", "bad_gzip"}
UNREADABLE |= {"gzip_bomb"}


@pytest.fixture(scope="module")
def server():
    """One server for all: its faults are taken back after each test."""
    with FakeServer(long_poll=5.0) as fake:
        yield fake


@pytest.fixture
def client(server):
    """A client that gives up soon."""
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=SETTINGS) as service:
        yield service.create_sampling_client(base_model="fake/model")
        server.clear()


def options(kind):
    """So that a fault takes longer than the client waits, or is larger than it takes."""
    slow = {"drip": 0.001, "delay": 0.05, "late": 0.05}
    return {"seconds": slow[kind]} if kind in slow else {"size": 2**22} if kind == "gzip_bomb" else {}


@pytest.mark.thin(9)
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"status"}))
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_fault_that_comes_once(server, client, endpoint, kind):
    """It ends in the right result, asked for again where that is safe, or in an error that says what may have run."""
    client.sample([1, 2], PARAMS).result(5)  # so that the fault meets a reused connection
    server.fault(endpoint, kind, **options(kind))
    future = client.sample([1, 2, 3], PARAMS, timeout=5)
    if endpoint == "retrieve_future" or kind not in UNREADABLE:
        assert len(future.result(6).sequences[0].tokens) == 4
        return
    with pytest.raises(tinkex.APIResponseError) as caught:
        future.result(6)
    assert caught.value.may_have_run
    assert caught.value.phase == "submitting"


@pytest.mark.parametrize("kind", ["reset", "close"])
def test_connections_that_are_refused_once(server, kind):
    """A connection that ends as soon as it is made costs an attempt, no more."""
    server.fault("connect", kind, times=2)
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=SETTINGS) as service:
        client = service.create_sampling_client(base_model="fake/model", timeout=5)
        assert len(client.sample([1], PARAMS).result(5).sequences) == 1


@pytest.mark.slow
def test_a_connection_that_is_silent(server):
    """A server that accepts and says nothing ends in APITimeoutError, after the attempts."""
    plan = server.fault("connect", "hang", times=None)
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=SETTINGS) as service:
        with pytest.raises(tinkex.APITimeoutError):
            service.create_sampling_client(base_model="fake/model", timeout=10)
        plan.cancel()
        service.create_sampling_client(base_model="fake/model", timeout=10)


def test_a_drip_ends_with_the_deadline_and_gives_its_connection_back(server):
    """A body that comes a byte at a time holds no worker, and ends when the sample's time is over."""
    clock = ManualClock()
    with sampling(server, clock=clock, workers=1) as client:
        plan = server.fault("retrieve_future", "drip", seconds=0.05, times=None)  # also for polls that are made again
        dripping = [client.sample([1, 2], PARAMS, timeout=2) for _ in range(20)]
        server.wait_for("retrieve_future", 20)
        assert client.service.get_server_capabilities()
        assert not any(future.done() for future in dripping)
        clock.advance(2.0)
        for future in dripping:
            with pytest.raises(tinkex.SampleTimeoutError):
                future.result(10)
        plan.cancel()
        until(lambda: client.service.stats().in_flight == 0)
    server.clear()


def test_the_error_of_a_size_names_the_setting(server, client):
    """An answer that announces a petabyte is refused at once, on its word alone."""
    server.fault("retrieve_future", "huge_length", times=4)
    with pytest.raises(tinkex.APIResponseError, match="max_response_bytes"):
        client.sample([1], PARAMS).result(5)


@pytest.mark.slow
def test_a_storm_of_faults_loses_and_mixes_nothing(server):
    """Of many samples under all faults that can be survived, each gets its own answer."""
    survivable = sorted(set(KINDS) - UNREADABLE - {"status", "hang", "stall", "drip"})
    patient = attrs.evolve(SETTINGS, request_timeout=20.0, poll_timeout=20.0, retry=tinkex.RetryConfig(base_delay=0.01))
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=patient) as service:
        client = service.create_sampling_client(base_model="fake/model")
        for number in range(100):
            for endpoint in ENDPOINTS:
                server.fault(endpoint, survivable[number % len(survivable)], skip=number % 3, seconds=0.01)
        futures = [client.sample([number + 1, 7], PARAMS) for number in range(200)]
        got = [future.result(30).sequences[0].tokens for future in futures]
        server.clear()
        alone = [client.sample([number + 1, 7], PARAMS) for number in range(200)]
        assert got == [future.result(30).sequences[0].tokens for future in alone]
