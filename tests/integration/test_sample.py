"""A sample where it does not go straight: pauses, retries, lost promises, deadlines, cancels."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, as_completed
from urllib.parse import urlsplit

import pytest
from proxying import Gateway
from resting import rest
from serving import (
    KEY,
    MODEL,
    PARAMS,
    PROMPT,
    Collector,
    advance_until,
    all_done,
    result_of,
    sampling,
    until,
)

import tinkex
from tinkex import QueueState, RequestFailedError, RetryConfig, SampleTimeoutError
from tinkex.errors import is_user_error
from tinkex.testing import FakeServer, Fault, ManualClock, expected_tokens

SLOWLY = RetryConfig(max_attempts=4, base_delay=1.0, max_delay=8.0, jitter=0.0)


def broken(server):
    """The rules that were broken, apart from those that are about real seconds."""
    return [each for each in server.violations if each.rule not in ("poll_interval", "backoff")]


@pytest.fixture
def server():
    """A strict server that answers "not ready" at once."""
    with FakeServer(strict=True, long_poll=0.0, dynamic_config={"sample_cancel_enabled": True}) as fake:
        yield fake
        assert not broken(fake)


@pytest.fixture
def preemptible():
    """A strict server that holds its polls."""
    with FakeServer(strict=True) as fake:
        yield fake
        assert not broken(fake)


def seq_ids(server):
    """The sequence numbers of everything that was submitted."""
    return [request.json["seq_id"] for request in server.requests_to("asample")]


def until_it_waits(client, future):
    """Return once the sample has failed and waits to go on: from when its pause is counted."""

    def waits():
        live = client.service._lifecycle.runtime.scheduler.live
        return future.phase == "retrying" and any(task.future is future and task._waiting for task in live)

    until(waits)


def barrier(client):
    """Return once the service has done what it could do by now."""
    client.service.get_server_capabilities()


# Submission


def test_rate_limit_pauses_all_samples_of_the_service(server):
    """A 429 holds back every sample of the service for as long as Retry-After says; the number stays the same."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        other = client.service.create_sampling_client(base_model=MODEL)
        server.fail_next("asample", 429, {"detail": "too many"}, {"Retry-After": "30"})
        first = client.sample(PROMPT, PARAMS)
        until_it_waits(client, first)
        second = other.sample(PROMPT, PARAMS)
        clock.advance(29.9)
        barrier(client)
        assert server.counts["asample"] == 1
        stats = client.service.stats()
        assert stats.paused_reason == "too many"
        assert 0 < stats.paused_for < 1.2
        assert (stats.retrying, stats.queued) == (1, 1)
        result_of(first, clock)
        result_of(second, clock)
        mine = [r.json for r in server.requests_to("asample")]
        same = [body["seq_id"] for body in mine if body["sampling_session_id"] == client.sampling_session_id]
        assert same == [0, 0]
        assert client.service.stats().paused_for == 0.0


@pytest.mark.parametrize(("tokens", "least", "most"), [(3, 1.0, 1.2), (20_000, 5.0, 6.0)])
def test_rate_limit_without_a_time(server, tokens, least, most):
    """Without Retry-After the pause is a second, and five after a large request, plus up to a fifth of that."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.fail_next("asample", 429)
        future = client.sample([7] * tokens, PARAMS)
        until_it_waits(client, future)
        assert least <= client.service.stats().paused_for <= most
        assert result_of(future, clock)


def test_rate_limit_has_no_limit_of_attempts(server):
    """Pauses that the server asks for are not attempts."""
    clock = ManualClock()
    with sampling(server, clock=clock, retry=RetryConfig(max_attempts=1)) as client:
        server.fail_next("asample", 429, times=6)
        result_of(client.sample(PROMPT, PARAMS), clock)
        assert seq_ids(server) == [0] * 7


def test_release_after_a_pause_is_staggered(server):
    """After a pause one submission tries, and ten follow, not all that wait."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.fail_next("asample", 429)
        server.fault("asample", "hang", times=None, skip=0)
        futures = [client.sample(PROMPT, PARAMS)]
        until_it_waits(client, futures[0])
        futures += [client.sample(PROMPT, PARAMS) for _ in range(30)]
        clock.advance(1.3)
        server.wait_for("asample", 2)
        barrier(client)
        assert server.counts["asample"] == 2
        clock.advance(1.0)
        server.wait_for("asample", 11)
        barrier(client)
        assert server.counts["asample"] == 11


def test_rate_limit_may_raise(server):
    """With on_rate_limit="raise" a 429 is an error at once, and tells how long to wait."""
    with sampling(server, on_rate_limit="raise") as client:
        server.fail_next("asample", 429, {"detail": "later"}, {"Retry-After": "7"})
        with pytest.raises(tinkex.RateLimitError, match="later") as caught:
            client.sample(PROMPT, PARAMS).result(5)
        assert caught.value.retry_after == 7.0
        assert not caught.value.may_have_run
        assert server.counts["asample"] == 1
        server.violations.clear()


def test_billing_is_waited_for(server):
    """A 402 is sat out in steps of five seconds, under the same number, while billing_wait lasts."""
    clock = ManualClock()
    with sampling(server, clock=clock, billing_wait=60.0) as client:
        server.fail_next("asample", 402, {"detail": "no money"}, times=2)
        future = client.sample(PROMPT, PARAMS)
        until_it_waits(client, future)
        assert client.service.stats().paused_reason == "no money"
        assert client.service.stats().paused_for >= 5.0
        assert result_of(future, clock)
        assert seq_ids(server) == [0, 0, 0]


@pytest.mark.parametrize("endpoint", ["asample", "retrieve_future"])
def test_billing_wait_ends(server, endpoint):
    """A 402 that lasts longer than billing_wait is an error, on submission and on polling."""
    clock = ManualClock()
    with sampling(server, clock=clock, billing_wait=12.0) as client:
        server.fail_next(endpoint, 402, {"detail": "no money"}, times=None)
        future = client.sample(PROMPT, PARAMS)
        with pytest.raises(tinkex.BillingError, match="no money"):
            result_of(future, clock)
        assert 10 <= clock.monotonic() <= 25
        assert 2 <= server.counts[endpoint] <= 4


def test_billing_wait_of_nothing(server):
    """With billing_wait=0 a 402 is an error at once."""
    with sampling(server, billing_wait=0.0) as client:
        server.fail_next("asample", 402, {"detail": "no money"})
        with pytest.raises(tinkex.BillingError):
            client.sample(PROMPT, PARAMS).result(5)


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503])
def test_submission_is_tried_again(server, status):
    """What may pass is submitted again under the same number, and counted as an attempt."""
    with sampling(server) as client:
        server.fail_next("asample", status, times=2)
        future = client.sample(PROMPT, PARAMS)
        assert future.result(5).sequences[0].tokens == expected_tokens(PROMPT, max_tokens=4)
        assert seq_ids(server) == [0, 0, 0]
        assert future.attempts == 3
        retries = [request.headers["x-stainless-retry-count"] for request in server.requests_to("asample")]
        assert retries == ["0", "1", "2"]


def test_submission_is_given_up(server):
    """After max_attempts the last error is raised, and says that the work may have been done."""
    with sampling(server) as client:
        server.fail_next("asample", 500, {"detail": "broken"}, times=None)
        with pytest.raises(tinkex.InternalServerError, match="broken") as caught:
            client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["asample"] == 5
        assert caught.value.may_have_run
        assert caught.value.phase == "submitting"


def test_elapsed_time_ends_retries(server):
    """After max_elapsed seconds of failures there is no further attempt, however many are left."""
    clock = ManualClock()
    retry = RetryConfig(max_attempts=1000, max_elapsed=20.0, base_delay=4.0, max_delay=4.0, jitter=0.0)
    with sampling(server, clock=clock, retry=retry) as client:
        server.fail_next("asample", 503, times=None)
        with pytest.raises(tinkex.InternalServerError):
            result_of(client.sample(PROMPT, PARAMS), clock)
        assert 3 <= server.counts["asample"] <= 6


def test_pauses_that_others_caused_are_not_counted(server):
    """Time in which a 429 to another sample holds everybody back is not time in which this one fails."""
    clock = ManualClock()
    retry = RetryConfig(max_attempts=1000, max_elapsed=20.0, base_delay=4.0, max_delay=4.0, jitter=0.0)
    with sampling(server, clock=clock, retry=retry) as client:
        server.fail_next("asample", 503, times=2, when=lambda request: b"[77" in request.body)
        future = client.sample([77], PARAMS)
        until(lambda: server.counts["asample"] and future.phase == "retrying")
        server.fail_next("asample", 429, headers={"Retry-After": "250"})
        other = client.sample([5], PARAMS)
        until(lambda: other.phase == "retrying")
        assert result_of(future, clock, step=4.0)
        assert clock.monotonic() > 250.0
        assert server.counts["asample"] == 5


def test_the_server_overrules_the_status(server):
    """x-should-retry decides, whatever the status says."""
    with sampling(server) as client:
        server.fail_next("asample", 503, headers={"x-should-retry": "false"})
        with pytest.raises(tinkex.InternalServerError):
            client.sample(PROMPT, PARAMS).result(5)
        server.fail_next("asample", 400, {"detail": "hm"}, headers={"x-should-retry": "true"})
        assert client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["asample"] == 3


@pytest.mark.parametrize(("status", "kind"), [(429, tinkex.RateLimitError), (402, tinkex.BillingError)])
def test_the_server_may_forbid_to_wait(server, status, kind):
    """A pause is not waited for where x-should-retry says that it makes no sense: the server's words come at once."""
    with sampling(server) as client:
        server.fail_next("asample", status, {"detail": "never again"}, headers={"x-should-retry": "false"})
        error = client.sample(PROMPT, PARAMS).exception(5)
        assert isinstance(error, kind)
        assert "never again" in str(error)
        assert not error.retryable
        assert server.counts["asample"] == 1
        assert client.service.stats().paused_for == 0.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, tinkex.BadRequestError),
        (401, tinkex.AuthenticationError),
        (403, tinkex.PermissionDeniedError),
        (404, tinkex.NotFoundError),
        (410, tinkex.APIStatusError),
        (422, tinkex.UnprocessableEntityError),
    ],
)
def test_refused_submission(server, status, kind):
    """Any other refusal is final at once, typed, in the server's words."""
    with sampling(server) as client:
        server.fail_next("asample", status, {"detail": "no such thing"}, times=None)
        with pytest.raises(kind, match="no such thing") as caught:
            client.sample(PROMPT, PARAMS).result(5)
        assert caught.value.status == status
        assert caught.value.body == {"detail": "no such thing"}
        assert (server.counts["asample"], server.counts["create_sampling_session"]) == (1, 1)


def test_no_retries_flag():
    """A server that asks for it is not sent anything twice, pauses aside."""
    with FakeServer(client_config={"sample_no_retries": True}) as fake, sampling(fake) as client:
        fake.fail_next("asample", 500)
        with pytest.raises(tinkex.InternalServerError):
            client.sample(PROMPT, PARAMS).result(5)
        assert fake.counts["asample"] == 1


# Polling


def test_lost_promise_is_submitted_anew(server):
    """A 410 on a poll leads to a new submission under a new number, and the ids are those of the second."""
    with sampling(server) as client:
        server.fail_next("retrieve_future", 410, {"detail": "expired"})
        future = client.sample(PROMPT, PARAMS)
        response = future.result(5)
        assert seq_ids(server) == [0, 1]
        assert future.attempts == 2
        ids = [request.json["request_id"] for request in server.requests_to("retrieve_future")]
        assert ids[0] != ids[-1] == response.request_id == future.request_id
        assert response.sequences[0].sequence_id == f"{ids[-1]}-0"


def test_lost_promises_are_attempts(server):
    """Promises that are always lost end the sample after max_attempts submissions."""
    with sampling(server) as client:
        server.fail_next("retrieve_future", 410, {"detail": "expired"}, times=None)
        with pytest.raises(tinkex.APIStatusError, match="expired") as caught:
            client.sample(PROMPT, PARAMS).result(5)
        assert caught.value.status == 410
        assert seq_ids(server) == [0, 1, 2, 3, 4]


@pytest.mark.thin(3)
@pytest.mark.parametrize("key", ["detail", "error", "error_message", "message"])
@pytest.mark.parametrize("status", [400, 401, 403, 409, 422])
def test_json_error_is_final(server, key, status):
    """A JSON error body on a poll is the sample's failure: raised at once, typed, in the server's words."""
    with sampling(server) as client:
        server.fail_next("retrieve_future", status, {key: "prompt too odd"})
        future = client.sample(PROMPT, PARAMS)
        with pytest.raises(tinkex.APIStatusError, match="prompt too odd") as caught:
            future.result(5)
        assert caught.value.status == status
        assert caught.value.request_id == future.request_id
        assert caught.value.may_have_run
        assert server.counts["retrieve_future"] == 1


@pytest.mark.parametrize("body", [None, "<html>bad</html>"])
def test_doubtful_400_is_polled_again(server, body):
    """A 400 that is empty or not JSON comes from a proxy: three further polls, then it counts."""
    with sampling(server) as client:
        server.fail_next("retrieve_future", 400, body, times=3)
        assert client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["retrieve_future"] == 4
        server.fail_next("retrieve_future", 400, body, times=None)
        with pytest.raises(tinkex.APIError):
            client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["retrieve_future"] == 8


UNREADABLE = [
    Fault("not_http"), Fault("garbage"), Fault("bad_length"), Fault("huge_length"), Fault("bad_gzip"),
    Fault("truncated"), Fault("status", 200, {"Content-Type": "text/html"}, "<p>welcome</p>"),
]  # fmt: skip


@pytest.mark.thin(3)
@pytest.mark.parametrize("fault", UNREADABLE, ids=lambda fault: fault.kind)
def test_an_unreadable_answer_to_a_poll_is_looked_into(server, fault):
    """An answer that cannot be read costs no paid result: three further polls, each on a connection of its own."""
    with sampling(server) as client:
        server.script("retrieve_future", *[fault] * 3)
        before = server.connections
        assert client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["retrieve_future"] == 4
        assert server.counts["asample"] == 1
        assert server.connections - before >= 3
        server.script("retrieve_future", *[fault] * 4)
        with pytest.raises(tinkex.APIResponseError):
            client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["retrieve_future"] == 8


CUTS = {
    "502": b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n",
    "504": b"HTTP/1.1 504 Gateway Timeout\r\nConnection: close\r\n\r\n",
    "524": b"HTTP/1.1 524 A Timeout Occurred\r\nConnection: close\r\n\r\n",
    "closed": b"",
}


@pytest.fixture
def gateway(preemptible):
    """A gateway in front of a server that holds its polls."""
    preemptible.hold()
    with Gateway(("127.0.0.1", urlsplit(preemptible.url).port)) as between:
        yield between


@pytest.mark.thin(3)
@pytest.mark.parametrize("held", [0.4, 4.0])
@pytest.mark.parametrize("cut", CUTS)
def test_a_gateway_that_cuts_long_polls(preemptible, gateway, cut, held):
    """A poll that a gateway cut after it was held is asked again soon, as often as it takes: that was no failure."""
    clock, brief = ManualClock(), RetryConfig(max_attempts=2, max_elapsed=4.0)
    with sampling(gateway, clock=clock, poll_timeout=45.0, retry=brief) as client:
        future = client.sample(PROMPT, PARAMS)
        for polls in range(1, 11):
            preemptible.wait_for("retrieve_future", polls)
            clock.advance(held)
            gateway.cut(CUTS[cut])
            advance_until(clock, lambda: preemptible.counts["retrieve_future"] > polls, step=0.2)  # noqa: B023
        assert future.last_failure is None
        preemptible.release()
        assert future.result(5)
        assert future.attempts == 1


@pytest.mark.parametrize("cut", ["502", "504", "524"])
def test_a_poll_that_is_cut_at_once_is_a_failure(preemptible, gateway, cut):
    """A poll that failed before it was held counts: it backs off, and ends with max_elapsed."""
    clock, brief = ManualClock(), RetryConfig(max_attempts=2, max_elapsed=4.0, base_delay=3.0, jitter=0.0)
    with sampling(gateway, clock=clock, poll_timeout=45.0, retry=brief) as client:
        future = client.sample(PROMPT, PARAMS)
        preemptible.wait_for("retrieve_future")
        gateway.cut(CUTS[cut])
        until_it_waits(client, future)
        clock.advance(3.5)
        preemptible.wait_for("retrieve_future", 2)
        gateway.cut(CUTS[cut])
        assert isinstance(future.exception(5), tinkex.APIError)


def test_unknown_promise_at_first(server):
    """A 404 in the first ten seconds may be a replica that does not know yet: three further polls, then it counts."""
    with sampling(server) as client:
        server.fail_next("retrieve_future", 404, {"detail": "unknown"}, times=3)
        assert client.sample(PROMPT, PARAMS).result(5)
        server.fail_next("retrieve_future", 404, {"detail": "unknown"}, times=None)
        with pytest.raises(tinkex.NotFoundError, match="unknown"):
            client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["retrieve_future"] == 8


def test_unknown_promise_later(preemptible):
    """A 404 after more than ten seconds is final."""
    clock = ManualClock()
    with sampling(preemptible, clock=clock, poll_timeout=20.0) as client:
        preemptible.hold()
        future = client.sample(PROMPT, PARAMS)
        preemptible.wait_for("retrieve_future")
        preemptible.fail_next("retrieve_future", 404, {"detail": "unknown"}, times=None)
        clock.advance(21.0)
        with pytest.raises(tinkex.NotFoundError):
            result_of(future, clock)
        assert preemptible.counts["retrieve_future"] == 2


def test_server_errors_on_polls_back_off(server):
    """Polls that meet 5xx come at growing intervals, are no attempts, and go on until the server recovers."""
    clock = ManualClock()
    with sampling(server, clock=clock, retry=SLOWLY) as client:
        plan = server.fail_next("retrieve_future", 503, times=None)
        future = client.sample(PROMPT, PARAMS)
        advance_until(clock, lambda: clock.monotonic() >= 60.0, step=1.0)
        assert 5 <= server.counts["retrieve_future"] <= 12
        plan.cancel()
        assert result_of(future, clock)
        assert future.attempts == 1


def test_server_error_on_a_poll_that_is_final(server):
    """x-should-retry: false ends the polls too."""
    with sampling(server) as client:
        server.fail_next("retrieve_future", 500, {"detail": "dead"}, headers={"x-should-retry": "false"})
        with pytest.raises(tinkex.InternalServerError, match="dead"):
            client.sample(PROMPT, PARAMS).result(5)


@pytest.mark.parametrize("pending", ["408", "try_again", "status"])
def test_floor_on_polls(pending):
    """A server that says "not ready" at once is asked at most every min_poll_interval seconds, and ever less often."""
    clock = ManualClock()
    with FakeServer(long_poll=0.0, pending=pending) as fake:
        fake.hold()
        with sampling(fake, clock=clock, min_poll_interval=0.25) as client:
            future = client.sample(PROMPT, PARAMS)
            fake.wait_for("retrieve_future")
            start = clock.monotonic()
            advance_until(clock, lambda: clock.monotonic() - start >= 5.0, step=0.1)
            assert 3 <= fake.counts["retrieve_future"] <= 12
            fake.release()
            assert result_of(future, clock)


def test_the_server_asks_for_a_longer_interval():
    """retry_after_ms in a pending answer is kept to."""
    clock = ManualClock()
    with FakeServer() as fake, sampling(fake, clock=clock) as client:
        fake.fail_next("retrieve_future", 200, {"type": "try_again", "retry_after_ms": 5000})
        future = client.sample(PROMPT, PARAMS)
        fake.wait_for("retrieve_future")
        rest()
        clock.advance(4.9)
        rest()
        assert fake.counts["retrieve_future"] == 1
        assert result_of(future, clock)


def test_poll_that_times_out_is_asked_again(preemptible):
    """A long poll without an answer is no failure."""
    clock = ManualClock()
    with sampling(preemptible, clock=clock, poll_timeout=45.0, retry=RetryConfig(max_attempts=1)) as client:
        preemptible.hold()
        future = client.sample(PROMPT, PARAMS)
        for polls in range(1, 6):
            preemptible.wait_for("retrieve_future", polls)
            clock.advance(46.0)
        preemptible.release()
        assert result_of(future, clock)
        assert future.attempts == 1


def test_iterations_are_numbered(server):
    """Polls carry their number, the first one also how long the promise took."""
    with sampling(server) as client:
        server.hold()
        future = client.sample(PROMPT, PARAMS)
        server.wait_for("retrieve_future", 3)
        server.release()
        future.result(5)
        polls = server.requests_to("retrieve_future")
        assert [poll.headers["X-Tinker-Request-Iteration"] for poll in polls[:3]] == ["0", "1", "2"]
        times = [poll.headers.get("X-Tinker-Create-Promise-Roundtrip-Time") for poll in polls]
        assert 0 < float(times[0]) < 5
        assert not any(times[1:])


@pytest.mark.parametrize("category", ["user", "server"])
def test_failed_sample(server, category):
    """A sample that the server ran and failed is final, whoever is to blame, and says so."""
    with sampling(server) as client:
        server.fail_samples("out of luck", category=category)
        future = client.sample(PROMPT, PARAMS)
        with pytest.raises(RequestFailedError, match="out of luck") as caught:
            future.result(5)
        assert caught.value.category == category
        assert caught.value.request_id == future.request_id
        assert is_user_error(caught.value) is (category == "user")
        assert server.counts["asample"] == 1


def test_large_results_are_announced():
    """A result whose size comes first is asked for again, whole, once there is room for it."""
    with FakeServer(strict=True, metadata_size=1) as fake, sampling(fake) as client:
        response = client.sample(PROMPT, PARAMS).result(5)
        assert response.sequences[0].tokens == expected_tokens(PROMPT, max_tokens=4)
        wanted = [request.json.get("allow_metadata_only", False) for request in fake.requests_to("retrieve_future")]
        assert wanted == [True, False]
        assert client.service._lifecycle.runtime.sampling.response_bytes.out == 0
        assert not broken(fake)


def test_size_twice(server):
    """A server that answers a request for the whole result with its size breaks the protocol."""
    with sampling(server) as client:
        server.fail_next("retrieve_future", 200, {"status": "complete_metadata", "response_payload_size": 9}, times=2)
        with pytest.raises(tinkex.APIResponseError, match="twice"):
            client.sample(PROMPT, PARAMS).result(5)
        server.violations.clear()
        assert client.service._lifecycle.runtime.sampling.response_bytes.out == 0


def test_result_at_once():
    """A server that answers asample with the result itself is not polled."""
    with FakeServer(inline=True, answer="json") as fake, sampling(fake) as client:
        response = client.sample(PROMPT, PARAMS).result(5)
        assert response.sequences[0].tokens == expected_tokens(PROMPT, max_tokens=4)
        assert response.request_id is None
        assert fake.counts["retrieve_future"] == 0


# Deadlines


def late(future):
    """The error of a sample that ran out of time."""
    with pytest.raises(SampleTimeoutError) as caught:
        future.result(10)
    return caught.value


def test_deadline_in_the_queue(server):
    """The deadline covers the wait for a place in flight; nothing was sent then."""
    clock = ManualClock()
    with sampling(server, clock=clock, max_in_flight=1) as client:
        server.hold()
        client.sample(PROMPT, PARAMS)
        server.wait_for("retrieve_future")
        future = client.sample(PROMPT, PARAMS, timeout=3)
        clock.advance(2.9)
        assert not future.done()
        clock.advance(0.2)
        error = late(future)
        assert (error.phase, error.request_id, error.may_have_run, error.timeout) == ("queued", None, False, 3)
        assert server.counts["asample"] == 1


def test_deadline_while_submitting(server):
    """The deadline covers the submission; the work may have been done then."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.fault("asample", "hang")
        future = client.sample(PROMPT, PARAMS, timeout=3)
        server.wait_for("asample")
        clock.advance(3.1)
        error = late(future)
        assert (error.phase, error.attempts, error.may_have_run) == ("submitting", 1, True)


def test_deadline_while_waiting(preemptible):
    """The deadline covers the wait for the result, and the error names the request and the queue."""
    clock = ManualClock()
    with sampling(preemptible, clock=clock, poll_timeout=1.0) as client:
        preemptible.fail_next("retrieve_future", 408, {"queue_state": "paused_capacity"})
        preemptible.hold()
        future = client.sample(PROMPT, PARAMS, timeout=30)
        until(lambda: future.queue_state is not None)
        clock.advance(30.1)
        error = late(future)
        assert (error.phase, error.last_status, error.queue_state) == ("waiting", 408, "paused_capacity")
        assert error.request_id == future.request_id is not None
        assert error.may_have_run
        until(lambda: future.phase == "done")


def test_deadline_during_a_pause(server):
    """The deadline covers the pauses that the server asks for."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.fail_next("asample", 429, headers={"Retry-After": "600"})
        future = client.sample(PROMPT, PARAMS, timeout=5)
        until_it_waits(client, future)
        clock.advance(5.1)
        error = late(future)
        assert (error.phase, error.last_status) == ("retrying", 429)
        assert server.counts["asample"] == 1


def test_deadline_between_attempts(server):
    """The deadline covers the time between attempts."""
    clock = ManualClock()
    with sampling(server, clock=clock, retry=RetryConfig(base_delay=10.0, jitter=0.0)) as client:
        server.fail_next("asample", 500, times=None)
        future = client.sample(PROMPT, PARAMS, timeout=5)
        until_it_waits(client, future)
        clock.advance(5.1)
        assert late(future).phase == "retrying"


def test_configured_deadline(server):
    """Without timeout= the configured one counts; infinity is none."""
    clock = ManualClock()
    with sampling(server, clock=clock, timeout=50.0, min_poll_interval=10.0) as client:
        server.hold()
        limited = client.sample(PROMPT, PARAMS)
        endless = client.sample(PROMPT, PARAMS, timeout=float("inf"))
        server.wait_for("retrieve_future", 2)
        clock.advance(50.1)
        assert late(limited).timeout == 50.0
        server.release()
        assert result_of(endless, clock)


def test_a_sample_that_ran_out_of_time_frees_its_place(server):
    """After a deadline the place in flight and the connection are free for the next sample."""
    clock = ManualClock()
    with sampling(server, clock=clock, max_in_flight=1) as client:
        server.fault("asample", "hang")
        future = client.sample(PROMPT, PARAMS, timeout=1)
        server.wait_for("asample")
        clock.advance(1.1)
        late(future)
        assert result_of(client.sample(PROMPT, PARAMS), clock)


def test_result_timeout_does_not_end_the_sample(server):
    """`result(timeout)` only stops waiting."""
    with sampling(server) as client:
        server.hold()
        future = client.sample(PROMPT, PARAMS)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        server.release()
        assert future.result(5)
        assert server.counts["cancel_future"] == 0


# Cancelling


def test_cancel_tells_the_server(server):
    """A cancelled sample is cancelled at the server, where that lets us."""
    with sampling(server) as client:
        server.hold()
        future = client.sample(PROMPT, PARAMS)
        server.wait_for("retrieve_future")
        until(lambda: future.request_id is not None)
        assert future.cancel()
        assert future.cancel()
        server.wait_for("cancel_future")
        assert [r.json for r in server.requests_to("cancel_future")] == [{"request_id": future.request_id}]
        with pytest.raises(CancelledError):
            future.result(0)
        until(lambda: server.cancelled == 1)
        until(lambda: client.service.stats().in_flight == 0)


def test_deadline_tells_the_server(server):
    """So is a sample that ran out of time."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.hold()
        future = client.sample(PROMPT, PARAMS, timeout=5)
        server.wait_for("retrieve_future")
        until(lambda: future.request_id is not None)
        clock.advance(5.1)
        late(future)
        server.wait_for("cancel_future")


def test_cancel_without_the_flag(preemptible):
    """A server without the flag is told nothing."""
    with sampling(preemptible) as client:
        preemptible.hold()
        future = client.sample(PROMPT, PARAMS)
        preemptible.wait_for("retrieve_future")
        assert future.cancel()
        until(lambda: client.service.stats().in_flight == 0)
        barrier(client)
        assert preemptible.counts["cancel_future"] == 0


def test_cancel_in_the_queue(server):
    """A sample that was cancelled before it was sent is never sent."""
    with sampling(server, max_in_flight=1) as client:
        server.hold()
        first = client.sample(PROMPT, PARAMS)
        second = client.sample(PROMPT, PARAMS)
        server.wait_for("retrieve_future")
        assert second.cancel()
        server.release()
        assert first.result(5)
        barrier(client)
        assert server.counts["asample"] == 1
        assert not first.cancel()


def test_cancels_are_sent_a_few_at_a_time():
    """No more are under way than the server wants, submissions go before them, and a close does not wait for them."""
    flags = {"sample_cancel_enabled": True, "sample_cancel_max_batch_size": 3}
    with FakeServer(dynamic_config=flags) as fake:
        with sampling(fake) as client:
            fake.hold()
            futures = [client.sample([n + 1], PARAMS) for n in range(20)]
            until(lambda: all(future.request_id for future in futures))
            fake.fault("cancel_future", "hang", times=None)
            for future in futures:
                future.cancel()
            fake.wait_for("cancel_future", 3)
            fake.release()
            assert client.sample(PROMPT, PARAMS).result(5)
            barrier(client)
            assert fake.counts["cancel_future"] == 3
        assert fake.counts["finish"] == 1
        assert fake.counts["cancel_future"] == 3


def test_every_cancel_is_sent():
    """In the end the server has heard of every cancelled sample, whatever went wrong on the way."""
    flags = {"sample_cancel_enabled": True, "sample_cancel_max_batch_size": 4}
    clock = ManualClock()
    with FakeServer(dynamic_config=flags) as fake, sampling(fake, clock=clock) as client:
        fake.hold()
        futures = [client.sample([n + 1], PARAMS) for n in range(40)]
        until(lambda: all(future.request_id for future in futures))
        fake.script("cancel_future", Fault("status", 503), Fault("reset"), Fault("reset_after"))
        for future in futures:
            future.cancel()
        advance_until(clock, lambda: fake.cancelled == 40)
        told = {request.json["request_id"] for request in fake.requests_to("cancel_future")}
        assert told == {future.request_id for future in futures}


def test_cancels_of_a_session_that_goes_on():
    """Where the session belongs to somebody else, a close lets the server hear of what was cancelled."""
    with FakeServer(dynamic_config={"sample_cancel_enabled": True}) as fake, sampling(fake) as maker:
        fake.hold()
        with sampling(fake, sampling_session_id=maker.sampling_session_id) as client:
            futures = [client.sample([n + 1], PARAMS) for n in range(5)]
            until(lambda: all(future.request_id for future in futures))
        assert fake.counts["cancel_future"] == 5
        assert fake.counts["finish"] == 0


def test_cancels_that_come_late_at_the_end(monkeypatch):
    """The end waits for samples that are still about to say that nobody wants them."""
    with FakeServer(dynamic_config={"sample_cancel_enabled": True}) as fake, sampling(fake) as maker:
        fake.hold()
        with sampling(fake, sampling_session_id=maker.sampling_session_id) as client:
            future = client.sample(PROMPT, PARAMS)
            until(lambda: future.request_id)
            runtime = client._lifecycle.runtime
            add, stop, stopped = runtime.sampling.cancellations.add, runtime.stop, threading.Event()

            def add_late(request_id):
                stopped.wait(0.3)  # in vain, if it is waited for
                add(request_id)

            monkeypatch.setattr(runtime.sampling.cancellations, "add", add_late)
            monkeypatch.setattr(runtime, "stop", lambda: (stopped.set(), stop()))
            client.service.close(cancel_pending=True)
        assert fake.counts["cancel_future"] == 1


def test_failed_cancel_is_only_logged(server):
    """Nobody hears of a cancel that the server refuses."""
    with sampling(server) as client:
        server.hold()
        server.fail_next("cancel_future", 403, times=None)
        future = client.sample(PROMPT, PARAMS)
        server.wait_for("retrieve_future")
        until(lambda: future.request_id is not None)
        future.cancel()
        server.wait_for("cancel_future")
        server.release()
        server.violations.clear()
        assert client.sample(PROMPT, PARAMS).result(5)


# Futures


def test_future_tells_how_the_sample_is_doing(preemptible):
    """Phase, request, queue and the server's last word can be read at any time."""
    clock = ManualClock(100.0)
    with sampling(preemptible, clock=clock, max_in_flight=1, poll_timeout=1.0) as client:
        preemptible.hold()
        preemptible.fail_next("retrieve_future", 408, {"queue_state": "paused_capacity", "queue_state_reason": "full"})
        first = client.sample(PROMPT, PARAMS)
        second = client.sample(PROMPT, PARAMS)
        until(lambda: first.queue_state is not None)
        assert (first.phase, second.phase) == ("waiting", "queued")
        assert (first.queue_state, first.queue_state_reason) == (QueueState.PAUSED_CAPACITY, "full")
        assert first.last_heard == 100.0
        assert first.last_status == 408
        assert (second.request_id, second.last_heard, second.queue_state) == (None, None, None)
        assert not first.running()
        preemptible.release()
        result_of(first, clock)
        result_of(second, clock)
        assert (first.phase, second.phase) == ("done", "done")


def test_futures_work_with_the_standard_tools(server):
    """`as_completed`, callbacks and asyncio take the futures as they take any other."""
    with sampling(server) as client:
        futures = [client.sample([n + 1], PARAMS) for n in range(5)]
        assert {future.result().usage.prompt_tokens for future in as_completed(futures, 10)} == {1}
        called = Collector()
        client.sample(PROMPT, PARAMS).add_done_callback(called.on_queue_state_change)
        assert called.wait_for(1)[0].done()

        async def wrapped():
            return await asyncio.wrap_future(client.sample(PROMPT, PARAMS))

        assert asyncio.run(wrapped()).sequences[0].tokens == expected_tokens(PROMPT, max_tokens=4)


# Secrets


@pytest.mark.parametrize("key", [KEY, "a-key-of-another-server"])
@pytest.mark.parametrize("endpoint", ["asample", "retrieve_future"])
@pytest.mark.parametrize("status", [400, 200])
def test_errors_never_show_the_key(server, caplog, key, endpoint, status):
    """A server that repeats the key in its words does not get it into an error or a log."""
    caplog.set_level("DEBUG")
    body = {"error": f"the key {key} is no good", "category": "user"}
    server.fail_next(endpoint, status, body, headers={"x-deprecation-note": f"old key {key}"})
    with sampling(server, api_key=key) as client:
        with pytest.raises(tinkex.APIError, match="is no good") as caught:
            client.sample(PROMPT, PARAMS).result(5)
        shown = [str(caught.value), repr(caught.value), repr(vars(caught.value)), caplog.text, repr(client.service)]
        assert not [text for text in shown if key in text]


@pytest.mark.parametrize("endpoint", ["asample", "retrieve_future"])
def test_garbage_never_shows_the_key(server, endpoint):
    """Nor does one that answers with something unreadable."""
    key = "a-key-of-another-server"
    server.fail_next(endpoint, 200, f"<html>{key}</html>", times=4)
    with sampling(server, api_key=key) as client:
        with pytest.raises(tinkex.APIResponseError) as caught:
            client.sample(PROMPT, PARAMS).result(5)
        assert key not in f"{caught.value} {caught.value!r} {vars(caught.value)}"


def test_many_samples_through_every_kind_of_trouble(server):
    """Samples all end well while the server pauses, breaks, loses promises and drops connections."""
    with sampling(server, retry=RetryConfig(max_attempts=50, base_delay=0.01, max_delay=0.02)) as client:
        for number in range(10):
            server.script("asample", None, Fault("status", 503), None, Fault("reset"), None)
            server.script("retrieve_future", None, Fault("status", 500), Fault("status", 410), Fault("reset"), None)
            server.fail_next("asample", 429, headers={"Retry-After": "0.01"}, skip=number)
        futures = [client.sample([n + 1], PARAMS) for n in range(60)]
        all_done(futures)
        for number, future in enumerate(futures):
            assert future.result().sequences[0].tokens == expected_tokens([number + 1], max_tokens=4)
        assert client.service.stats().in_flight == 0
