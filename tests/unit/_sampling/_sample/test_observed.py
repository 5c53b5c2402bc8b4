"""What the observers of a sample are told, answer by answer."""

from __future__ import annotations

import logging

import pytest
from exchanging import DONE, Client
from observing import Recorder

import tinkex
from tinkex import QueueState
from tinkex.errors import APIConnectionError

POLL = "retrieve_future"


@pytest.fixture
def client():
    """A service whose server is the test."""
    return Client()


@pytest.fixture
def recorder():
    """An instrumentation that keeps all it is told."""
    return Recorder()


@pytest.fixture
def sample(client, recorder):
    """Begin a sample that is observed; its future, and what its observer was told."""

    def sample(**options):
        future = client.sample(instrumentations=[recorder], **options)
        notes = recorder.samples[-1]
        notes.future = future
        return future, notes

    return sample


def test_a_result(client, sample):
    """The end is told once, with the response and the time it took, before the future has it."""
    future, notes = sample()
    client.promise()
    client.advance(2.5)
    client.answer(DONE)
    (end,) = notes.ends
    assert end.response is future.result(0)
    assert (end.outcome, end.error, end.error_type, end.seconds, end.attempts) == ("completed", None, None, 2.5, 1)
    assert notes.done_then == [False]
    assert not future.cancel()
    assert len(notes.ends) == 1


def test_an_error(client, sample):
    """A refusal is told as its HTTP status."""
    future, notes = sample()
    client.answer({"detail": "no"}, 422)
    (end,) = notes.ends
    assert (end.outcome, end.error_type, end.response) == ("failed", "422", None)
    assert end.error is future.exception(0)


@pytest.mark.parametrize("begun", [True, False])
def test_a_cancel(client, sample, begun):
    """A cancel is told in the thread of whoever cancels, queued or under way; a second one is not."""
    if not begun:
        client.context.admission.pause(60.0, 1.0, "busy")
    future, notes = sample()
    assert future.cancel()
    assert future.cancel()
    assert [(end.outcome, end.error_type, end.attempts) for end in notes.ends] == [
        ("cancelled", "CancelledError", begun)
    ]
    assert notes.done_then == [False]
    client.steps.run()
    assert len(notes.ends) == 1


def test_a_deadline(client, sample):
    """A deadline is an error by its class."""
    future, notes = sample(timeout=3.0)
    client.advance(3.0)
    assert isinstance(future.exception(0), tinkex.SampleTimeoutError)
    assert [(end.error_type, end.seconds) for end in notes.ends] == [("SampleTimeoutError", 3.0)]


def test_a_close(client, sample):
    """So is the close of the client."""
    _, notes = sample()
    client.steps.scheduler.stop()
    client.steps.run()
    assert [end.error_type for end in notes.ends] == ["ClientClosedError"]


def test_a_queue_that_is_full(recorder):
    """A sample that is refused a place has ended with the error that the caller gets."""
    client = Client(max_queued=1)
    client.context.admission.pause(60.0, 1.0, "busy")
    client.sample()
    with pytest.raises(tinkex.QueueFullError):
        client.sample(instrumentations=[recorder])
    assert [end.error_type for end in recorder.samples[0].ends] == ["QueueFullError"]


def test_retries_and_pauses(client, sample):
    """Each failure and each pause is told with its cause, and how long it takes; queue states in the server's words."""
    future, notes = sample()
    client.answer({"detail": "busy"}, 503)
    client.advance(1.0)
    client.answer({"reason": "too many"}, 429, retry_after="4")
    client.advance(10.0)
    client.promise()
    client.end(APIConnectionError("lost", may_have_run=True))
    client.advance(1.0)
    client.answer({"type": "try_again", "queue_state": "paused_capacity", "queue_state_reason": "full"}, 408)
    client.advance(1.0)
    client.answer(DONE)
    assert future.exception(0) is None
    told = [(type(each.error).__name__, each.phase, each.attempt, each.pause) for each in notes.retries]
    assert told == [
        ("InternalServerError", "submitting", 2, False),
        ("RateLimitError", "submitting", 2, True),
        ("APIConnectionError", "waiting", 2, False),
    ]
    assert [each.delay for each in notes.retries] == [1.0, 4.0, 1.0]
    assert [state for state, _ in notes.states] == [QueueState.PAUSED_RATE_LIMIT, QueueState.PAUSED_CAPACITY]
    assert notes.states[1][1] == "full"
    assert notes.ends[0].attempts == 2


def test_headers_go_out_with_every_request_of_the_sample(client):
    """Of its own, that is: submissions and polls."""
    client.sample(instrumentations=[Recorder(traceparent="00-1-2-01"), Recorder(tracestate="a=b")])
    client.promise()
    client.answer({"type": "try_again"}, 408)
    client.advance(1.0)
    assert [exchange.endpoint for exchange in client.transport.sent] == ["asample", POLL, POLL]
    for exchange in client.transport.sent:
        assert (exchange.fields["traceparent"], exchange.fields["tracestate"]) == ("00-1-2-01", "a=b")


@pytest.mark.parametrize("value", ["a\r\nX-API-Key: b", "ä"])
def test_what_is_no_header_is_not_sent(client, caplog, value):
    """A value that would break the head of the request is left out, and the log says so."""
    future = client.sample(instrumentations=[Recorder(traceparent=value)])
    assert "traceparent" not in client.transport.sent[0].fields
    assert "not a header" in caplog.text
    client.answer(DONE)
    assert future.exception(0) is None


def test_a_fork(sample):
    """In a child nothing is told: the sample is the parent's. Not even where the thread that was ending it is lost."""
    future, notes = sample()
    future._fail_after_fork()
    assert isinstance(future.exception(0), tinkex.ForkedFutureError)
    other, others_notes = sample()
    other.__dict__["_ender"] = [False]  # what the lost thread has left
    other._fail_after_fork()
    assert other.done()
    assert notes.ends == others_notes.ends == []


def test_an_interrupt_while_it_ends(client, sample):
    """A Ctrl-C in an observer leaves a future that can still end, and no observer is told twice."""
    future, notes = sample()
    ended = notes.ended

    def interrupted(end):
        ended(end)
        raise KeyboardInterrupt

    notes.ended = interrupted
    with pytest.raises(KeyboardInterrupt):
        future.cancel()
    assert not future.done()
    client.answer(DONE)
    assert future.exception(0) is None
    assert len(notes.ends) == 1


def test_observers_that_raise(client, caplog):
    """Each is logged, with the fields of other records; the others are told, and the sample goes on."""

    class Broken:
        def begin(self, start):
            raise RuntimeError("at the beginning")

    fragile, sound = Recorder(), Recorder()
    future = client.sample(instrumentations=[Broken(), fragile, sound])

    def broken(end):
        raise RuntimeError("at the end")

    fragile.samples[0].ended = broken
    client.promise("r-1")
    client.answer(DONE)
    assert future.exception(0) is None
    assert sound.outcomes == ["completed"]
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [str(record.exc_info[1]) for record in records] == ["at the beginning", "at the end"]
    assert records[1].request_id == "r-1"
