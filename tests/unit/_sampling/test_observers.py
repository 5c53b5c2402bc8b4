"""Announcements: observers hear every word that matters, in order, on a thread of their own."""

from __future__ import annotations

import contextvars
import logging

import pytest

from tinkex._sampling import observers
from tinkex._sampling.observers import ObserverNotifier
from tinkex.queue_state import QueueState
from tinkex.testing import ManualClock

ACTIVE, LIMITED, FULL = QueueState.ACTIVE, QueueState.PAUSED_RATE_LIMIT, QueueState.PAUSED_CAPACITY
WHO = contextvars.ContextVar("WHO", default="nobody")


class LaterThreads:
    """Threads that work when the test says so."""

    def __init__(self):
        self.work = []
        self.submit = self.work.append

    def run(self):
        while self.work:
            self.work.pop(0)()


class Observer:
    """Keeps the events it is told."""

    def __init__(self):
        self.events = []

    def on_queue_state_change(self, event):
        self.events.append(event)

    def told(self):
        """The states, with how long the one before was on."""
        return [(event.state, event.previous, event.seconds_since) for event in self.events]


class Broken:
    """An observer that raises."""

    def __init__(self, error):
        self.error = error

    def on_queue_state_change(self, event):
        raise self.error


@pytest.fixture
def clock():
    """Time for the announcer."""
    return ManualClock()


@pytest.fixture
def threads():
    """Threads that work when the test says so."""
    return LaterThreads()


def test_states_and_times(clock, threads):
    """An event names the state before and how long it has been on; "active" is only news after something else."""
    observer = Observer()
    announcer = ObserverNotifier([observer], threads, clock)
    for state in (ACTIVE, LIMITED, LIMITED, FULL, ACTIVE, ACTIVE):
        announcer.notify("s", "r", state, "why", ())
        clock.advance(2.0)
    assert observer.events == []
    threads.run()
    assert observer.told() == [
        (LIMITED, None, None),
        (LIMITED, LIMITED, 2.0),
        (FULL, LIMITED, 4.0),
        (ACTIVE, FULL, 2.0),
    ]
    assert {(event.reason, event.sampling_session_id, event.request_id) for event in observer.events} == {
        ("why", "s", "r")
    }


def test_sessions_are_told_apart(clock, threads):
    """The state of one session says nothing about another's."""
    observer = Observer()
    announcer = ObserverNotifier([observer], threads, clock)
    announcer.notify("a", None, LIMITED, None, ())
    announcer.notify("b", None, ACTIVE, None, ())
    announcer.notify("b", None, LIMITED, None, ())
    threads.run()
    assert [(event.sampling_session_id, event.previous) for event in observer.events] == [("a", None), ("b", None)]


def test_all_observers(clock, threads, caplog):
    """A sample's own observer is told too, and one that raises anything keeps no other from being told."""
    first, last = Observer(), Observer()
    announcer = ObserverNotifier([Broken(ValueError()), first, Broken(SystemExit())], threads, clock)
    with caplog.at_level(logging.ERROR, "tinkex"):
        for _ in range(2):
            announcer.notify("s", None, LIMITED, None, (None, last))
            threads.run()
    assert len(first.events) == len(last.events) == 2
    assert "observer raised" in caplog.text


def test_context(clock, threads):
    """Observers are called in the context of the sample that the word was for."""
    seen = []

    class Reader:
        def on_queue_state_change(self, event):
            seen.append(WHO.get())
            WHO.set("observer")

    announcer = ObserverNotifier([Reader()], threads, clock)
    for who in ("first", "second"):
        contextvars.copy_context().run(lambda who=who: (WHO.set(who), announcer.notify("s", None, LIMITED, None, ())))
    threads.run()
    assert seen == ["first", "second"]
    assert WHO.get() == "nobody"


def test_without_a_thread(clock, threads):
    """Where no thread can be had nothing is raised, and the next word brings the one before along."""
    observer = Observer()
    announcer = ObserverNotifier([observer], threads, clock)

    def refuse(work):
        raise RuntimeError("can't start new thread")

    threads.submit = refuse
    announcer.notify("s", None, LIMITED, None, ())
    threads.submit = threads.work.append
    announcer.notify("s", None, FULL, None, ())
    threads.run()
    assert [event.state for event in observer.events] == [LIMITED, FULL]


def test_bounded_memory(clock, threads, monkeypatch):
    """Sessions and words are forgotten, oldest first, before they fill the memory."""
    monkeypatch.setattr(observers, "_MOST_SESSIONS", 3)
    announcer = ObserverNotifier([Observer()], threads, clock)
    for number in range(10):
        announcer.notify(f"s{number}", None, LIMITED, None, ())
    assert list(announcer._known) == ["s7", "s8", "s9"]
    assert announcer._pending.maxlen == observers._MOST_PENDING
    assert len(threads.work) == 1
