"""Waiting together: one long poll for all samples of a client, where the server offers it."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import pytest
from proxying import Gateway
from serving import PARAMS, PROMPT, advance_until, all_done, result_of, sampling, until

import tinkex
from tinkex.testing import FakeServer, Fault, ManualClock, expected_tokens

FLAG = {"sample_use_retrieve_futures": True}


@pytest.fixture
def server():
    """A strict server with the session poller; its samples wait until they are released."""
    with FakeServer(strict=True, client_config=FLAG) as fake:
        fake.hold()
        yield fake
        assert not fake.violations


def begin(client, server, count):
    """Samples that wait at the server; the first two, as many as there are workers, poll on their own."""
    futures = []
    for number in range(count):
        futures.append(client.sample([number + 1], PARAMS))
        until(lambda: futures[-1].phase == "waiting")
    return futures


def check(futures):
    """Every sample has its own result."""
    all_done(futures)
    for number, future in enumerate(futures):
        assert future.result().sequences[0].tokens == expected_tokens([number + 1], max_tokens=4)


def acks(server):
    """Every request that was acknowledged, in order."""
    polls = server.requests_to("retrieve_futures")
    return [request_id for poll in polls for request_id in poll.json["retrieved_request_ids"]]


def test_few_samples_poll_on_their_own(server):
    """While no more samples wait than there are workers, there is no session poll."""
    with sampling(server) as client:
        futures = begin(client, server, 2)
        assert server.counts["retrieve_futures"] == 0
        server.release()
        check(futures)
        assert server.counts["retrieve_futures"] == 0


def test_without_the_flag():
    """A server that does not offer it is never asked."""
    with FakeServer() as fake, sampling(fake) as client:
        fake.hold()
        futures = begin(client, fake, 10)
        fake.release()
        check(futures)
        assert fake.counts["retrieve_futures"] == 0


def test_many_samples_wait_together(server):
    """Above that one long poll serves all the others; each result is fetched once, whole, and acknowledged."""
    with sampling(server) as client:
        futures = begin(client, server, 40)
        server.wait_for("retrieve_futures")
        own = server.counts["retrieve_future"]
        assert own == 2
        server.release()
        check(futures)
        together = [future.request_id for future in futures[2:]]
        until(lambda: set(acks(server)) >= set(together))
        fetches = [r.json for r in server.requests_to("retrieve_future") if r.json["request_id"] in together]
        assert sorted(fetch["request_id"] for fetch in fetches) == sorted(together)
        assert not any(fetch.get("allow_metadata_only") for fetch in fetches)
        assert server.counts["retrieve_futures"] < 20
        assert client.service._lifecycle.runtime.sampling.response_bytes.out == 0


def test_the_protocol_of_the_poller(server):
    """Polls name their target, hand the cursor back, and wait without a timeout; a last one only acknowledges."""
    with sampling(server) as client:
        futures = begin(client, server, 6)
        server.wait_for("retrieve_futures")
        server.release()
        check(futures)
        until(lambda: len(set(acks(server))) >= 3)
        first, *_, last = (request.json for request in server.requests_to("retrieve_futures"))
        target = {"type": "sampling_session", "sampling_session_id": client.sampling_session_id, "cloned_sampler_id": 0}
        assert first == {"target": target, "prev_cursor": 0, "retrieved_request_ids": []}
        assert last["timeout"] == 0
        assert last["prev_cursor"] > 0


def test_answers_without_news_are_spaced(server):
    """A server that answers at once and with nothing is asked a few times a second only."""
    clock = ManualClock()
    with sampling(server, clock=clock, min_poll_interval=0.25) as client:
        server.fail_next("retrieve_futures", 200, {"completions": [], "cursor": 0}, times=None)
        futures = begin(client, server, 6)
        server.wait_for("retrieve_futures")
        before, asked = clock.monotonic(), server.counts["retrieve_futures"]
        advance_until(clock, lambda: server.counts["retrieve_futures"] >= asked + 8, step=0.05)
        assert clock.monotonic() - before >= 7 * 0.25
        server.clear()
        server.release()
        advance_until(clock, lambda: all(future.done() for future in futures), step=0.05)
        check(futures)


CUTS = {"504": b"HTTP/1.1 504 Gateway Timeout\r\nConnection: close\r\n\r\n", "closed": b""}


@pytest.mark.thin(3)
@pytest.mark.parametrize("held", [0.4, 4.0])
@pytest.mark.parametrize("cut", CUTS)
def test_a_gateway_that_cuts_long_polls(server, cut, held):
    """A poll that a gateway cut after it was held is asked again at once, and is no failure."""
    clock = ManualClock()
    with (
        Gateway(("127.0.0.1", urlsplit(server.url).port)) as gateway,
        sampling(gateway, clock=clock) as client,
    ):
        futures = begin(client, server, 6)
        for polls in range(1, 11):
            server.wait_for("retrieve_futures", polls)
            clock.advance(held)
            gateway.cut(CUTS[cut])
        server.wait_for("retrieve_futures", 11)
        assert client._session.poller.last_failure is None
        server.release()
        advance_until(clock, lambda: all(future.done() for future in futures))  # some ask first whether they are known
        check(futures)


def test_idle_poller_sends_nothing(server):
    """When nobody waits and everything is acknowledged there are no more polls."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        futures = begin(client, server, 6)
        server.wait_for("retrieve_futures")
        server.release()
        advance_until(clock, lambda: all(future.done() for future in futures), step=0.05)
        advance_until(clock, lambda: len(set(acks(server))) >= 4, step=0.05)
        polls = server.counts["retrieve_futures"]
        for _ in range(10):
            clock.advance(1.0)
            client.service.get_server_capabilities()
        assert server.counts["retrieve_futures"] == polls


def test_failed_samples(server):
    """A sample that failed at the server fails, with the server's words, and is acknowledged too."""
    with sampling(server) as client:
        futures = begin(client, server, 2)
        server.fail_samples("bad luck")
        futures.append(client.sample(PROMPT, PARAMS))
        until(lambda: futures[-1].phase == "waiting")
        server.wait_for("retrieve_futures")
        server.release()
        with pytest.raises(tinkex.RequestFailedError, match="bad luck"):
            futures[-1].result(5)
        until(lambda: futures[-1].request_id in acks(server))
        check(futures[:2])


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    "faults",
    [
        [Fault("status", 503)] * 3,
        [Fault("status", 429, headers={"Retry-After": "2"})],
        [Fault("status", 402)],
        [Fault("status", 400)] * 3,
        [Fault("reset"), Fault("close")],
        [Fault("status", 408), Fault("status", 409)],
        [Fault("status", 403, headers={"x-should-retry": "true"})],
    ],
    ids=["503", "429", "402", "400", "lost", "408", "403, to be tried again"],
)
def test_trouble_that_passes(server, caplog, faults):
    """Trouble that passes only slows the session poller; no sample polls on its own for it."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.script("retrieve_futures", *faults)
        futures = begin(client, server, 8)
        server.wait_for("retrieve_futures")
        own = server.counts["retrieve_future"]
        advance_until(clock, lambda: server.counts["retrieve_futures"] > len(faults), step=0.2)
        assert clock.monotonic() >= 0.9
        assert server.counts["retrieve_future"] == own
        server.release()
        advance_until(clock, lambda: all(future.done() for future in futures), step=0.01)
        check(futures)
    assert "session poller ended" not in caplog.text


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 404, body={"detail": "no such endpoint"}),
        Fault("status", 403, body={"detail": "no"}),
        Fault("status", 503, headers={"x-should-retry": "false"}),
        Fault("status", 402, headers={"x-should-retry": "false"}),
        Fault("status", 200, body={"completions": "none"}),
        Fault("status", 200, body={"completions": [{"request_id": 5}], "cursor": 1}),
        Fault("status", 200, body="garbage"),
    ],
    ids=["404", "403", "503, not to be tried again", "402, not to be tried again", "no list", "no id", "garbage"],
)
def test_dead_poller(server, caplog, fault):
    """When the session poll fails for good its samples poll on their own, which is logged once, and none is lost."""
    with sampling(server) as client:
        server.script("retrieve_futures", *[fault] * 100)
        futures = begin(client, server, 10)
        server.wait_for("retrieve_future", 10)
        server.release()
        check(futures)
        assert server.counts["retrieve_futures"] == 1
        assert caplog.text.count("The session poller ended") == 1


def test_dead_poller_is_tried_again(server):
    """A minute later it is tried again."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.fail_next("retrieve_futures", 404, {"detail": "not yet"})
        begin(client, server, 5)
        server.wait_for("retrieve_future", 5)
        clock.advance(61.0)
        until(lambda: server.counts["retrieve_future"] >= 10)
        futures = begin(client, server, 1)
        server.wait_for("retrieve_futures", 2)
        server.release()
        result_of(futures[0], clock, step=0.01)


def test_cancelled_sample_is_not_acknowledged(server):
    """What nobody fetched is not acknowledged."""
    with sampling(server) as client:
        futures = begin(client, server, 8)
        server.wait_for("retrieve_futures")
        assert futures[-1].cancel()
        server.release()
        check(futures[:-1])
        until(lambda: len(set(acks(server))) == 5)
        assert futures[-1].request_id not in acks(server)


def test_impatient_samples(server):
    """A sample that hears nothing for five minutes looks for itself."""
    clock = ManualClock()
    with sampling(server, clock=clock, poll_timeout=1000.0) as client:
        server.fault("retrieve_futures", "hang", times=None)
        begin(client, server, 4)
        server.wait_for("retrieve_futures")
        assert server.counts["retrieve_future"] == 2
        advance_until(clock, lambda: server.counts["retrieve_futures"] >= 3, step=5.0)
        assert server.counts["retrieve_future"] == 2
        clock.advance(300.0)
        advance_until(clock, lambda: server.counts["retrieve_future"] == 4, step=1.0)


def test_impatient_samples_of_a_patient_server(server):
    """However long the server asks the session poller to wait, its samples look for themselves after five minutes."""
    clock = ManualClock()
    with sampling(server, clock=clock, poll_timeout=1000.0) as client:
        server.script("retrieve_futures", *[Fault("status", 429, headers={"Retry-After": "7200"})] * 10)
        begin(client, server, 4)
        server.wait_for("retrieve_futures")
        assert server.counts["retrieve_future"] == 2
        advance_until(clock, lambda: server.counts["retrieve_future"] == 4, step=5.0, most=140)


def test_poller_that_is_ended(server, monkeypatch):
    """Whatever ends the poller, also what is no Exception, its samples poll on their own."""
    with sampling(server) as client:
        poller = client._session.poller
        monkeypatch.setattr(poller, "_ask", lambda *_, **__: sys.exit("enough"))
        futures = begin(client, server, 4)
        server.wait_for("retrieve_future", 4)
        server.release()
        check(futures)
