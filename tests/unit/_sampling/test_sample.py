"""A sample from its place in flight to its end, answer by answer: no thread, no socket, no clock but the test's."""

from __future__ import annotations

import attrs
import pytest
from exchanging import DONE, METADATA, STEADY, Client
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex import QueueState
from tinkex.errors import APIConnectionError, APIResponseError

PENDING = {"type": "try_again"}
NOTHING = (0, 0, 0, 0)
ASK, POLL = "asample", "retrieve_future"


@pytest.fixture
def client():
    """A service whose server is the test; at the end no sample holds anything."""
    made = Client()
    yield made
    assert made.taken() == NOTHING


def numbers(client):
    """The sequence numbers of the submissions."""
    return [body["seq_id"] for body in client.sent(ASK)]


def test_from_submission_to_result(client):
    """It is submitted once, polled with its request id, and ends in the result, with ids and times."""
    future = client.sample()
    assert (future.phase, future.attempts, client.open) == ("submitting", 1, [ASK])
    client.advance(1.0)
    client.promise("r-7")
    assert (future.phase, future.request_id, client.open) == ("waiting", "r-7", [POLL])
    assert client.sent(POLL) == [{"request_id": "r-7", "allow_metadata_only": True}]
    client.advance(2.0)
    client.answer(DONE)
    response = future.result(0)
    assert (response.request_id, response.sequences[0].tokens) == ("r-7", [1, 2, 3, 4])
    assert (response.timing.submit, response.timing.wait) == (1.0, 2.0)
    assert (future.phase, future.last_status, client.open) == ("done", 200, [])
    assert (client.context.counters.completed, client.context.counters.failed) == (1, 0)


def test_result_at_once(client):
    """A server may answer a submission with the result: nothing is polled."""
    future = client.sample()
    client.answer(DONE)
    assert future.result(0).sequences[0].tokens == [1, 2, 3, 4]
    assert client.sent(POLL) == []


def test_a_pause_begins_before_the_permit_is_released(client, monkeypatch):
    """After a 429 no sample slips out between the answer and the pause that it asks for, also not on another worker."""
    admission, pause = client.context.admission, client.context.admission.pause

    def pause_late(*arguments):
        client.steps.run()  # what another worker does meanwhile
        pause(*arguments)

    monkeypatch.setattr(admission, "pause", pause_late)
    first = client.sample()
    rest = [client.sample() for _ in range(400)]
    assert len(client.open) == 400  # as many submissions as may be under way: one sample waits for a permit
    client.answer({"detail": "slow down"}, 429, retry_after="30")
    assert len(client.sent(ASK)) == 400
    client.advance(29.0)
    assert len(client.sent(ASK)) == 400
    assert (first.phase, client.context.admission.throttle.reason) == ("retrying", "slow down")
    while client.open:
        client.answer(DONE)
    client.advance(2.0)
    while client.open:
        client.answer(DONE)
    assert all(future.result(0) for future in [first, *rest])
    assert numbers(client).count(0) == 2


def test_a_429_keeps_its_number_and_costs_no_attempt():
    """What the server put off is submitted again under its number, however often."""
    client = Client(retry=attrs.evolve(STEADY, max_attempts=1))
    future = client.sample()
    for _ in range(6):
        client.answer(None, 429, retry_after="1")
        client.advance(7.0)
    client.answer(DONE)
    assert future.result(0)
    assert (numbers(client), future.attempts) == ([0] * 7, 1)
    assert [event.state for event in client.states] == [QueueState.PAUSED_RATE_LIMIT] * 6 + [QueueState.ACTIVE]


@pytest.mark.parametrize("told", ["0.0001", "1e-320", "1e-5", "0.24"])
def test_a_429_that_asks_for_next_to_nothing(told):
    """A server that refuses all at once is asked a few times in a second at first, and ever less often."""
    client = Client()
    futures = [client.sample() for _ in range(50)]
    for _ in range(50):
        client.answer(None, 429, retry_after=told)
    asked = []
    for _ in range(100):
        before = len(client.sent(ASK))
        for _ in range(10):
            client.advance(0.1)
            while client.open:
                client.answer(None, 429, retry_after=told)
        asked.append(len(client.sent(ASK)) - before)
    assert max(asked) <= 3
    assert sum(asked) <= 25
    client.advance(7.0)
    for _ in range(10):
        while client.open:
            client.answer(DONE)
        client.advance(1.0)
    assert all(future.result(0) for future in futures)


@pytest.mark.parametrize("told", ["1e12", "1e999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_429_that_asks_for_ever(client, told):
    """After five minutes one sample tries, however long the server asked for; when it is accepted all go on."""
    futures = [client.sample() for _ in range(20)]
    for _ in range(20):
        client.answer(None, 429, retry_after=told)
    client.advance(299.0)
    assert client.open == []
    client.advance(2.5)
    assert client.open == [ASK]
    client.answer(None, 429, retry_after=told)
    client.advance(302.0)
    while client.open:
        client.answer(DONE)
    assert all(future.result(0) for future in futures)


@pytest.mark.parametrize(
    ("answer", "status", "fields"),
    [
        ({"type": "try_again", "retry_after_ms": 1e12}, 200, {}),
        (None, 408, {"retry_after": "1e12"}),
        (None, 503, {"retry_after": "1e12"}),
        (None, 429, {"retry_after_ms": "1e999"}),
    ],
)
def test_what_is_ready_is_fetched(client, answer, status, fields):
    """However long the server asks to wait, a running sample is asked for after a minute."""
    future = client.sample()
    client.promise()
    client.answer(answer, status, **fields)
    client.advance(59.0)
    assert client.open == []
    client.advance(1.5)
    client.answer(DONE)
    assert future.result(0)


def test_a_last_look_is_in_time():
    """A Retry-After beyond max_elapsed ends no running sample without another look."""
    client = Client(retry=attrs.evolve(STEADY, max_elapsed=10.0))
    future = client.sample()
    client.promise()
    client.answer(None, 503, retry_after="20")
    client.advance(10.0)
    client.answer(DONE)
    assert future.result(0)


@pytest.mark.parametrize(("prompt", "seconds"), [([1] * 3, 1.0), ([1] * 20_000, 5.0)])
def test_a_429_without_a_time(client, prompt, seconds):
    """It pauses for a second, or for five after a large request, and for a fifth of that more at most."""
    future = client.sample(prompt)
    client.answer(None, 429)
    client.advance(seconds - 0.01)
    assert len(client.sent(ASK)) == 1
    client.advance(seconds * 0.2 + 0.02)
    assert len(client.sent(ASK)) == 2
    client.answer(DONE)
    assert future.result(0)


@pytest.mark.parametrize(("status", "kind"), [(429, tinkex.RateLimitError), (402, tinkex.BillingError)])
def test_a_pause_that_is_not_to_be_waited_for(client, status, kind):
    """Where the server says that trying again makes no sense, its refusal is the error, and nothing pauses."""
    future = client.sample()
    client.answer({"detail": "never"}, status, x_should_retry="false")
    error = future.exception(0)
    assert (type(error), error.phase, error.may_have_run) == (kind, "submitting", False)
    assert client.context.admission.throttle.paused_until < 0


LIMITED = "Rate limit exceeded: RPS limit exceeded: 3/3.0 requests/s"
FAILED_LIMITED = [
    ({"error": LIMITED, "category": "User"}, 200),
    ({"detail": LIMITED}, 422),
    ({"type": "RequestFailedResponse", "error_message": LIMITED}, 400),
]


@pytest.mark.parametrize(("answer", "status"), FAILED_LIMITED)
def test_a_sample_that_failed_for_a_rate_limit(client, answer, status):
    """A failed sample whose words are a rate limit has not run: it pauses as a 429 does, and is submitted anew."""
    future = client.sample()
    for number in range(3):
        client.promise(f"r-{number}")
        client.answer(answer, status)
        assert (future.phase, client.open) == ("retrying", [])
        client.advance(30.0)
    client.answer(DONE)
    assert future.result(0)
    assert numbers(client) == [0, 1, 2, 3]
    assert (future.attempts, client.states[0].state) == (1, QueueState.PAUSED_RATE_LIMIT)


@pytest.mark.parametrize(("answer", "status"), FAILED_LIMITED)
def test_a_rate_limit_in_words_may_raise(answer, status):
    """With on_rate_limit="raise" it is the error, which can be tried again and is nobody's fault."""
    client = Client(on_rate_limit="raise")
    future = client.sample()
    client.promise()
    client.answer(answer, status)
    error = future.exception(0)
    assert (error.retryable, tinkex.errors.is_user_error(error)) == (True, False)
    assert "Wait before the next request" in str(error)


def test_a_submission_refused_for_a_rate_limit_in_words(client):
    """Whatever its status, it is put off as a 429 is: under its number."""
    future = client.sample()
    client.answer({"detail": LIMITED}, 403)
    client.advance(30.0)
    client.answer(DONE)
    assert future.result(0)
    assert (numbers(client), future.attempts) == ([0, 0], 1)


@pytest.mark.parametrize("lost", [False, True])
def test_after_a_rate_limit_nothing_may_have_run(client, lost):
    """What was put off by words leaves no doubt behind, and what was lost before it stays in doubt."""
    future = client.sample()
    if lost:
        client.end(APIConnectionError("lost", may_have_run=True))
        client.advance(1.0)
    client.promise()
    client.answer(*FAILED_LIMITED[0])
    client.advance(30.0)
    client.answer({"detail": "no"}, 403)
    assert future.exception(0).may_have_run is lost


def test_too_early(client):
    """A 425 is no refusal for good: what is asked for is still being made, and is asked for again."""
    future = client.sample()
    client.answer({"detail": "Checkpoint is still being created"}, 425)
    client.advance(1.0)
    client.promise()
    client.answer({"detail": "not yet"}, 425)
    client.advance(1.0)
    client.answer(DONE)
    assert future.result(0)
    assert (numbers(client), future.attempts) == ([0, 0], 2)


FORGOTTEN = {"detail": "Sampling session session:sampler:0 does not exist."}


def test_a_forgotten_sampling_session(client):
    """A submission that met none goes on in a new one, under that one's numbers, and costs no attempt."""
    future = client.sample()
    client.answer(FORGOTTEN, 404)
    for answer in ({}, {}, {"session_id": "s"}, {"sampling_session_id": "s:sampler:1"}):
        client.answer(answer)
    assert (future.phase, client.open) == ("submitting", [ASK])
    client.answer(DONE)
    assert future.result(0)
    assert [(body["sampling_session_id"], body["seq_id"]) for body in client.sent(ASK)] == [
        ("session:sampler:0", 0), ("s:sampler:1", 0),
    ]  # fmt: skip
    assert future.attempts == 1


def test_a_sampling_session_that_is_renewed_under_its_id(client):
    """Where the server gives it the same id again, no number stands for two requests."""
    future = client.sample()
    client.answer(FORGOTTEN, 404)
    for answer in ({}, {}, {"session_id": "s"}, {"sampling_session_id": "session:sampler:0"}, DONE):
        client.answer(answer)
    assert future.result(0)
    assert numbers(client) == [0, 1]


@pytest.mark.parametrize(
    ("answer", "status", "forgotten"),
    [({"base_model": "m"}, 200, False), ({"detail": "Not Found"}, 404, False), ({"detail": "gone"}, 404, True)],
)
def test_what_is_unknown(client, answer, status, forgotten):
    """Where the words of a 404 do not say that it is the sampling session, the server is asked whether it knows it."""
    futures = [client.sample(), client.sample()]
    for _ in futures:
        client.answer({"detail": "no such thing"}, 404)
    for body in ({}, {}):
        client.answer(body)
    assert client.open == ["samplers/session%3Asampler%3A0"]
    client.answer(answer, status)
    if forgotten:
        for body in ({"session_id": "s"}, {"sampling_session_id": "s:sampler:1"}, DONE, DONE):
            client.answer(body)
    assert [future.exception(0) is None for future in futures] == [forgotten] * 2
    assert client.open == []


HOMELESS = [
    ({"detail": "Failed to retrieve future: Session session:sampler:0 not found."}, 404),
    ({"error": "Sampling session session:sampler:0 does not exist", "category": "user"}, 200),
]


@pytest.mark.parametrize(("answer", "status"), HOMELESS)
def test_a_sampling_session_that_is_missed_after_the_promise(client, answer, status):
    """Some servers accept a sample, and fail it once they look for its sampling session: it goes on in a new one."""
    future = client.sample()
    client.promise()
    client.answer(answer, status)
    for body in ({}, {}, {"session_id": "s"}, {"sampling_session_id": "s:sampler:1"}, {"request_id": "r-2"}, DONE):
        client.answer(body)
    assert future.result(0).request_id == "r-2"
    assert [body["sampling_session_id"] for body in client.sent(ASK)] == ["session:sampler:0", "s:sampler:1"]


@pytest.mark.parametrize(("answer", "status"), HOMELESS)
def test_what_was_promised_before_the_server_was_gone(client, answer, status):
    """If the server was found gone since the promise, the sample may have run before: it is not submitted again."""
    future = client.sample()
    client.promise()
    client.advance(0.1)
    client.end(APIConnectionError("lost", may_have_run=True))
    client.advance(1.5)
    client.answer(answer, status)
    error = future.exception(0)
    assert (error.request_id, error.may_have_run) == ("r-1", True)
    assert client.open == []


def test_a_sample_that_no_sampling_session_takes(client):
    """Where others are accepted and one is not, whatever is renewed, that one ends after a few renewals."""
    future = client.sample()
    client.answer(FORGOTTEN, 404)
    for answer in ({}, {}, {"session_id": "s"}):
        client.answer(answer)
    for number in range(1, 4):
        client.answer({"sampling_session_id": f"s:sampler:{number}"})
        client.session.latest.accepted = True
        client.answer(FORGOTTEN, 404)
    assert isinstance(future.exception(0), tinkex.NotFoundError)
    assert (client.open, len(numbers(client))) == ([], 4)


def test_what_may_have_run_stays_where_it_is(client):
    """A submission that was lost may have run, as may one that was promised: neither goes on in another session."""
    lost, promised = client.sample(), client.sample()
    client.end(APIConnectionError("lost", may_have_run=True))
    client.promise()
    client.answer({"detail": "expired"}, 410)
    client.advance(1.5)
    client.answer(FORGOTTEN, 404)
    client.answer(FORGOTTEN, 404)
    for future in (lost, promised):
        error = future.exception(0)
        assert (type(error), error.may_have_run) == (tinkex.NotFoundError, True)
        assert "make a new sampling client" in str(error)
    assert client.open == []


def test_a_path_that_is_not_there(client):
    """A 404 of a router, or of a proxy, says nothing of the sampling session."""
    for answer in ({"detail": "Not Found"}, b"404 page not found"):
        future = client.sample()
        client.answer(answer, 404)
        assert isinstance(future.exception(0), tinkex.NotFoundError)
        assert client.open == []


CUTS = [502, 504, 524, None]


def cut(client, status):
    """Cut a poll as a gateway does: with a status of its own, or by closing the connection."""
    if status is None:
        client.end(APIConnectionError("lost", may_have_run=True))
    else:
        client.answer(None, status)


@pytest.mark.parametrize("status", CUTS)
def test_polls_that_are_cut_soon(client, status):
    """While the server is heard of, a poll that was held for 0.2 s and cut is no failure, however often it comes."""
    future = client.sample()
    client.promise("r-0b9d")
    for _ in range(100):  # 120 s, and max_elapsed is 60
        client.advance(0.21)
        cut(client, status)
        client.advance(1.0)  # the distance of polls that end early
        client.api._heard_at = client.clock.monotonic()  # by a heartbeat
        assert client.open == [POLL]
    assert (future.attempts, future.last_failure) == (1, None)
    client.answer(DONE)
    assert future.result(0)


@pytest.mark.parametrize("status", CUTS)
def test_polls_that_are_cut_soon_by_a_gateway_alone(client, status):
    """Where nothing but the gateway has answered for half a minute they are failures: the sample ends."""
    future = client.sample()
    client.promise("r-0b9d")
    while not future.done():
        polled = client.open
        client.advance(0.5)
        if polled:
            cut(client, status)
    assert isinstance(future.exception(0), tinkex.APIError)
    assert 85 <= client.clock.monotonic() <= 95


@pytest.mark.parametrize("status", CUTS)
def test_polls_that_are_cut_at_once(client, status):
    """What was not held is a failure, whatever else is answered."""
    future = client.sample()
    client.promise("r-0b9d")
    while not future.done():
        client.advance(0.1)
        client.api._heard_at = client.clock.monotonic()
        if client.open:
            cut(client, status)
    assert 55 <= client.clock.monotonic() <= 65


def doubted(client, request_id):
    """A sample whose first poll is lost, and whose second is answered with a result."""
    future = client.sample()
    client.promise(request_id)
    client.advance(0.1)
    client.end(APIConnectionError("lost", may_have_run=True))
    client.advance(1.5)
    client.answer(DONE)
    return future


@pytest.mark.parametrize(
    ("answer", "status", "believed"),
    [({"base_model": "m"}, 200, True), ({"detail": "Not Found"}, 404, True), (FORGOTTEN, 404, False)],
)
def test_results_after_a_lost_connection(client, answer, status, believed):
    """Where ids are plain numbers a result counts if the server still knows the sampling session, or cannot say."""
    future = doubted(client, "7")
    client.answer({})  # flags, which a session has before all else
    client.answer({})
    assert client.open == ["samplers/session%3Asampler%3A0"]
    client.answer(answer, status)
    if believed:
        assert future.result(0)
        return
    error = future.exception(0)
    assert (type(error), error.may_have_run, error.retryable) == (tinkex.RequestFailedError, True, True)
    assert "another request's result" in str(error)


def test_ids_that_can_be_trusted(client):
    """Where ids are unguessable, and where nothing was lost since, no question is asked."""
    assert doubted(client, "0b9d2f").result(0)
    future = client.sample()
    client.advance(0.1)
    client.promise("8")
    client.answer(DONE)
    assert future.result(0)
    assert {exchange.endpoint for exchange in client.transport.sent} == {ASK, POLL}


def test_rate_limits_may_raise():
    """With on_rate_limit="raise" a 429 is the sample's error, with the seconds to wait."""
    client = Client(on_rate_limit="raise")
    future = client.sample()
    client.answer(None, 429, retry_after="7")
    assert future.exception(0).retry_after == 7.0
    assert client.taken() == NOTHING


def test_billing_is_sat_out():
    """A 402 pauses every sample for five seconds, until billing_wait is over: then it is the error."""
    client = Client(billing_wait=12.0)
    future = client.sample()
    for asked in (1, 2):
        assert len(client.sent(ASK)) == asked
        client.answer({"detail": "no money"}, 402)
        assert not future.done()
        client.advance(4.9)
        assert len(client.sent(ASK)) == asked
        client.advance(1.2)
    client.answer({"detail": "no money"}, 402)
    assert isinstance(future.exception(0), tinkex.BillingError)
    assert (numbers(client), client.taken()) == ([0] * 3, NOTHING)


def test_billing_is_sat_out_while_polling():
    """So it is where a poll meets it: the promise is kept."""
    client = Client(billing_wait=60.0)
    future = client.sample()
    client.promise()
    client.answer(None, 402)
    assert client.open == []
    client.advance(5.0)
    client.answer(DONE)
    assert future.result(0)
    assert numbers(client) == [0]


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503])
def test_a_submission_that_fails_is_sent_again(client, status):
    """It keeps its number, counts as an attempt, and waits for the delay."""
    future = client.sample()
    client.answer(None, status)
    assert (future.phase, client.open) == ("retrying", [])
    client.advance(0.9)
    assert client.open == []
    client.advance(0.2)
    assert (future.phase, future.attempts, client.open) == ("submitting", 2, [ASK])
    assert client.transport.sent[-1].fields["x-stainless-retry-count"] == "1"
    client.answer(DONE)
    assert future.result(0)
    assert numbers(client) == [0, 0]


def test_attempts_run_out(client):
    """After max_attempts the last failure is the error; a 5xx may have run, a 503 has not."""
    for status in (500, 503):
        future = client.sample()
        for _ in range(5):
            assert not future.done()
            client.answer({"detail": "broken"}, status)
            client.advance(1.0)
        error = future.exception(0)
        assert (error.status, error.phase, error.may_have_run) == (status, "submitting", status == 500)
    assert len(client.sent(ASK)) == 10


def test_time_runs_out():
    """After max_elapsed seconds of failures there is no further attempt; a pause in between does not count."""
    client = Client(retry=attrs.evolve(STEADY, max_attempts=100, max_elapsed=2.5))
    future = client.sample()
    client.answer(None, 503)
    client.advance(1.0)
    client.answer(None, 429, retry_after="500")
    client.advance(502.0)
    client.answer(None, 503)
    client.advance(1.0)
    assert client.open == [ASK]
    client.answer(None, 503)
    assert future.exception(0).status == 503


def test_no_retries_flag():
    """A server that asks for it gets nothing twice."""
    client = Client(flags={"sample_no_retries": True})
    future = client.sample()
    client.answer(None, 500)
    assert future.exception(0).status == 500


@pytest.mark.parametrize("status", [400, 401, 403, 410, 422])
def test_a_submission_that_is_refused(client, status):
    """Any other refusal is the error at once."""
    future = client.sample()
    client.answer({"detail": "no"}, status)
    assert (future.exception(0).status, client.sent(POLL)) == (status, [])


def test_a_lost_connection_may_have_run(client):
    """What was sent before a connection broke may have run, and every later error says so."""
    future = client.sample()
    client.end(APIConnectionError("lost", may_have_run=True))
    client.advance(1.0)
    client.answer({"detail": "no"}, 403)
    assert future.exception(0).may_have_run


def test_a_request_that_times_out(client):
    """A submission without an answer within request_timeout is a failure like others."""
    future = client.sample()
    client.advance(client.config.request_timeout)
    assert (future.phase, client.open) == ("retrying", [])
    client.advance(1.0)
    client.answer(DONE)
    assert future.result(0)


def test_a_lost_promise(client):
    """A 410 leads to a new submission under a new number; it is an attempt, and the old id is forgotten."""
    future = client.sample()
    client.promise("r-1")
    client.answer({"detail": "expired"}, 410)
    assert client.open == []
    client.advance(1.0)
    client.promise("r-2")
    client.answer(DONE)
    assert (future.result(0).request_id, future.attempts, numbers(client)) == ("r-2", 2, [0, 1])


def test_promises_that_are_always_lost(client):
    """They end the sample with the attempts."""
    future = client.sample()
    for number in range(5):
        client.promise(f"r-{number}")
        client.answer(None, 410)
        client.advance(1.0)
    assert (future.exception(0).status, numbers(client)) == (410, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("pending", [(PENDING, 200), (None, 408)])
def test_not_yet(client, pending):
    """An answer of "not yet" is no failure, however often; those that come at once are kept at a growing distance."""
    future = client.sample()
    client.promise()
    for number in range(50):
        client.answer(*pending)
        distance = client.config.min_poll_interval * (1 + min(number, 12) / 4)
        client.advance(distance * 0.99)
        assert client.open == []
        client.advance(distance * 0.02)
    client.answer(DONE)
    assert future.result(0)
    assert future.last_failure is None
    iterations = [sent.fields["X-Tinker-Request-Iteration"] for sent in client.transport.sent if sent.endpoint == POLL]
    assert iterations == [str(number) for number in range(51)]


def test_not_yet_after_a_long_poll(client):
    """After a long poll the next one goes at once; a poll that ends without an answer is one, too."""
    future = client.sample()
    client.promise()
    client.advance(10.0)
    client.answer(PENDING)
    assert client.open == [POLL]
    client.advance(client.config.poll_timeout)
    assert client.open == [POLL]
    client.answer({**PENDING, "retry_after_ms": 7000})
    client.advance(6.9)
    assert client.open == []
    client.advance(0.2)
    client.answer(DONE)
    assert future.result(0)
    assert client.context.retry_log.last is None


def test_the_server_tells_its_queue(client):
    """What a poll says of the queue stands at the future, and observers hear of it."""
    future = client.sample()
    client.promise()
    client.answer({**PENDING, "queue_state": "paused_capacity", "queue_state_reason": "all busy"})
    assert (future.queue_state, future.queue_state_reason) == (QueueState.PAUSED_CAPACITY, "all busy")
    client.advance(5.0)
    client.answer(DONE)
    assert [event.state for event in client.states] == [QueueState.PAUSED_CAPACITY, QueueState.ACTIVE]
    assert future.result(0)


def test_a_promise_that_is_not_known_yet(client):
    """In its first ten seconds a 404 may be another server's that has not heard of it: it is polled again."""
    future = client.sample()
    client.promise()
    client.answer(None, 404)
    assert not future.done()
    client.advance(1.0)
    client.answer(DONE)
    assert future.result(0)


def test_a_promise_that_is_not_known_any_more(client):
    """Later a 404 is the error."""
    future = client.sample()
    client.promise()
    client.advance(10.0)
    client.answer({"detail": "who?"}, 404)
    error = future.exception(0)
    assert (error.status, error.request_id, error.phase, error.may_have_run) == (404, "r-1", "waiting", True)


@pytest.mark.parametrize("doubtful", [(None, 400), (b"<html>", 400), (None, 404), (b"{", 200)])
def test_answers_that_another_poll_may_contradict(client, doubtful):
    """Three in a row are asked for again, on new connections; the fourth counts."""
    for count, ends in ((3, False), (4, True)):
        future = client.sample()
        client.promise()
        for _ in range(count):
            assert not future.done()
            client.answer(*doubtful)
            client.advance(1.0)
        assert future.done() == ends
        if not ends:
            assert [sent.fresh for sent in client.transport.sent if sent.endpoint == POLL] == [False, True, True, True]
            client.answer(PENDING)
            client.advance(0.5)
            assert not client.transport.sent[-1].fresh
            for _ in range(3):
                client.answer(*doubtful)
                client.advance(1.0)
            client.answer(DONE)
            assert future.result(0)
    assert isinstance(future.exception(0), tinkex.APIError)


@pytest.mark.parametrize("status", [400, 401, 403, 409, 422])
def test_a_failure_in_the_servers_words(client, status):
    """A refusal in JSON is the sample's, at once."""
    future = client.sample()
    client.promise()
    client.answer({"detail": "too odd"}, status)
    error = future.exception(0)
    assert (error.status, error.request_id) == (status, "r-1")
    assert "too odd" in str(error)


def test_polls_that_fail_are_no_attempts(client):
    """Polls may fail for as long as max_elapsed allows, and a success starts the account anew."""
    future = client.sample()
    client.promise()
    for _ in range(3):
        for _ in range(50):
            client.answer(None, 503)
            client.advance(1.0)
        client.answer(PENDING)
        client.advance(5.0)
    client.answer(DONE)
    assert (future.result(0).request_id, future.attempts) == ("r-1", 1)


def test_a_429_on_a_poll_is_a_pause(client):
    """It waits as long as it is told, a minute at most, and is no failure."""
    future = client.sample()
    client.promise()
    for told, waited in [("50", 50.0), ("120", 60.0)]:
        client.answer(None, 429, retry_after=told)
        client.advance(waited - 1.0)
        assert client.open == []
        client.advance(1.5)
    client.answer(DONE)
    assert future.result(0)


def test_a_large_result_is_fetched_when_it_has_room():
    """Its size comes first; no other is fetched while inflight_response_bytes are under way."""
    client = Client(inflight_response_bytes=300_000)
    first, second = client.sample(), client.sample()
    client.promise("r-1")
    client.promise("r-2")
    client.answer(METADATA)
    client.answer(METADATA)
    assert (first.phase, second.phase, client.open) == ("fetching", "fetching", [POLL])
    assert [sent.high_priority for sent in client.transport.sent if sent.endpoint == POLL] == [False, False, True]
    assert client.sent(POLL)[-1] == {"request_id": "r-1"}
    client.answer(DONE)
    assert (first.result(0).request_id, client.sent(POLL)[-1]) == ("r-1", {"request_id": "r-2"})
    client.answer(DONE)
    assert second.result(0).request_id == "r-2"
    assert client.taken() == NOTHING


def test_small_results_count_as_larger_ones():
    """So that no more of them are under way than connections can carry, whatever their sizes add up to."""
    client = Client(inflight_response_bytes=300_000)
    futures = [client.sample() for _ in range(5)]
    for number in range(5):
        client.promise(f"r-{number}")
    for _ in futures:
        client.answer({**METADATA, "response_payload_size": 1})
    assert client.open == [POLL] * 3
    while client.open:
        client.answer(DONE)
    assert all(future.result(0) for future in futures)


OTHERS = [{}, {"supported_models": []}, PENDING, METADATA]


@pytest.mark.parametrize("other", OTHERS)
def test_the_answer_to_another_request(client, other):
    """What came behind an earlier answer of its connection fails no sample: it is submitted again, over a new one."""
    future = client.sample()
    client.answer(other, reused=True)
    assert client.transport.kept_closed == 1  # one of them has the real answer to come
    client.advance(1.0)
    assert numbers(client) == [0, 0]
    assert [sent.fresh for sent in client.transport.sent] == [False, True]
    client.promise()
    client.answer(DONE)
    assert future.result(0)
    assert future.attempts == 2


@pytest.mark.parametrize("other", OTHERS)
def test_no_promise_over_a_new_connection(client, other):
    """Over a new connection it can only be the answer, and is an error."""
    future = client.sample()
    client.answer(other)
    assert isinstance(future.exception(0), APIResponseError)
    assert client.transport.kept_closed == 0


def test_a_poll_that_gets_the_answer_to_another_request(client):
    """It is asked again over a new connection, and the one that its answer is still to come over is not used again."""
    future = client.sample()
    client.promise()
    client.answer({"request_id": "r-2"}, reused=True)
    assert client.transport.kept_closed == 1
    client.advance(1.0)
    assert client.transport.sent[-1].fresh
    client.answer(DONE)
    assert future.result(0)


def test_a_size_twice(client):
    """A server that answers a request for the result with its size again gets no third question."""
    future = client.sample()
    client.promise()
    client.answer(METADATA)
    client.answer(METADATA)
    assert isinstance(future.exception(0), APIResponseError)


def test_a_server_without_sizes(client):
    """A server that refuses to be asked for sizes is not asked again, by any sample."""
    first = client.sample()
    client.promise()
    client.answer({"detail": "allow_metadata_only: extra field"}, 422)
    client.answer(DONE)
    second = client.sample()
    client.promise("r-2")
    client.answer(DONE)
    assert first.result(0)
    assert second.result(0)
    assert ["allow_metadata_only" in body for body in client.sent(POLL)] == [True, False, False]


@pytest.mark.parametrize("told", [False, True])
def test_a_cancel(told):
    """It ends the wait and closes the request; the server is told where it offers that, and only what it accepted."""
    client = Client(flags={"sample_cancel_enabled": told})
    submitting = client.sample()
    assert submitting.cancel()
    client.steps.run()
    assert client.open == []
    waiting = client.sample()
    client.promise("r-1")
    assert waiting.cancel()
    client.steps.run()
    assert client.open == ["cancel_future"] * told
    assert client.sent("cancel_future") == [{"request_id": "r-1"}] * told
    assert (client.taken(), client.context.counters.failed) == (NOTHING, 2)
    assert client.reported == []


def test_a_cancel_in_the_queue():
    """A sample that was cancelled before its turn is never sent."""
    client = Client(max_in_flight=1)
    first, second, third = client.sample(), client.sample(), client.sample()
    second.cancel()
    client.answer(DONE)
    client.answer(DONE)
    assert (first.result(0).sequences, third.result(0).sequences) != ([], [])
    assert (numbers(client), client.taken()) == ([0, 1], NOTHING)


@pytest.mark.parametrize("phase", ["queued", "submitting", "retrying", "waiting", "fetching"])
def test_a_deadline(phase):
    """It ends the sample wherever it is, gives back what it held, and the error says where that was."""
    client = Client(max_in_flight=1 if phase == "queued" else 10, poll_timeout=500.0, request_timeout=500.0)
    if phase == "queued":
        client.sample()
    future = client.sample(timeout=100.0)
    if phase == "retrying":
        client.answer(None, 429, retry_after="300")
    if phase in ("waiting", "fetching"):
        client.promise()
    if phase == "fetching":
        client.answer(METADATA)
    assert future.phase == phase
    client.advance(99.9)
    assert not future.done()
    client.advance(0.2)
    error = future.exception(0)
    assert (type(error), error.phase, error.timeout) == (tinkex.SampleTimeoutError, phase, 100.0)
    assert error.may_have_run == (phase in ("submitting", "waiting", "fetching"))
    if phase == "queued":
        client.answer(DONE)
    assert client.taken() == NOTHING


def test_the_session_poller_answers_for_many():
    """Where more samples wait than workers run, and the server offers it, one poll waits for all; each is fetched."""
    client = Client(flags={"sample_use_retrieve_futures": True})
    futures = [client.sample([number + 1]) for number in range(3)]
    for number in range(3):
        client.promise(f"r-{number}")
    assert client.open == ["retrieve_futures"]
    ended = {"state": "finished", "response_payload_uncompressed_size": 100}
    client.answer({"completions": [{"request_id": name, **ended} for name in ("r-2", "r-0")], "cursor": 2})
    client.advance(0.1)
    assert sorted(client.open) == [POLL, POLL, "retrieve_futures"]
    assert [body["request_id"] for body in client.sent(POLL)] == ["r-2", "r-0"]
    client.transport.open.rotate(-client.open.index(POLL))
    client.answer(DONE)
    client.transport.open.rotate(-client.open.index(POLL))
    client.answer(DONE)
    assert [future.done() for future in futures] == [True, False, True]
    client.answer({"completions": [{"request_id": "r-1", "state": "finished"}], "cursor": 3})
    client.transport.open.rotate(-client.open.index(POLL))
    client.answer(DONE)
    assert futures[1].result(0).request_id == "r-1"
    assert client.taken() == NOTHING


def test_a_session_poller_that_fails():
    """Each sample then polls for itself, and so do those that come in the next minute."""
    client = Client(flags={"sample_use_retrieve_futures": True})
    futures = [client.sample([number + 1]) for number in range(3)]
    for number in range(3):
        client.promise(f"r-{number}")
    client.answer({"detail": "what?"}, 404)
    assert client.open == [POLL] * 3
    for _ in range(3):
        client.answer(DONE)
    assert {future.result(0).request_id for future in futures} == {"r-0", "r-1", "r-2"}
    later = [client.sample() for _ in range(3)]
    for _ in later:
        client.promise()
    assert client.open == [POLL] * 3


def test_an_error_of_our_own_is_reported(client, monkeypatch):
    """Whatever goes wrong ends the sample, is counted, reported, and leaves nothing taken."""
    future = client.sample()
    client.end(ZeroDivisionError("a bug"))
    assert isinstance(future.exception(0), ZeroDivisionError)
    assert (len(client.reported), client.context.counters.failed) == (1, 1)


def test_a_clone_joins_first():
    """A session that another process created asks for its number of a clone before the first submission."""
    client = Client(clone=True, flags={})
    future = client.sample()
    while client.open[0] != ASK:
        client.answer({"sample_join_sampling_session": False})
    client.answer(DONE)
    assert future.result(0)
    assert numbers(client)[0] >= 1_000_000_000


ANSWERS = st.sampled_from([
    (DONE, 200), (PENDING, 200), ({"request_id": "r-9"}, 200), (METADATA, 200), (b"{", 200), (None, 400), (None, 402),
    ({"detail": "no"}, 403), (None, 404), (None, 408), (None, 409), (None, 410), (None, 429), (None, 500), (None, 503),
])  # fmt: skip


@given(st.lists(st.tuples(ANSWERS | st.just(None), st.sampled_from([0.0, 0.5, 3.0, 20.0])), max_size=30))
def test_any_answers(answers):
    """Whatever the server answers or leaves out, and when: each sample ends once, in time, and holds nothing then."""
    client = Client(max_in_flight=2, billing_wait=30.0)
    futures = [client.sample([number + 1], timeout=300.0) for number in range(4)]
    ended = []
    for future in futures:
        future.add_done_callback(ended.append)
    for answer, seconds in answers:
        if client.open:
            if answer is None:
                client.end(APIConnectionError("lost", may_have_run=True))
            else:
                client.answer(*answer)
        client.advance(seconds)
    client.advance(301.0)
    assert all(future.done() for future in futures)
    assert client.open == []
    assert client.taken() == NOTHING
    assert len(ended) == 4
    assert client.context.counters.completed == sum(future.exception(0) is None for future in futures)
