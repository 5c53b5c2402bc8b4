"""Telemetry: what events look like, what they never hold, and that nothing can go wrong with them."""

from __future__ import annotations

import json
import logging
import math
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex import telemetry as module
from tinkex.errors import APIConnectionError, RequestFailedError, SampleTimeoutError, TinkexError, status_error
from tinkex.telemetry import Telemetry
from tinkex.testing import ManualClock

KEY = "tml-0123456789abcdef"
SECRET = "hunter2-very-secret"


def make(**options):
    """Telemetry of a session, on a clock that stands still."""
    return Telemetry(
        **{"session_id": "s-1", "sdk_version": "1.2", "clock": ManualClock(100.0, 1_700_000_000.25), **options}
    )


def only_event(telemetry):
    """The one event that waits."""
    (event,) = telemetry.take_batch()["events"]
    return event


def test_generic_event():
    """An event has a name, data, a number, an id of its own, a severity and a time stamp in UTC."""
    telemetry = make()
    telemetry.log("poll.slow", {"seconds": 3}, "WARNING")
    event = only_event(telemetry)
    assert uuid.UUID(event.pop("event_id")).version == 4
    assert event == {
        "event": "GENERIC_EVENT",
        "event_session_index": 0,
        "severity": "WARNING",
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "event_name": "poll.slow",
        "event_data": {"seconds": 3},
    }


def test_batch():
    """A batch says where it comes from, and what it holds no longer waits."""
    telemetry = make(process_uuid="p-1")
    telemetry.log("a")
    telemetry.log("b")
    batch = telemetry.take_batch()
    assert [(event["event_name"], event["event_session_index"]) for event in batch.pop("events")] == [
        ("a", 0),
        ("b", 1),
    ]
    assert batch.pop("platform") in {"Linux", "Darwin"}
    assert batch == {"session_id": "s-1", "sdk_version": "1.2", "process_uuid": "p-1"}
    assert telemetry.take_batch() is None


@given(st.integers(0, 250), st.integers(-1, 300))
def test_batches_are_bounded(waiting, limit):
    """A batch holds the oldest events, the limit at most and never over 100."""
    telemetry = make()
    for _ in range(waiting):
        telemetry.log("e")
    batch = telemetry.take_batch(limit)
    taken = [event["event_session_index"] for event in batch["events"]] if batch else []
    assert taken == list(range(min(waiting, max(limit, 0), 100)))
    assert telemetry.pending == waiting - len(taken)


def test_the_queue_is_bounded(caplog):
    """What does not fit is dropped and counted, with one warning; there is room again after a batch."""
    telemetry = make(max_events=3)
    for name in "abcde":
        telemetry.log(name)
    assert (telemetry.pending, telemetry.dropped) == (3, 2)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert [event["event_name"] for event in telemetry.take_batch()["events"]] == ["a", "b", "c"]
    telemetry.log("f")
    assert only_event(telemetry)["event_session_index"] == 3


def test_session_start_and_end():
    """A session's end tells how long it lasted."""
    clock = ManualClock(100.0, 1_700_000_000.25)
    telemetry = make(clock=clock)
    telemetry.session_start()
    clock.advance(62.345678)
    telemetry.session_end()
    start, end = telemetry.take_batch()["events"]
    assert (start["event"], start["severity"]) == ("SESSION_START", "INFO")
    assert (end["event"], end["duration"]) == ("SESSION_END", "0:01:02.345678")


def test_without_a_session():
    """Without a session there is an id of its own, and neither start nor end."""
    telemetry = make(session_id=None)
    telemetry.session_start()
    telemetry.session_end()
    assert telemetry.pending == 0
    telemetry.log("a")
    assert re.fullmatch("sessionless-[0-9a-f-]{36}", telemetry.take_batch()["session_id"])


def test_callback():
    """The callback comes once for each time that events begin to wait, and may take them itself."""
    telemetry = make()
    seen = []
    telemetry.on_event = lambda: seen.append(telemetry.pending)
    telemetry.log("a")
    telemetry.log("b")
    assert seen == [1]
    telemetry.take_batch()
    telemetry.log("c")
    assert seen == [1, 1]
    telemetry.on_event = telemetry.take_batch
    telemetry.take_batch()
    telemetry.log("d")
    assert telemetry.pending == 0


def test_a_failing_callback_is_nobodys_problem():
    """A callback that raises neither reaches the caller nor loses the event."""
    telemetry = make()
    telemetry.on_event = lambda: 1 / 0
    telemetry.log("a")
    assert telemetry.pending == 1


@pytest.mark.parametrize("error", [status_error(404, "no such model"), RequestFailedError("bad", "r", "user")])
def test_user_errors_are_warnings(error):
    """The caller's own error is a generic event with its type, text and status."""
    telemetry = make()
    telemetry.log_exception(error)
    event = only_event(telemetry)
    assert (event["event"], event["event_name"], event["severity"]) == ("GENERIC_EVENT", "user_error", "WARNING")
    assert event["event_data"] == {
        "error_type": type(error).__name__,
        "message": str(error),
        "status_code": getattr(error, "status", None),
    }


@pytest.mark.parametrize("error", [status_error(500, "m"), APIConnectionError("m"), SampleTimeoutError("m", "waiting")])
def test_other_errors_are_exceptions(error):
    """Any other error of ours is told with its text."""
    telemetry = make()
    telemetry.log_exception(error, "CRITICAL")
    event = only_event(telemetry)
    assert (event["event"], event["severity"]) == ("UNHANDLED_EXCEPTION", "CRITICAL")
    assert (event["error_type"], event["error_message"]) == (type(error).__name__, str(error))


def test_foreign_text_is_withheld():
    """Of somebody else's exception only the type and the places in tinkex are told: its text may hold anything."""
    telemetry = make()
    try:
        json.loads(telemetry.take_batch)
    except TypeError as error:
        error.args = (f"header {SECRET}",)
        telemetry.log_exception(error)
    try:
        module._own_frames(3).__next__()
    except AttributeError as error:
        telemetry.log_exception(error)
    first, second = telemetry.take_batch()["events"]
    assert (first["error_message"], first["traceback"]) == ("[withheld]", "")
    assert re.fullmatch(r"tinkex\.telemetry:\d+ _own_frames", second["traceback"])


@pytest.mark.parametrize(
    "data",
    [
        {"api_key": SECRET},
        {"X-API-Key": SECRET},
        {"request_headers": {"a": SECRET}},
        {"outer": [{"Authorization": SECRET}]},
        {"prompt": [1, 2, SECRET]},
        {"prompt_text": SECRET},
        {"jwt": SECRET},
        {"tokens": [SECRET]},
        {"note": object.__new__(type(SECRET, (), {}))},
    ],
)
def test_private_values_are_withheld(data):
    """What stands under the name of a key, a header or a prompt is not told, however deep."""
    telemetry = make()
    telemetry.log("e", data)
    event = json.dumps(only_event(telemetry))
    assert SECRET not in event.replace(f"<{SECRET}>", "")
    assert "[withheld]" in event or f"<{SECRET}>" in event


def test_counts_are_told():
    """A count is no secret, even of prompt tokens."""
    telemetry = make()
    telemetry.log("e", {"prompt_tokens": 12, "prompt": None})
    assert only_event(telemetry)["event_data"] == {"prompt_tokens": 12, "prompt": None}


def test_credentials_are_masked():
    """A credential in a text goes, wherever the text stands."""
    telemetry = make()
    telemetry.log(f"event {KEY}", {f"name {KEY}": [f"value {KEY}"]})
    telemetry.log_exception(TinkexError(f"key {KEY}"))
    assert KEY not in json.dumps(telemetry.take_batch())


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.just(10**400)
    | st.just(object),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), ANYTHING))
def test_any_data_becomes_strict_json(data):
    """Whatever is logged becomes JSON that every server can read."""
    telemetry = make()
    telemetry.log("e", data)
    batch = telemetry.take_batch()
    assert json.loads(json.dumps(batch, allow_nan=False)) == batch


def test_data_is_bounded():
    """Long texts, long lists and deep nesting are cut."""
    deep = []
    for _ in range(10_000):
        deep = [deep]
    telemetry = make()
    telemetry.log("e" * 10_000, {"text": "x" * 10_000, "list": list(range(10_000)), "deep": deep})
    assert len(json.dumps(telemetry.take_batch())) < 2500


class Hostile:
    """Raises whatever is asked of it."""

    def __str__(self):
        raise RuntimeError(SECRET)

    __repr__ = __hash__ = __eq__ = __bool__ = __str__


class HostileError(TinkexError):
    def __init__(self):
        pass


@pytest.mark.parametrize(
    "report",
    [
        lambda telemetry: telemetry.log(Hostile()),
        lambda telemetry: telemetry.log("e", Hostile()),
        lambda telemetry: telemetry.log("e", {"a": Hostile()}),
        lambda telemetry: telemetry.log("e", {}, Hostile()),
        lambda telemetry: telemetry.log("e", {"a": math.nan}, "LOUD"),
        lambda telemetry: telemetry.log_exception(HostileError()),
        lambda telemetry: telemetry.log_exception(Hostile()),
    ],
)
def test_nothing_raises(report, caplog):
    """An event that cannot be built is given up, and its content is not logged either."""
    caplog.set_level(logging.DEBUG)
    telemetry = make()
    report(telemetry)
    assert telemetry.pending <= 1
    assert SECRET not in caplog.text
    telemetry.log("next")
    assert telemetry.take_batch()["events"][-1]["event_name"] == "next"


def test_unknown_severity():
    """A severity that the server does not know becomes INFO."""
    telemetry = make()
    telemetry.log("e", severity="LOUD")
    assert only_event(telemetry)["severity"] == "INFO"
