"""Retries and pauses in the log and in the numbers: seen, told apart, and not too often."""

from __future__ import annotations

import contextvars
import logging

import pytest
from serving import KEY, PARAMS, PROMPT, Collector, advance_until, result_of, sampling, until

from tinkex import RetryConfig
from tinkex.testing import FakeServer, Fault, ManualClock

WHO = contextvars.ContextVar("WHO", default="nobody")
FIELDS = ("request_id", "sampling_session_id", "phase", "attempt")
STEADY = RetryConfig(max_attempts=1000, base_delay=1.0, max_delay=1.0, jitter=0.0)


@pytest.fixture
def clock():
    """Time, moved by hand."""
    return ManualClock()


@pytest.fixture
def server():
    """A server that answers "not ready" at once."""
    with FakeServer(long_poll=0.0) as fake:
        yield fake


def of_samples(caplog):
    """The records about samples."""
    return [record for record in caplog.records if hasattr(record, "sampling_session_id")]


@pytest.mark.parametrize(("endpoint", "phase"), [("asample", "submitting"), ("retrieve_future", "waiting")])
@pytest.mark.parametrize("fault", ["status", "half"])
def test_records_of_retries(server, clock, caplog, endpoint, phase, fault):
    """A record names request, session, phase and attempt in fields of its own, and the reason in its text."""
    caplog.set_level(logging.DEBUG, "tinkex")
    with sampling(server, clock=clock, retry=STEADY) as client:
        plan = Fault(fault, 503, body={"detail": "busy"}) if fault == "status" else Fault(fault)
        server.script(endpoint, plan, plan, plan)
        future = client.sample(PROMPT, PARAMS)
        result_of(future, clock)
        session = client.sampling_session_id
    records = of_samples(caplog)
    assert [record.levelname for record in records] == ["WARNING", "DEBUG", "DEBUG"]
    submitting = phase == "submitting"
    for number, record in enumerate(records):
        assert record.request_id == (None if submitting else future.request_id)
        assert record.sampling_session_id == session
        assert record.phase == phase
        assert record.attempt == (number + 2 if submitting else 1)
        assert ("busy" if fault == "status" else "connection") in record.getMessage()


def test_records_of_pauses(server, clock, caplog):
    """A pause is a warning with the same fields; a hundred samples that it holds up make no hundred lines."""
    with sampling(server, clock=clock, retry=STEADY) as client:
        server.fail_next("asample", 429, {"detail": "too many"}, {"Retry-After": "5"}, times=50)
        futures = [client.sample([n + 1], PARAMS) for n in range(100)]
        advance_until(clock, lambda: all(future.done() for future in futures))
    records = of_samples(caplog)
    assert 1 <= len(records) <= 10
    assert all(hasattr(record, name) for record in records for name in FIELDS)


def test_records_are_made_in_the_context_of_the_call(server, clock):
    """A filter of the program's sees the context variables of whoever asked for the sample."""
    seen = []

    class Seeing(logging.Filter):
        def filter(self, record):
            seen.append((record.getMessage(), WHO.get()))
            return True

    logger, seeing = logging.getLogger("tinkex"), Seeing()
    logger.addFilter(seeing)
    try:
        with sampling(server, clock=clock, retry=STEADY, queue_log_interval=0.0) as client:
            for who, reason in (("ann", "busy with ann"), ("bob", "busy with bob")):
                server.fail_next("asample", 503, {"detail": reason})
                context = contextvars.copy_context()
                context.run(WHO.set, who)
                result_of(context.run(client.sample, PROMPT, PARAMS), clock)
    finally:
        logger.removeFilter(seeing)
    assert [who for message, who in seen if "busy with ann" in message] == ["ann"]
    assert [who for message, who in seen if "busy with bob" in message] == ["bob"]


def test_records_of_observers_and_callbacks_that_raise(server, caplog):
    """They name the sample that they were about, too."""

    class Raising:
        def on_queue_state_change(self, event):
            raise ValueError("an observer's")

    with sampling(server) as client:
        server.fail_next("asample", 429, headers={"Retry-After": "0.01"})
        future = client.sample(PROMPT, PARAMS, queue_state_observer=Raising())
        future.add_done_callback(lambda _: exec("raise ValueError"))
        future.result(10)
        until(lambda: "A callback raised" in caplog.text and "observer raised" in caplog.text)
        records = [record for record in of_samples(caplog) if "raised" in record.getMessage()]
        assert all(hasattr(record, name) for record in records for name in FIELDS)
        callbacks = [record for record in records if "callback" in record.getMessage()]
        assert [(record.request_id, record.phase) for record in callbacks] == [(future.request_id, "done")]


def test_stats_say_why_samples_wait(server, clock):
    """The numbers of each phase add up, and the last failure and the pause are there in words."""
    with sampling(server, clock=clock, retry=STEADY, max_in_flight=3) as client:
        server.hold()
        waiting = client.sample([1], PARAMS)
        until(lambda: waiting.phase == "waiting")
        server.fail_next("asample", 503, {"detail": "out of breath"})
        retrying = client.sample([2], PARAMS)
        until(lambda: retrying.phase == "retrying")
        server.fault("asample", "hang")
        submitting = client.sample([3], PARAMS)
        until(lambda: submitting.phase == "submitting")
        client.sample([4], PARAMS)
        stats = client.service.stats()
        assert (stats.waiting, stats.retrying, stats.submitting, stats.queued, stats.fetching) == (1, 1, 1, 1, 0)
        assert "out of breath" in stats.last_failure
        assert retrying.last_failure == stats.last_failure
        assert waiting.last_failure is None
        assert KEY not in repr(stats)


def test_a_passed_deadline_tells_the_last_failure(server, clock):
    """Whoever waited too long learns what the server said last, through the session poller as well."""
    with sampling(server, clock=clock, retry=STEADY) as client:
        server.fail_next("asample", 503, {"detail": "out of breath"}, times=None)
        future = client.sample(PROMPT, PARAMS, timeout=5)
        advance_until(clock, future.done)
        assert "out of breath" in future.exception().last_failure
        assert "out of breath" in str(future.exception())


def test_a_passed_deadline_behind_a_failing_poller(clock):
    """Also where all samples wait through one session poll that fails."""
    with (
        FakeServer(client_config={"sample_use_retrieve_futures": True}) as fake,
        sampling(fake, clock=clock, workers=1) as client,
    ):
        fake.hold()
        fake.fail_next("retrieve_futures", 503, {"detail": "no list today"}, times=None)
        futures = []
        for number in range(4):
            futures.append(client.sample([number + 1], PARAMS, timeout=20))
            until(lambda: futures[-1].phase == "waiting")
        advance_until(clock, lambda: all(future.done() for future in futures))
        assert "no list today" in str(futures[-1].exception())
        assert futures[-1].exception().request_id


def test_an_observer_of_retries_is_not_needed(server, clock):
    """Failures are no queue states: observers hear of pauses only."""
    seen = Collector()
    with sampling(server, clock=clock, retry=STEADY, observers=[seen]) as client:
        server.fail_next("asample", 503, times=2)
        result_of(client.sample(PROMPT, PARAMS), clock)
    assert seen.events == []
