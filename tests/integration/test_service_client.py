"""The service: making sampling clients, reads, settings, and how it ends."""

from __future__ import annotations

import threading

import pytest
from serving import KEY, MODEL, PARAMS, PROMPT, make_service, quick_config, sampling, until

import tinkex
from tinkex import ClientClosedError, ClientConfig, RetryConfig, ServiceClient
from tinkex.testing import FakeServer, ManualClock


@pytest.fixture
def server():
    """A strict server with one model."""
    with FakeServer(strict=True, models=[MODEL]) as fake:
        yield fake
        assert not fake.violations


@pytest.fixture
def service(server):
    """A service of it."""
    with make_service(server) as made:
        yield made


# Sampling clients


def test_base_model(service, server):
    """A base model is registered with the session under the next number."""
    client = service.create_sampling_client(base_model=MODEL)
    (request,) = server.requests_to("create_sampling_session")
    body = request.json
    body.pop("type", None)
    assert body == {"session_id": body["session_id"], "sampling_session_seq_id": 0, "base_model": MODEL}
    assert client.get_base_model() == MODEL
    assert server.counts["samplers"] == 0


def test_model_path(service, server):
    """Saved weights are named by their path; their base model is asked for when somebody wants to know."""
    client = service.create_sampling_client(model_path="tinker://run/sampler_weights/1")
    assert server.requests_to("create_sampling_session")[0].json["model_path"] == "tinker://run/sampler_weights/1"
    assert client.get_base_model() == MODEL
    assert client.get_base_model() == MODEL
    assert server.counts["samplers"] == 1
    assert "%3A" in server.requests_to("samplers")[0].path


def test_existing_sampling_session(service, server):
    """A sampling session that exists is joined as a clone: other numbers, and no session of one's own."""
    with make_service(server) as other:
        first = other.create_sampling_client(base_model=MODEL)
        second = service.create_sampling_client(sampling_session_id=first.sampling_session_id)
        assert second.sampling_session_id == first.sampling_session_id
        first.sample(PROMPT, PARAMS).result(5)
        second.sample([1], PARAMS).result(5)
        numbers = [request.json["seq_id"] for request in server.requests_to("asample")]
        assert numbers[0] == 0
        assert numbers[1] >= 1_000_000_000
        assert server.counts["create_session"] == 1


def test_clients_as_futures(service):
    """The asynchronous twins give futures of the same."""
    futures = [
        service.create_sampling_client_async(base_model=MODEL),
        tinkex.SamplingClient.create_async(service, base_model=MODEL),
    ]
    ids = {future.result(5).sampling_session_id for future in futures}
    assert len(ids) == 2


BAD = [
    ({}, ValueError, "base_model or model_path is missing"),
    ({"model_path": "/a/b"}, ValueError, "model_path must start with tinker://"),
    ({"model_path": "tinker://a/b/c", "sampling_session_id": "s"}, ValueError, "sampling_session_id and model_path"),
    ({"base_model": ""}, ValueError, "base_model"),
    ({"base_model": " "}, ValueError, "base_model"),
    ({"base_model": 5}, TypeError, "base_model"),
    ({"model_path": b"tinker://a"}, TypeError, "model_path"),
    ({"sampling_session_id": 7}, TypeError, "sampling_session_id"),
    ({"base_model": MODEL, "retry_config": {"max_attempts": 3}}, TypeError, "retry_config"),
    ({"base_model": MODEL, "record_stability_info": "yes"}, TypeError, "record_stability_info"),
    ({"base_model": MODEL, "queue_state_observer": print}, TypeError, "queue_state_observer"),
    ({"base_model": MODEL, "timeout": "5"}, TypeError, "timeout"),
    ({"base_model": MODEL, "timeout": -1}, ValueError, "timeout"),
    ({"base_model": MODEL, "timeout": True}, TypeError, "timeout"),
    ({"base_modell": MODEL}, TypeError, "base_modell"),
    ({"model_path": MODEL}, ValueError, "the name of a model is its base_model"),
    ({"base_model": "tinker://a/b/c"}, ValueError, "pass it as model_path"),
]


@pytest.mark.parametrize(("arguments", "kind", "words"), BAD)
def test_wrong_arguments(service, server, arguments, kind, words):
    """A wrong argument raises in the caller's thread, in both forms, names the field, and nothing is sent."""
    for create in (service.create_sampling_client, service.create_sampling_client_async):
        with pytest.raises(kind, match=words):
            create(**arguments)
    assert not server.requests


class Kept:
    """What a client made by `local()` keeps, as far as its model goes."""

    base_model = MODEL

    def close(self):
        """End nothing."""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"base_model": "a/b"}, f"^base_model must be '{MODEL}' here, service.local_model, not 'a/b'$"),
        ({"model_path": "tinker://a/b/c"}, "^model_path is for servers that keep weights"),
    ],
)
def test_the_wrong_model_of_a_local_server(service, server, arguments, words):
    """A client of the small model says which model it has, in the caller's thread, and nothing is sent."""
    service._reference.keeps = Kept()
    with pytest.raises(ValueError, match=words):
        service.create_sampling_client_async(**arguments)
    assert not server.requests
    service.create_sampling_client(base_model=service.local_model)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"base_url": "localhost:8000"}, ValueError, "base_url"),
        ({"base_url": "ftp://host"}, ValueError, "base_url"),
        ({"base_url": "http://"}, ValueError, "base_url"),
        ({"base_url": "http://host:port"}, ValueError, "base_url"),
        ({"api_key": "secret-without-prefix"}, ValueError, "api_key"),
        ({"api_key": 5, "base_url": "http://localhost"}, TypeError, "api_key"),
        ({"api_key": "a\nb", "base_url": "http://localhost"}, ValueError, "api_key"),
        ({"config": {"timeout": 3}}, TypeError, "config"),
        ({"observers": [print]}, TypeError, "observers"),
        ({"user_metadata": {"a": object()}}, TypeError, "user_metadata"),
        ({"project_id": 3}, TypeError, "project_id"),
    ],
)
def test_wrong_settings(arguments, kind, words):
    """A malformed key, URL or setting raises where the service is made, and the key is not repeated."""
    with pytest.raises(kind, match=words) as caught:
        ServiceClient(**{"api_key": KEY, **arguments})
    assert "secret-without-prefix" not in str(caught.value)


def test_unknown_model(service):
    """A model that the server does not have is its 404, with its words."""
    with pytest.raises(tinkex.NotFoundError, match="other/model"):
        service.create_sampling_client(base_model="other/model")


def test_create_timeout(server):
    """timeout= bounds the whole making of a client."""
    server.fault("create_session", "hang")
    with make_service(server) as service, pytest.raises(tinkex.APITimeoutError, match="create_sampling_client"):
        service.create_sampling_client(base_model=MODEL, timeout=0.05)


def test_context_length(service, server):
    """A prompt that cannot fit is refused before it is sent, once the server's capabilities are known."""
    client = service.create_sampling_client(base_model=MODEL)
    until(lambda: service._lifecycle.runtime.session.context_lengths)
    for make in (
        lambda: client.sample([1] * 32_760, tinkex.SamplingParams(max_tokens=9)),
        lambda: client.compute_logprobs([1] * 32_768),
    ):
        with pytest.raises(ValueError, match="max_tokens") as caught:
            make()
        assert "32768" in str(caught.value)
    assert server.counts["asample"] == 0
    assert client.sample([1] * 32_760, tinkex.SamplingParams(max_tokens=8)).result(5)


def test_capabilities_that_do_not_come(server):
    """A server that does not tell its capabilities is sampled from all the same."""
    server.fail_next("get_server_capabilities", 404, times=None)
    with sampling(server) as client:
        server.wait_for("get_server_capabilities")
        assert client.sample(PROMPT, PARAMS).result(5)
        with pytest.raises(tinkex.NotFoundError):
            client.service.get_server_capabilities()


def test_capabilities(service):
    """The models, with what is known of them."""
    (model,) = service.get_server_capabilities().supported_models
    assert (model.model_name, model.max_context_length) == (MODEL, 32_768)
    with pytest.raises(TypeError, match="timeout"):
        service.get_server_capabilities(timeout="1")


# Settings


def test_reconfigure(service, server):
    """Changes are published whole; a wrong one changes nothing and names the field."""
    before = service.config
    after = service.reconfigure(timeout=5.0, api_key="tml-new")
    assert service.config is after
    assert (after.timeout, before.timeout) == (5.0, 7200.0)
    for changes, kind, words in (
        ({"timeout": 1.0, "max_in_flight": 0}, ValueError, "max_in_flight"),
        ({"workers": 3}, ValueError, "workers"),
        ({"colour": 1}, TypeError, "colour"),
        ({"on_full": "drop"}, ValueError, "on_full"),
    ):
        with pytest.raises(kind, match=words):
            service.reconfigure(**changes)
    assert service.config is after


def test_raised_limits_hold_at_once():
    """More in flight and more in the queue: samples that stand in line, and callers that are blocked, go on."""
    with FakeServer() as fake, sampling(fake, max_in_flight=1, max_queued=1) as client:
        fake.hold()
        futures = [client.sample(PROMPT, PARAMS)]
        fake.wait_for("asample")
        futures.append(client.sample(PROMPT, PARAMS))
        blocked = threading.Thread(target=lambda: futures.append(client.sample(PROMPT, PARAMS)))
        blocked.start()
        until(lambda: client._lifecycle.runtime.sampling.admission._blocked)
        client.service.reconfigure(max_queued=2)
        blocked.join(10)
        assert len(futures) == 3
        client.service.reconfigure(max_in_flight=3)
        until(lambda: len(fake.requests_to("asample")) == 3)
        fake.release()
        assert all(future.result(10) for future in futures)


def test_no_reconfigure_is_lost(service):
    """Concurrent writers of different fields all get their way."""

    def change(name, values):
        for value in values:
            service.reconfigure(**{name: value})

    names = ("timeout", "poll_timeout", "request_timeout", "connect_timeout")
    threads = [threading.Thread(target=change, args=(name, range(1, 101))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {getattr(service.config, name) for name in names} == {100.0}


def test_running_samples_keep_their_settings(server):
    """A sample keeps the snapshot it began with; the next one takes the new one."""
    with FakeServer(long_poll=0.0) as fake, sampling(fake, timeout=60.0) as client:
        fake.hold()
        first = client.sample(PROMPT, PARAMS)
        client.service.reconfigure(timeout=0.05)
        second = client.sample(PROMPT, PARAMS)
        with pytest.raises(tinkex.SampleTimeoutError, match=r"0\.05"):
            second.result(5)
        assert not first.done()
        fake.release()
        assert first.result(5)


def test_slow_reconfigure_delays_no_sample(service):
    """While a writer is in the middle of a change, samples go on with the settings as they were."""
    client = service.create_sampling_client(base_model=MODEL)
    inside, leave = threading.Event(), threading.Event()

    def slowly(config):
        inside.set()
        leave.wait(10)
        raise ValueError("no")

    def write():
        with pytest.raises(ValueError, match="no"):
            service._lifecycle.config.update(slowly)

    writer = threading.Thread(target=write)
    before = service.config
    writer.start()
    inside.wait(5)
    assert client.sample(PROMPT, PARAMS).result(5)
    leave.set()
    writer.join()
    assert service.config is before


def test_settings_do_not_leak_between_services(server):
    """Limits and settings belong to one service: another one in the process is not touched."""
    with sampling(server, max_in_flight=1) as small, sampling(server) as large:
        server.hold()
        futures = [small.sample(PROMPT, PARAMS) for _ in range(3)] + [large.sample(PROMPT, PARAMS) for _ in range(3)]
        server.wait_for("retrieve_future", 4)
        assert small.service.stats().in_flight == 1
        assert large.service.stats().in_flight == 3
        server.release()
        assert all(future.result(5) for future in futures)


def test_pause_of_one_service_is_not_anothers(server):
    """A 429 pauses the service that it answered, not every service of the process."""
    clock = ManualClock()
    with sampling(server, clock=clock) as paused, sampling(server) as free:
        server.fail_next("asample", 429, headers={"Retry-After": "60"})
        first = paused.sample(PROMPT, PARAMS)
        until(lambda: first.phase == "retrying")
        server._rules._gate = 0.0
        assert free.sample(PROMPT, PARAMS).result(5)
        first.cancel()


def test_retry_settings_of_a_client(server):
    """A client's own retry settings go before the service's."""
    with make_service(server) as service:
        client = service.create_sampling_client(base_model=MODEL, retry_config=RetryConfig(max_attempts=1))
        server.fail_next("asample", 503)
        with pytest.raises(tinkex.InternalServerError):
            client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["asample"] == 1


# The end


def finishes(server):
    """How sessions were said to have ended."""
    return [request.json["reason"]["type"] for request in server.requests_to("finish")]


def test_close(server):
    """Closing finishes the session once; afterwards nothing works and everything says why."""
    service = make_service(server)
    client = service.create_sampling_client(base_model=MODEL)
    service.close()
    service.close()
    assert finishes(server) == ["success"]
    assert server.requests_to("finish")[0].json["detail"] is None
    for call in (
        lambda: client.sample(PROMPT, PARAMS),
        lambda: service.create_sampling_client(base_model=MODEL),
        service.get_server_capabilities,
    ):
        with pytest.raises(ClientClosedError):
            call()
    assert "closed" in repr(service)


@pytest.mark.parametrize(
    ("error", "reason"), [(None, "success"), (KeyError, "errored"), (KeyboardInterrupt, "interrupted")]
)
def test_reason_of_the_end(server, error, reason):
    """How the block was left is how the session ended."""

    def use():
        with make_service(server) as service:
            service.create_sampling_client(base_model=MODEL)
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert finishes(server) == [reason]
    assert server.requests_to("finish")[0].json["detail"] == (error and error.__name__)


def test_reason_given_to_close(server):
    """`close` files the session under the reason it is given, explained; an unknown reason changes nothing."""
    service = make_service(server)
    service.create_sampling_client(base_model=MODEL)
    with pytest.raises(ValueError, match="reason must be one of success, errored, interrupted, not 'done'"):
        service.close(reason="done")
    service.close(reason="errored", detail="loss is NaN")
    assert [request.json for request in server.requests_to("finish")] == [
        {"reason": {"type": "errored"}, "detail": "loss is NaN"}
    ]


def test_clean_exit_waits(server):
    """Leaving the block without an exception waits for what is under way."""
    server.latency = 0.1
    with make_service(server) as service:
        future = service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS)
    assert future.done()
    assert future.result(0)


def test_exit_with_an_exception_cancels(server):
    """Leaving the block with an exception cancels what is under way."""
    server.hold()
    with pytest.raises(KeyError), make_service(server) as service:  # noqa: PT012
        future = service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS)
        server.wait_for("retrieve_future")
        raise KeyError
    assert future.cancelled()


def test_close_fails_what_does_not_end(server):
    """After the timeout what is left fails with ClientClosedError."""
    server.hold()
    service = make_service(server)
    future = service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS)
    service.close(timeout=0.01)
    with pytest.raises(ClientClosedError):
        future.result(1)
    assert finishes(server) == ["success"]


@pytest.mark.parametrize("fault", [404, 405, 500])
def test_finish_that_fails(server, fault):
    """A server that cannot finish a session does not keep a client from closing."""
    server.fail_next("finish", fault, {"detail": "no"}, times=None)
    with make_service(server) as service:
        service.create_sampling_client(base_model=MODEL)
    assert server.counts["finish"] == 1


def test_only_its_maker_finishes_a_session(server):
    """A client that is attached to somebody else's session leaves it open."""
    with make_service(server) as service:
        handle = service.create_sampling_client(base_model=MODEL).handle()
        attached = tinkex.SamplingClient.from_handle(handle, api_key=KEY)
        assert attached.sample(PROMPT, PARAMS).result(5)
        attached._lifecycle.close(5.0, cancel_pending=True, reason="success")
        assert server.counts["finish"] == 0


def test_numbers(server):
    """stats() counts, before the first use and after the last."""
    service = ServiceClient(base_url=server.url, api_key=KEY, config=quick_config())
    assert service.stats() == tinkex.ServiceStats()
    with service:
        client = service.create_sampling_client(base_model=MODEL)
        for _ in range(3):
            client.sample(PROMPT, PARAMS).result(5)
        server.fail_samples("bad luck")
        client.sample(PROMPT, PARAMS).exception(5)
        stats = service.stats()
        assert (stats.completed, stats.failed, stats.in_flight) == (3, 1, 0)
        assert (stats.prompt_tokens, stats.sampled_tokens) == (9, 12)
        assert (stats.queued, stats.retrying, stats.paused_for, stats.paused_reason) == (0, 0, 0.0, None)
        assert stats.threads >= 3
        assert client.stats().completed == 3
    assert KEY not in repr(service)


def test_environment(server, monkeypatch):
    """Server and key come from the environment where nobody gives them."""
    monkeypatch.setenv("TINKER_BASE_URL", server.url + "/")
    monkeypatch.setenv("TINKER_API_KEY", "tml-of-the-environment")
    with ServiceClient(config=ClientConfig(telemetry=False)) as service:
        service.create_sampling_client(base_model=MODEL)
    assert {request.key for request in server.requests} == {"tml-of-the-environment"}


def test_reconfigured_connect_timeout(server):
    """A new connect_timeout counts from the next connection on."""
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
        service.reconfigure(connect_timeout=0.125)
        dialer = service._lifecycle.start().dialer
        assert dialer._connect_timeout == 0.125


def test_statistics_start_nothing_in_a_child(service, server, monkeypatch):
    """In a forked child the statistics and the telemetry of a client are those of a service that has not begun."""
    client = service.create_sampling_client(base_model=MODEL)
    client.sample(PROMPT, PARAMS).result(5)
    parents = service._lifecycle.runtime
    monkeypatch.setattr(parents, "forked", parents.stop)  # no fork: its threads are here
    service._lifecycle.forked()
    assert (client.stats(), client.get_telemetry()) == (tinkex.ServiceStats(), None)
    assert service._lifecycle.runtime is None


def test_numbers_of_samples_that_are_ended(server):
    """A sample that is cancelled, or too late, is counted as failed and not in flight at once, sent or still queued."""
    with sampling(server, max_in_flight=1, max_queued=2) as client:

        def counted():
            stats = client.service.stats()
            return stats.in_flight, stats.queued, stats.completed, stats.failed

        server.hold()
        for number in range(20):
            sent = client.sample(PROMPT, PARAMS)
            until(lambda future=sent: future.phase == "waiting")
            queued = client.sample(PROMPT, PARAMS)
            assert counted() == (1, 1, 0, 2 * number)
            assert queued.cancel()
            assert counted() == (1, 0, 0, 2 * number + 1)
            assert sent.cancel()
            assert counted() == (0, 0, 0, 2 * number + 2)
            assert sent.cancel()
        kept = client.sample(PROMPT, PARAMS)
        until(lambda: kept.phase == "waiting")
        late = client.sample(PROMPT, PARAMS, timeout=0.01)
        assert isinstance(late.exception(5), tinkex.SampleTimeoutError)
        assert counted() == (1, 0, 0, 41)
        for _ in range(2):
            client.sample(PROMPT, PARAMS)
        with pytest.raises(tinkex.QueueFullError):  # the caller is told, and there is no sample
            client.sample(PROMPT, PARAMS, on_full="raise")
        server.release()
        assert kept.result(5)
        assert not kept.cancel()
        until(lambda: counted() == (0, 0, 3, 41))


def test_statistics_after_the_close(service):
    """They can still be read: nothing is raised, and nothing started."""
    client = service.create_sampling_client(base_model=MODEL)
    client.sample(PROMPT, PARAMS).result(5)
    service.close()
    assert (client.stats().completed, client.stats().in_flight) == (1, 0)
    assert client.get_telemetry() is service.get_telemetry()


def test_a_parents_samples_are_not_counted_in_its_child():
    """Samples that end because their process forked are no failures of the child's, and are not reported as such."""
    with FakeServer(models=[MODEL], latency=3600.0) as fake, make_service(fake) as service:
        future = service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS)
        until(lambda: future.phase == "waiting")
        runtime = service._lifecycle.runtime
        (task,) = [task for task in runtime.scheduler.live if task.future is future]
        task.forked()
        assert isinstance(future.exception(0), tinkex.ForkedFutureError)
        assert runtime.sampling.counters.failed == 0
