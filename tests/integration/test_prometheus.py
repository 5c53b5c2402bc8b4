"""What a scrape finds of the samples of one process."""

from __future__ import annotations

import pytest
from serving import KEY, MODEL, PARAMS, make_service, until

import tinkex
from tinkex.testing import FakeServer

prometheus_client = pytest.importorskip("prometheus_client")
from tinkex import prometheus  # noqa: E402 - it needs the library


@pytest.fixture
def server():
    """A server that answers at once."""
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def registry():
    """A registry with nothing else in it."""
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def make_client(server, registry):
    """Make a client whose samples are counted."""
    services = []

    def make_client(**settings):
        services.append(make_service(server, **settings))
        prometheus.instrument(services[-1], registry=registry)
        return services[-1].create_sampling_client(base_model=MODEL)

    yield make_client
    server.release()
    for service in services:
        service.close(timeout=0.0, cancel_pending=True)


@pytest.fixture
def value(registry):
    """The value of a metric; None where there is none."""

    def value(name, **labels):
        return registry.get_sample_value(f"tinkex_{name}", labels)

    return value


def test_samples_by_outcome(make_client, value, server):
    """Results, errors by their kind, and cancelled samples are counted apart, with the time they took."""
    client = make_client()
    client.sample([1], PARAMS).result(10)
    server.fail_next("asample", 422)
    client.sample([1], PARAMS).exception(10)
    server.hold()
    client.sample([1], PARAMS).cancel()
    client.sample([1], PARAMS, timeout=0.01).exception(10)
    ended = {
        ("completed", ""): 1.0, ("failed", "422"): 1.0, ("cancelled", "CancelledError"): 1.0,
        ("failed", "SampleTimeoutError"): 1.0,
    }  # fmt: skip
    found = {key: value("samples_ended_total", outcome=key[0], error=key[1]) for key in ended}
    assert found == ended
    counts = [value("sample_seconds_count", outcome=name) for name in ("completed", "failed", "cancelled")]
    assert counts == [1, 2, 1]


def test_tokens_and_phases(make_client, value):
    """Tokens by kind and model; each phase of a completed sample in a histogram."""
    client = make_client()
    responses = [client.sample([1, 2, 3], PARAMS, num_samples=2).result(10) for _ in range(2)]
    usages = [response.usage for response in responses]
    assert value("tokens_total", kind="prompt", model=MODEL) == 6
    assert value("tokens_total", kind="sampled", model=MODEL) == sum(usage.sampled_tokens for usage in usages)
    assert value("tokens_total", kind="cached", model=MODEL) == sum(usage.prompt_cache_hit_tokens for usage in usages)
    for phase in ("queued", "submit", "wait", "fetch"):
        assert value("phase_seconds_count", phase=phase) == 2
        total = sum(getattr(response.timing, phase) for response in responses)
        assert value("phase_seconds_sum", phase=phase) == pytest.approx(total)


def test_retries_and_pauses_by_cause(make_client, value, server):
    """What a sample goes on after is counted by its cause, failures apart from pauses."""
    server.fail_next("asample", 503)
    server.fail_next("asample", 429, headers={"Retry-After": "0.01"})
    server.fail_next("retrieve_future", 502)
    make_client().sample([1], PARAMS).result(20)
    assert value("retries_total", cause="503") == 1
    assert value("retries_total", cause="502") == 1
    assert value("pauses_total", cause="429") == 1
    assert value("samples_ended_total", outcome="completed", error="") == 1


def test_what_is_the_case_now(make_client, value, server):
    """Samples in flight, queued and by phase, open connections and threads, as at the moment of the scrape."""
    client = make_client(max_in_flight=2)
    server.hold()
    futures = [client.sample([1], PARAMS) for _ in range(5)]
    until(lambda: [future.phase for future in futures].count("waiting") == 2)
    assert (value("in_flight"), value("samples", phase="queued"), value("samples", phase="waiting")) == (2, 3, 2)
    assert value("samples", phase="fetching") == 0
    assert value("connections") >= 1
    assert value("threads") >= 3
    assert value("unhealthy", state="unreachable") == 0
    server.release()
    for future in futures:
        future.result(10)
    until(lambda: value("in_flight") == 0)
    assert value("samples_ended_total", outcome="completed", error="") == 5


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (429, {"detail": "slow down"}, "rate_limit"),
        (429, {"queue_state": "paused_capacity"}, "capacity"),
        (429, {"queue_state": "resting"}, "unknown"),
        (402, {"detail": "pay"}, "billing"),
    ],
)
def test_paused_and_why(make_client, value, server, status, body, cause):
    """A pause is shown with its cause, in one of four words, and how long it still takes."""
    server.fail_next("asample", status, body=body, headers={"Retry-After": "60"})
    client = make_client()
    assert [value("paused", cause=each) for each in prometheus._CAUSES] == [0, 0, 0, 0]
    client.sample([1], PARAMS)
    until(lambda: value("paused", cause=cause) == 1)
    assert sum(value("paused", cause=each) for each in prometheus._CAUSES) == 1
    assert 1 < value("paused_seconds") < 80
    until(lambda: value("samples", phase="retrying") == 1)


def test_several_services(make_client, value, server):
    """Those that share a registry are counted together; one that is closed, or gone, is not shown any more."""
    one, other = make_client(), make_client()
    one.sample([1], PARAMS).result(10)
    other.sample([1], PARAMS).result(10)
    assert value("samples_ended_total", outcome="completed", error="") == 2
    threads = value("threads")
    other._lifecycle.close(0.0, cancel_pending=True, reason="success")
    assert 0 < value("threads") < threads
    assert [value("unhealthy", state=state) for state in prometheus._STATES] == [0] * 5


def test_a_server_that_cannot_be_reached(registry, value):
    """Is shown before anything was sampled."""
    retry = tinkex.RetryConfig(max_attempts=1)
    config = tinkex.ClientConfig(retry=retry, telemetry=False, reach_timeout=0.1)
    with tinkex.ServiceClient(base_url="http://127.0.0.1:9", api_key=KEY, config=config) as service:
        prometheus.instrument(service, registry=registry)
        assert value("unhealthy", state="unreachable") == 0
        with pytest.raises(tinkex.APIConnectionError):
            service.create_sampling_client(base_model=MODEL)
        assert value("unhealthy", state="unreachable") == 1


def test_the_whole_process(server, registry, value):
    """Without a service, those of the process are counted as they sample; asking twice counts nothing twice."""
    for _ in range(2):
        prometheus.instrument(registry=registry)
    try:
        with make_service(server) as service:
            client = service.create_sampling_client(base_model=MODEL)
            client.sample([1], PARAMS).result(10)
            assert value("threads") >= 3
            prometheus.uninstrument(registry=registry)
            client.sample([1], PARAMS).result(10)
    finally:
        prometheus.uninstrument(registry=registry)
    assert value("samples_ended_total", outcome="completed", error="") == 1


def test_many_samples(make_client, value):
    """Counts of samples that end at the same time, on several threads, add up, also while they are scraped."""
    results = make_client(workers=4).sample_many([[1]] * 100, PARAMS, max_in_flight=50)
    shown = [value("samples_ended_total", outcome="completed", error="") for _ in results]
    assert shown == sorted(shown)
    assert value("samples_ended_total", outcome="completed", error="") == 100
    assert value("tokens_total", kind="prompt", model=MODEL) == 100


def test_wrong_arguments(registry):
    """They are refused by name, and nothing is counted."""
    for name in ("service", "registry"):
        with pytest.raises(TypeError, match=f"{name} must be a .*, not int"):
            prometheus.instrument(**{"registry": registry, name: 5})
