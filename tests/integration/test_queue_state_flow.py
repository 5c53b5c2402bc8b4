"""From the server's word on its queue to the observers and the log."""

from __future__ import annotations

import logging

import pytest
from serving import MODEL, PARAMS, PROMPT, Collector, advance_until, make_service, result_of, until

from tinkex import QueueState
from tinkex.testing import FakeServer, ManualClock

LOG = "tinkex.queue_state"


@pytest.fixture
def server():
    """A server that answers "not ready" at once."""
    with FakeServer(long_poll=0.0) as fake:
        yield fake


@pytest.fixture
def clock():
    """Time that the test moves."""
    return ManualClock()


@pytest.fixture
def seen():
    """An observer of the service."""
    return Collector()


@pytest.fixture
def service(server, clock, seen):
    """A service whose log and observers are watched."""
    made = make_service(server, clock=clock, observers=[seen], min_poll_interval=0.25)
    yield made
    made.close(0.0, cancel_pending=True)


@pytest.fixture
def client(service):
    """A client of it."""
    return service.create_sampling_client(base_model=MODEL)


def lines(caplog):
    """What the default observer logged."""
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == LOG]


def paused(server, client, state, reason=None):
    """A sample whose polls say so."""
    server.set_queue_state(state, reason)
    server.hold()
    future = client.sample(PROMPT, PARAMS)
    until(lambda: future.queue_state is not None)
    return future


def finish(server, clock, future):
    """Let it end well."""
    server.set_queue_state("active", None)
    server.release()
    return result_of(future, clock, step=0.2)


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("paused_rate_limit", None, "concurrent LoRA rate limit hit"),
        ("paused_capacity", None, "out of capacity"),
        ("paused_capacity", "maintenance\nuntil noon", "maintenance until noon"),
        ("paused_for_lunch", None, "unknown"),
    ],
)
def test_texts(server, client, clock, caplog, state, reason, said):
    """A pause is one warning with the server's reason first, and its end one line with how long it took."""
    caplog.set_level(logging.INFO, LOG)
    future = paused(server, client, state, reason)
    until(lambda: lines(caplog))
    session = client.sampling_session_id
    assert lines(caplog) == [("WARNING", f"Sampling is paused for {session}. Reason: {said}")]
    clock.advance(42.0)
    server.set_queue_state("active", None)
    server.release()
    advance_until(clock, future.done, step=0.01)
    until(lambda: len(lines(caplog)) == 2)
    level, text = lines(caplog)[1]
    assert level == "INFO"
    assert text.startswith(f"Sampling resumed for {session} after 4")


def test_one_warning_a_minute(server, client, clock, caplog):
    """Within a minute there is one warning a session; the next one counts what was not said."""
    caplog.set_level(logging.INFO, LOG)
    future = paused(server, client, "paused_capacity")
    until(lambda: len(lines(caplog)) == 1)
    start = clock.monotonic()
    advance_until(clock, lambda: len(lines(caplog)) == 2, step=2.0)
    assert 59 <= clock.monotonic() - start <= 65
    text = lines(caplog)[1][1]
    assert text.startswith(f"Sampling is paused for {client.sampling_session_id}. Reason: out of capacity (")
    assert text.endswith(" more since the last message)")
    finish(server, clock, future)


def test_interval_can_be_set(server, service, client, clock, caplog):
    """queue_log_interval sets that minute, also while the service runs."""
    caplog.set_level(logging.INFO, LOG)
    service.reconfigure(queue_log_interval=5.0)
    future = paused(server, client, "paused_capacity")
    until(lambda: len(lines(caplog)) == 1)
    start = clock.monotonic()
    advance_until(clock, lambda: len(lines(caplog)) == 3)
    assert 9 <= clock.monotonic() - start <= 20
    finish(server, clock, future)


def test_sessions_are_apart(server, service, client, clock, caplog):
    """Every sampling session has a minute of its own."""
    caplog.set_level(logging.INFO, LOG)
    other = service.create_sampling_client(base_model=MODEL)
    futures = [paused(server, client, "paused_capacity"), paused(server, other, "paused_capacity")]
    until(lambda: len(lines(caplog)) == 2)
    assert {client.sampling_session_id, other.sampling_session_id} == {
        text.split(".")[0].removeprefix("Sampling is paused for ") for _, text in lines(caplog)
    }
    for future in futures:
        finish(server, clock, future)


def test_rate_limits_count(server, client, clock, caplog, seen):
    """A 429 on submission is a pause too, with the server's reason if it gives one."""
    caplog.set_level(logging.INFO, LOG)
    body = {"detail": "too many", "queue_state": "paused_capacity", "queue_state_reason": "night shift"}
    server.fail_next("asample", 429)
    future = client.sample(PROMPT, PARAMS)
    (event,) = seen.wait_for(1)
    assert (event.state, event.reason, event.request_id) == (QueueState.PAUSED_RATE_LIMIT, None, None)
    assert (future.queue_state, future.queue_state_reason) == (QueueState.PAUSED_RATE_LIMIT, None)
    result_of(future, clock, step=0.2)
    server.fail_next("asample", 429, body)
    second = client.sample(PROMPT, PARAMS)
    event = seen.wait_for(3)[2]
    assert (event.state, event.reason) == (QueueState.PAUSED_CAPACITY, "night shift")
    result_of(second, clock, step=0.2)
    until(lambda: len(lines(caplog)) >= 2)
    assert lines(caplog)[0][1].endswith("Reason: concurrent LoRA rate limit hit")
    assert lines(caplog)[1][0] == "INFO"


def test_events(server, client, clock, seen):
    """An event tells the state, the one before, since when, and whose it is."""
    future = paused(server, client, "paused_capacity", "full")
    first = seen.wait_for(1)[0]
    assert (first.state, first.reason, first.previous, first.seconds_since) == (
        QueueState.PAUSED_CAPACITY, "full", None, None,
    )  # fmt: skip
    assert first.sampling_session_id == client.sampling_session_id
    assert first.request_id == future.request_id
    clock.advance(30.0)
    finish(server, clock, future)
    until(lambda: seen.events[-1].state is QueueState.ACTIVE)
    last = seen.events[-1]
    assert last.previous is QueueState.PAUSED_CAPACITY
    assert 30 <= last.seconds_since <= 45


@pytest.mark.parametrize("ending", ["cancel", "fail", "deadline"])
def test_every_end_tells_active(server, client, clock, seen, ending):
    """A pause is seen to end with its sample, however that ends."""
    server.set_queue_state("paused_capacity")
    server.hold()
    if ending == "fail":
        server.fail_samples("bad luck")
    future = client.sample(PROMPT, PARAMS, timeout=60)
    seen.wait_for(1)
    if ending == "cancel":
        future.cancel()
    elif ending == "deadline":
        clock.advance(61.0)
    else:
        server.release()
    advance_until(clock, lambda: seen.events[-1].state is QueueState.ACTIVE, step=0.2)


def test_active_is_no_news(server, client, clock, seen):
    """While all is well observers hear nothing."""
    future = paused(server, client, "active")
    clock.advance(5.0)
    finish(server, clock, future)
    assert not seen.events


def test_observers_of_service_client_and_call(server, service, clock, seen):
    """Observers may be set for the service, for a client and for a call; each hears of its own samples."""
    of_client, of_call = Collector(), Collector()
    client = service.create_sampling_client(base_model=MODEL, queue_state_observer=of_client)
    plain = service.create_sampling_client(base_model=MODEL)
    server.set_queue_state("paused_capacity")
    server.hold()
    futures = [
        client.sample(PROMPT, PARAMS, queue_state_observer=of_call),
        client.sample(PROMPT, PARAMS),
        plain.compute_logprobs(PROMPT, queue_state_observer=of_call),
        plain.sample(PROMPT, PARAMS),
    ]
    until(lambda: all(future.queue_state is not None for future in futures))
    ids = [future.request_id for future in futures]

    def heard(collector):
        return {event.request_id for event in collector.events}

    until(lambda: heard(seen) == set(ids))
    until(lambda: heard(of_client) == set(ids[:2]))
    until(lambda: heard(of_call) == {ids[0], ids[2]})
    for future in futures:
        finish(server, clock, future)


def test_observers_that_raise(server, service, clock, caplog, seen):
    """An observer that raises is logged and ignored; the others and the sample go on."""

    class Clumsy:
        def on_queue_state_change(self, event):
            raise KeyError("oops")

    client = service.create_sampling_client(base_model=MODEL, queue_state_observer=Clumsy())
    future = paused(server, client, "paused_capacity")
    seen.wait_for(1)
    until(lambda: "A queue state observer raised" in caplog.text)
    assert finish(server, clock, future)


def test_observers_may_sample(server, service, clock):
    """An observer may use the client, even wait for a result."""
    results = []

    class Sampling:
        def on_queue_state_change(self, event):
            if not results:
                results.append(client.sample([1], PARAMS))

    client = service.create_sampling_client(base_model=MODEL)
    future = client.sample(PROMPT, PARAMS, queue_state_observer=Sampling())
    result_of(future, clock, step=0.2)
    server.fail_next("asample", 429)
    result_of(client.sample(PROMPT, PARAMS, queue_state_observer=Sampling()), clock, step=0.2)
    until(lambda: results)
    assert result_of(results[0], clock, step=0.2)
