"""The table of faults: what a sample ends with, phase by phase, where the fault does not go away.

Each error is typed, names the request, its phase, the server's last word, what may have run, and what to do.
"""

from __future__ import annotations

import pytest
from serving import MODEL, PARAMS, PROMPT, advance_until, make_service, sampling, until

import tinkex
from tinkex.testing import FakeServer, Fault, ManualClock, expected_tokens
from tinkex.testing._faults.kinds import KINDS

HTML = {"Content-Type": "text/html"}
PHASES = {"asample": "submitting", "retrieve_future": "waiting"}
SETTINGS = {
    "request_timeout": 20.0, "poll_timeout": 20.0, "max_response_bytes": 2**20, "billing_wait": 0.0,
    "retry": tinkex.RetryConfig(max_attempts=3, max_elapsed=5.0, base_delay=0.5, max_delay=0.5, jitter=0.0),
}  # fmt: skip

LOST, LATE, UNREADABLE = tinkex.APIConnectionError, tinkex.APITimeoutError, tinkex.APIResponseError
DEADLINE, STATUS = tinkex.SampleTimeoutError, tinkex.APIStatusError
# A fault that goes on; what it ends in, submitting and polling (None: in the result); a piece of the last word
# of the server, or of the network.
FAULTS = {
    "reset before the answer": (Fault("reset"), LOST, LOST, "reset"),
    "reset before the request was taken": (Fault("reset_early"), LOST, LOST, "The connection was lost"),
    "reset after it was acted on": (Fault("reset_after"), LOST, LOST, "reset"),
    "closed without an answer": (Fault("close"), LOST, LOST, "closed the connection"),
    "half an answer": (Fault("half"), LOST, LOST, "in mid-answer"),
    "half an answer in chunks": (Fault("half_chunked"), LOST, LOST, "in mid-answer"),
    "silence": (Fault("hang"), LATE, DEADLINE, None),
    "silence in mid-answer": (Fault("stall"), LATE, DEADLINE, None),
    "a byte a second": (Fault("drip", seconds=1.0), LATE, DEADLINE, None),
    "an endless body": (Fault("endless"), UNREADABLE, UNREADABLE, "max_response_bytes=1048576"),
    "a petabyte announced": (Fault("huge_length"), UNREADABLE, UNREADABLE, "max_response_bytes=1048576"),
    "a bomb of gzip": (Fault("gzip_bomb", size=2**21), UNREADABLE, UNREADABLE, "max_response_bytes"),
    "gzip that is none": (Fault("bad_gzip"), UNREADABLE, UNREADABLE, "does not decompress"),
    "a length that is none": (Fault("bad_length"), UNREADABLE, UNREADABLE, "'many'"),
    "an endless header": (Fault("huge_header"), UNREADABLE, UNREADABLE, "head of more than"),
    "no HTTP": (Fault("not_http"), UNREADABLE, UNREADABLE, "what is this?"),
    "another type than it is": (Fault("wrong_type"), None, UNREADABLE, None),
    "no type": (Fault("no_type"), None, UNREADABLE, None),
    "an answer in chunks": (Fault("chunked"), None, None, None),
    "a compressed answer": (Fault("gzip"), None, None, None),
    "an interim answer first": (Fault("interim"), None, None, None),
    "closed after it was acted on": (Fault("close_after"), LOST, LOST, "closed the connection"),
    "a connection that is gone at its next use": (Fault("stale"), None, None, None),
    "a server that takes its time": (Fault("delay", seconds=0.0), None, None, None),
    "an answer that takes its time": (Fault("late", seconds=0.0), None, None, None),
    "broken JSON": (Fault("garbage"), UNREADABLE, UNREADABLE, 'It begins: {"request_id'),
    "half of the content": (Fault("truncated"), UNREADABLE, UNREADABLE, "server's"),
    "a page of HTML with 200": (Fault("status", 200, HTML, "<p>welcome</p>"), UNREADABLE, UNREADABLE, "welcome"),
    "502 in HTML": (Fault("status", 502, HTML, "<p>bad gate</p>"), *[tinkex.InternalServerError] * 2, "bad gate"),
    "500": (Fault("status", 500, {}, {"detail": "oops"}), *[tinkex.InternalServerError] * 2, "oops"),
    "503": (Fault("status", 503, {}, {"detail": "full"}), *[tinkex.InternalServerError] * 2, "full"),
    "400": (Fault("status", 400, {}, {"detail": "odd"}), *[tinkex.BadRequestError] * 2, "odd"),
    "400 without a body": (Fault("status", 400), LOST, LOST, "empty 400"),
    "401": (Fault("status", 401, {}, {"detail": "who?"}), *[tinkex.AuthenticationError] * 2, "who?"),
    "402": (Fault("status", 402, {}, {"detail": "pay"}), *[tinkex.BillingError] * 2, "pay"),
    "403": (Fault("status", 403, {}, {"detail": "no"}), *[tinkex.PermissionDeniedError] * 2, "no"),
    "404": (Fault("status", 404, {}, {"detail": "gone?"}), *[tinkex.NotFoundError] * 2, "gone?"),
    "408": (Fault("status", 408, {}, {"detail": "slow"}), STATUS, DEADLINE, "slow"),
    "409": (Fault("status", 409, {}, {"detail": "twice"}), *[tinkex.ConflictError] * 2, "twice"),
    "410": (Fault("status", 410, {}, {"detail": "lost"}), STATUS, STATUS, "lost"),
    "413": (Fault("status", 413, HTML, "<p>too much</p>"), STATUS, STATUS, "too much"),
    "422": (Fault("status", 422, {}, {"detail": "bad"}), *[tinkex.UnprocessableEntityError] * 2, "bad"),
    "429": (Fault("status", 429, {}, {"detail": "later"}), DEADLINE, DEADLINE, "later"),
    "429 with Retry-After": (Fault("status", 429, {"Retry-After": "7"}, {"detail": "no"}), DEADLINE, DEADLINE, "no"),
    "a redirect elsewhere": (Fault("status", 307, {"Location": "http://else.org/x"}), STATUS, STATUS, "else.org"),
    "a redirect for ever": (Fault("status", 307, {"Location": "?again=1"}), STATUS, STATUS, "redirect"),
}  # fmt: skip
NOTHING_RAN = {400, 401, 402, 403, 404, 408, 409, 410, 413, 422, 429, 307, 503}  # statuses that answer a submission


def told(error, notification):
    """What a good error says, whatever it is."""
    text = str(error)
    advice = "Raise timeout=" if isinstance(error, DEADLINE) else error.hint or "check base_url"
    assert advice in text or "heck base_url" in text
    assert notification is None or notification in text
    assert "Traceback" not in text
    return error


@pytest.mark.thin(7)
@pytest.mark.parametrize("endpoint", PHASES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_goes_on(name, endpoint):
    """It ends, by the settings or by the deadline, in the error that the table names, with everything in it."""
    fault, *kinds, notification = FAULTS[name]
    clock = ManualClock()
    with FakeServer(long_poll=0.0) as server, sampling(server, clock=clock, **SETTINGS) as client:
        server.script(endpoint, *[fault] * 400)
        future = client.sample(PROMPT, PARAMS, timeout=100)
        soon = LOST in kinds or tinkex.InternalServerError in kinds  # what fails late may be a gateway's timeout
        advance_until(clock, future.done, step=0.2 if soon else 2.0)
        error = future.exception()
        if kinds[endpoint != "asample"] is None:
            assert future.result().sequences[0].tokens == expected_tokens(PROMPT, max_tokens=4)
            return
        if endpoint == "retrieve_future" and fault.status == 408 and fault.kind == "status":
            notification = None  # "not yet" is no failure
        told(error, notification)
        submitting = endpoint == "asample"
        assert type(error) is kinds[not submitting]
        assert error.phase in (PHASES[endpoint], "retrying")
        assert (error.request_id is None) == submitting
        lost_early = submitting and fault.kind == "status" and (fault.status in NOTHING_RAN)
        assert error.may_have_run is not lost_early
        assert clock.monotonic() <= 120.0
        stats = client.service.stats()
        assert (stats.in_flight, stats.failed) == (0, 1)
        assert server.counts[endpoint] <= 300


def test_every_fault_is_in_the_table():
    """A kind of fault that the server learns gets its row."""
    assert {fault.kind for fault, *_ in FAULTS.values()} == {*KINDS}


SESSION_POLLS = {
    "reset": Fault("reset"), "silence": Fault("hang"), "half an answer": Fault("half"), "garbage": Fault("garbage"),
    "no HTTP": Fault("not_http"), "a bomb": Fault("gzip_bomb", size=2**22), "a petabyte": Fault("huge_length"),
    "HTML": Fault("status", 200, HTML, "<p>welcome</p>"), "a list": Fault("status", 200, {}, []),
    "nameless": Fault("status", 200, {}, {"completions": [{"state": "finished"}], "cursor": 1}),
    **{str(each): Fault("status", each, {}, {"detail": "no"}) for each in (307, 400, 401, 402, 403, 404, 410, 422)},
    **{str(each): Fault("status", each, {}, {"detail": "later"}) for each in (408, 409, 429, 500, 502, 503)},
}  # fmt: skip


@pytest.mark.thin(9)
@pytest.mark.parametrize("name", SESSION_POLLS)
@pytest.mark.parametrize("times", [1, 400])
def test_a_session_poll_that_fails(name, times):
    """Whether the fault passes, ends the poller or goes on: every sample gets its own result, or ends in time."""
    clock = ManualClock()
    with (
        FakeServer(client_config={"sample_use_retrieve_futures": True}) as server,
        sampling(
            server, clock=clock, workers=1, **{**SETTINGS, "poll_timeout": 400.0, "request_timeout": 3.0}
        ) as client,
    ):
        server.hold()
        server.script("retrieve_futures", *[SESSION_POLLS[name]] * times)
        futures = []
        for number in range(5):
            futures.append(client.sample([number + 1], PARAMS, timeout=1000))
            until(lambda: futures[-1].phase == "waiting")
        server.wait_for("retrieve_futures")
        server.release()
        advance_until(clock, lambda: all(future.done() for future in futures), step=10.0)
        for number, future in enumerate(futures):
            assert future.result(0).sequences[0].tokens == expected_tokens([number + 1], max_tokens=4)
        assert server.counts["retrieve_futures"] <= 400


def test_refused_connections():
    """A server that was there and is gone: the error says that nothing was sent, so that nothing has run."""
    clock = ManualClock()
    with FakeServer() as server:
        service = make_service(server, clock=clock, **SETTINGS)
        client = service.create_sampling_client(base_model=MODEL)
    future = client.sample(PROMPT, PARAMS, timeout=60)
    advance_until(clock, future.done)
    service.close(0)
    error = told(future.exception(), "refused")
    assert (type(error), error.phase, error.request_id, error.may_have_run) == (LOST, "submitting", None, False)
    assert server.url.removeprefix("http://") in str(error)


@pytest.mark.parametrize("endpoint", PHASES)
@pytest.mark.parametrize("jump", [600.0, 86_400.0 * 365])
def test_a_clock_that_jumps(endpoint, jump):
    """After a jump of the clock, as when a machine slept, a sample ends by its deadline, and the next one works."""
    clock = ManualClock()
    with FakeServer() as server, sampling(server, clock=clock, timeout=300.0) as client:
        server.fault(endpoint, "hang")
        future = client.sample(PROMPT, PARAMS)
        server.wait_for(endpoint)
        clock.advance(jump)
        error = told(future.exception(5), None)
        assert (type(error), error.phase) == (DEADLINE, PHASES[endpoint])
        assert client.sample(PROMPT, PARAMS).result(5)


@pytest.mark.parametrize("days", [-400, 400])
def test_a_date_that_jumps(days):
    """Setting the date of the machine, back or forth, changes nothing for samples under way or for later ones."""

    class Dated(ManualClock):
        shift = 0.0

        def wall(self):
            return super().wall() + self.shift

    clock = Dated()
    with FakeServer(long_poll=0.0) as server, sampling(server, clock=clock) as client:
        server.hold()
        future = client.sample(PROMPT, PARAMS)
        server.wait_for("retrieve_future")
        clock.shift = days * 86_400.0
        server.release()
        advance_until(clock, future.done)
        assert future.result(0)
        later = client.sample(PROMPT, PARAMS)
        advance_until(clock, later.done)
        assert later.result(0)
        assert client.service.health().ok
