"""A sampling session that comes as a future: it is polled as a sample is."""

from __future__ import annotations

import pytest
from exchanging import Client

import tinkex
from tinkex.errors import APIConnectionError
from tinkex.future import ClientFuture

POLL = "retrieve_future"
READY = {"sampling_session_id": "s:sampler:0"}


@pytest.fixture
def client():
    """A service whose server is the test, and whose failures may take two attempts and four seconds."""
    retry = tinkex.RetryConfig(max_attempts=2, max_elapsed=4.0, base_delay=1.0, max_delay=1.0, jitter=0.0)
    return Client(retry=retry)


def created(client):
    """Ask for a sampling session, which the server promises; its future."""
    future = ClientFuture(None)
    session = client.session._session
    client.api.scheduler.start(lambda: session.create_sampling_session("any/model", None), future)
    client.steps.run()
    for answer in ({}, {}, {"session_id": "s"}, {"request_id": "r-1"}):
        client.answer(answer)
    return future


def hold(client, seconds):
    """Let a poll wait for so long, while heartbeats are answered."""
    assert POLL in client.open
    client.advance(seconds)
    while client.open[0] != POLL:
        client.answer({})


def pause(client):
    """Let the pause after a failure pass, and come back to the poll."""
    client.advance(1.0)
    client.advance(0.0)


@pytest.mark.parametrize("cut", [408, 502, 504, 524, "lost"])
def test_a_gateway_that_cuts_long_polls(client, cut):
    """A poll that was held and cut is asked again at once, as often as it takes: that was no failure."""
    future = created(client)
    for _ in range(10):
        hold(client, 4.0)
        if cut == "lost":
            client.end(APIConnectionError("lost", may_have_run=True))
        else:
            client.answer(None, cut)
        client.advance(0.0)
    hold(client, 1.0)
    client.answer(READY)
    assert future.result(0)[0] == "s:sampler:0"


def test_short_polls(client):
    """A server that says "not yet" with a 408 at once is asked again after a moment, for as long as it takes."""
    future = created(client)
    for _ in range(30):
        client.answer(None, 408)
        assert client.open == []
        client.advance(0.25)
        hold(client, 0.0)
    client.answer(READY)
    assert future.result(0)[0] == "s:sampler:0"


def test_failures_count_as_for_a_sample(client):
    """Polls that fail at once end it when max_elapsed has passed, however few attempts there are."""
    future = created(client)
    for _ in range(4):
        client.answer({"detail": "down"}, 503)
        assert not future.done()
        pause(client)
    client.answer({"detail": "down"}, 503)
    assert isinstance(future.exception(0), tinkex.InternalServerError)


def test_an_unreadable_answer_is_asked_for_again(client):
    """Three in a row are asked for again, on new connections; the fourth counts."""
    for count in (3, 4):
        future = created(client)
        for _ in range(count):
            assert not future.done()
            client.answer(b"{")
            pause(client)
        if count == 3:
            assert [sent.fresh for sent in client.transport.sent if sent.endpoint == POLL] == [False, True, True, True]
            client.answer(READY)
            assert future.result(0)
            client = Client(retry=client.config.retry)
    assert isinstance(future.exception(0), tinkex.APIResponseError)
