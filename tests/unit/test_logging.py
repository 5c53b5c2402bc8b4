"""Retries in the log: one warning in an interval, and no memory of all sessions."""

from __future__ import annotations

import logging

import pytest

from tinkex._logging import RetryLog
from tinkex.testing import ManualClock


@pytest.fixture
def clock():
    """Time, moved by hand."""
    return ManualClock()


def test_one_warning_in_an_interval(clock, caplog):
    """Of the retries of a session one is a warning every minute and counts the others, which are there at DEBUG."""
    caplog.set_level(logging.DEBUG, "tinkex")
    log = RetryLog(clock, lambda: 60.0)
    for _ in range(130):
        log.note("s-1", "r-1", "waiting", 1, 0.5, "it broke")
        clock.advance(1.0)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    more = " (59 more since the last message)"
    assert warnings == [f"Request r-1 goes on in 0.5 s after: it broke{end}" for end in ("", more, more)]
    assert len(caplog.records) == 130
    assert log.last == "it broke"


def test_sessions_are_apart_and_forgotten(clock, caplog, monkeypatch):
    """One session's warning silences no other, and many sessions take no more memory than some."""
    log = RetryLog(clock, lambda: 60.0)
    monkeypatch.setattr("tinkex._logging._MOST_SESSIONS", 40)
    for number in range(50):
        log.note(f"s-{number}", None, "submitting", 1, 0.5, "it broke")
    assert len(caplog.records) == 50
    assert len(log._said) <= 40
