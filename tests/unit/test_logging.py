"""Retries in the log: one warning in an interval, and no memory of all sessions."""

from __future__ import annotations

import ast
import logging
import pathlib
import re

import pytest

from tinkex._logging import RetryLog, about
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


def test_sessions_are_apart_and_forgotten(clock, caplog):
    """One session's warning silences no other, and many sessions take no more memory than some."""
    log = RetryLog(clock, lambda: 60.0)
    for number in range(5000):
        log.note(f"s-{number}", None, "submitting", 1, 0.5, "it broke")
    assert len(caplog.records) == 5000
    assert len(log._said) <= 4096


ROOT = pathlib.Path(__file__).resolve().parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
PAGE = (ROOT / "docs" / "observability.rst").read_text().partition("\nLogs\n----")[2]


def log_calls():
    """Every call of a logger in the package: its module, its text with dots for what varies, and its extra fields."""
    texts_of = {path: path.read_text() for path in sorted((ROOT / "tinkex").rglob("*.py"))}
    for path, source in texts_of.items():
        for call in ast.walk(ast.parse(source)) if "logger." in source else ():
            is_call = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS
            if is_call and "logger" in ast.unparse(call.func.value):
                texts = [each.value for each in call.args if isinstance(each, ast.Constant)]
                extra = [
                    each for keyword in call.keywords if keyword.arg == "extra" for each in ast.walk(keyword.value)
                ]
                keys = {key.value for each in extra if isinstance(each, ast.Dict) for key in each.keys if key}
                yield path.relative_to(ROOT), re.sub(r"%(\.\d)?[srdf]", "...", texts[0]) if texts else "", keys


def test_every_record_is_documented():
    """The page on observability has the text of each record, and the fields that it adds."""
    cells = re.findall(r"^   \* - (.*?)\n     - ", PAGE, re.MULTILINE | re.DOTALL)
    phrases = [" ".join(phrase.split()).rstrip(" .") for cell in cells for phrase in re.split(r";|\(``", cell)]
    fields = set(re.findall(r"``(\w+)``", "\n".join(cells)))
    calls = [(path, text, keys) for path, text, keys in log_calls() if re.search(r"\w\w", text)]  # some are all theirs
    assert len(calls) > 30
    assert [(path, text) for path, text, _ in calls if not text.startswith(tuple(filter(None, phrases)))] == []
    assert {*about(), "queue_state", *(key for _, _, keys in calls for key in keys)} <= fields
