"""The queue's states, and the logger that tells of them sparingly."""

from __future__ import annotations

import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex import queue_state
from tinkex.queue_state import (
    Debounce,
    Paused,
    QueueState,
    QueueStateChanged,
    QueueStateLogger,
    QueueStateObserver,
    Resumed,
    decide,
)
from tinkex.testing import ManualClock

ACTIVE = QueueState.ACTIVE
RATE = QueueState.PAUSED_RATE_LIMIT
CAPACITY = QueueState.PAUSED_CAPACITY
UNKNOWN = QueueState.UNKNOWN


@pytest.fixture
def clock():
    """A clock that stands still until moved."""
    return ManualClock(1000.0)


@pytest.fixture
def tell(clock, caplog):
    """Tell a fresh logger of a state, and get what it logged: level and text."""
    caplog.set_level(logging.DEBUG, "tinkex.queue_state")
    observer = QueueStateLogger(clock=clock)

    def tell(state, reason=None, session="s-1", at=None):
        clock.advance(0.0 if at is None else 1000.0 + at - clock.monotonic())
        caplog.clear()
        observer.on_queue_state_change(QueueStateChanged(state, reason, session, "req-1"))
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    tell.observer = observer
    return tell


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("active", ACTIVE),
        ("paused_capacity", CAPACITY),
        (" PAUSED_RATE_LIMIT ", RATE),
        ("unknown", UNKNOWN),
        ("resting", UNKNOWN),
        ("", UNKNOWN),
        (None, UNKNOWN),
        (3, UNKNOWN),
        ([], UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_parse(text, state):
    """A known word is its state, in any case; anything else is unknown."""
    assert QueueState.parse(text) is state


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (RATE, None, "concurrent LoRA rate limit hit"),
        (CAPACITY, None, "out of capacity"),
        (UNKNOWN, None, "unknown"),
        (RATE, "maintenance until noon", "maintenance until noon"),
        (UNKNOWN, "odd", "odd"),
        (CAPACITY, "", "out of capacity"),
        (CAPACITY, "\x00", "out of capacity"),
        (CAPACITY, "a\nb\x1b[31m", "a b[31m"),
    ],
)
def test_pause_text(tell, state, reason, words):
    """A pause is a warning with the server's reason, or with the state's own."""
    assert tell(state, reason) == [("WARNING", f"Sampling is paused for s-1. Reason: {words}")]


def test_one_warning_in_the_interval(tell):
    """Within 60 s of a warning there is silence, whatever the state; then the next one counts what was not said."""
    assert len(tell(RATE, at=0)) == 1
    assert tell(RATE, at=1) == tell(CAPACITY, at=2) == tell(UNKNOWN, at=59.9) == []
    assert tell(RATE, at=60) == [
        (
            "WARNING",
            "Sampling is paused for s-1. Reason: concurrent LoRA rate limit hit (3 more since the last message)",
        )
    ]
    assert tell(RATE, at=120) == [("WARNING", "Sampling is paused for s-1. Reason: concurrent LoRA rate limit hit")]


def test_sessions_are_independent(tell):
    """Each session has its own 60 s."""
    assert len(tell(RATE, session="s-1")) == len(tell(RATE, session="s-2")) == 1
    assert tell(RATE, session="s-1") == []


def test_resumed(tell):
    """The end of a logged pause is told once, with its length."""
    tell(RATE, at=0)
    tell(RATE, at=20)
    assert tell(ACTIVE, at=42.4) == [("INFO", "Sampling resumed for s-1 after 42 s.")]
    assert tell(ACTIVE, at=43) == []


def test_an_unsaid_pause_ends_unsaid(tell):
    """The end of a pause that was not logged is not logged either."""
    tell(RATE, at=0)
    tell(ACTIVE, at=1)
    assert tell(RATE, at=2) == tell(ACTIVE, at=3) == []


def test_a_pause_said_late_counts_from_its_beginning(tell):
    """A pause that began in silence and was logged later is as long as it really was."""
    tell(RATE, at=0)
    tell(ACTIVE, at=1)
    tell(RATE, at=30)
    assert len(tell(RATE, at=70)) == 1
    assert tell(ACTIVE, at=100) == [("INFO", "Sampling resumed for s-1 after 70 s.")]


def test_active_alone_is_silent(tell):
    """Where nothing was paused, nothing resumes."""
    assert tell(ACTIVE) == []


def test_the_interval_may_change(tell):
    """A new interval holds from the next event on."""
    tell(RATE, at=0)
    tell.observer.interval = 5.0
    assert len(tell(RATE, at=5)) == 1


def test_records_carry_fields(tell, caplog):
    """A log record names session, state and request for those who filter."""
    tell(CAPACITY)
    record = caplog.records[0]
    assert (record.sampling_session_id, record.queue_state, record.request_id) == ("s-1", "paused_capacity", "req-1")


def test_a_percent_sign_is_no_format(tell):
    """The server's words are not taken for a format."""
    assert "100 %s" in tell(RATE, "100 %s", session="%d")[0][1]


def test_a_logger_can_be_given(caplog):
    """Whoever wants the lines elsewhere passes a logger."""
    QueueStateLogger(logger=logging.getLogger("mine")).on_queue_state_change(QueueStateChanged(RATE, None, "s"))
    assert [record.name for record in caplog.records] == ["mine"]


def test_memory_is_bounded(monkeypatch, tell):
    """Only the sessions heard of last are remembered."""
    monkeypatch.setattr(queue_state, "_MOST_SESSIONS", 2)
    for session in ("s-1", "s-2", "s-1", "s-3"):
        tell(RATE, session=session)
    assert list(tell.observer._sessions) == ["s-1", "s-3"]


def test_observers():
    """Whatever has the method is an observer; the event pickles."""
    assert isinstance(QueueStateLogger(), QueueStateObserver)
    assert not isinstance(object(), QueueStateObserver)
    event = QueueStateChanged(RATE, "r", "s", "q", ACTIVE, 2.0)
    assert pickle.loads(pickle.dumps(event)) == event


EVENTS = st.lists(st.tuples(st.floats(0, 50), st.sampled_from(QueueState)), max_size=60)


def replay(events, interval):
    """Run the decision over events, given as waiting time and state; yields time, state, memory and verdict."""
    past, now = Debounce(), 0.0
    for wait, state in events:
        now += wait
        past, verdict = decide(past, state, now, interval)
        yield now, state, past, verdict


@given(EVENTS, st.floats(0, 100))
def test_warnings_keep_their_distance(events, interval):
    """Two warnings are never closer than the interval, and a pause is never silent beyond it."""
    warned = None
    for now, state, _, verdict in replay(events, interval):
        due = state is not ACTIVE and (warned is None or now - warned >= interval)
        assert isinstance(verdict, Paused) is due
        warned = now if due else warned


@given(EVENTS, st.floats(0, 100))
def test_every_event_is_accounted_for(events, interval):
    """What was not said is exactly what the next warning counts, from the last message on."""
    unsaid = 0
    for _, state, past, verdict in replay(events, interval):
        if isinstance(verdict, Paused):
            assert verdict.unsaid == unsaid
        unsaid = 0 if verdict else unsaid + (state is not ACTIVE)
        assert past.unsaid == unsaid


@given(EVENTS, st.floats(0, 100))
def test_an_end_follows_its_beginning(events, interval):
    """The end of a pause is told once if the pause was told, and a pause lasts from its first event."""
    began, told = None, False
    for now, state, _, verdict in replay(events, interval):
        if state is ACTIVE:
            assert verdict == (Resumed(now - began) if told else None)
            began, told = None, False
        else:
            began = now if began is None else began
            told = told or isinstance(verdict, Paused)
