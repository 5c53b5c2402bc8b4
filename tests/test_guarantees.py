"""The page of guarantees, and the tests that it names; the page on observability, and the log records that it lists."""

from __future__ import annotations

import ast
import functools
import pathlib
import re

from tinkex._logging import about

TESTS = pathlib.Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "guarantees.rst").read_text()
SECTIONS = PAGE[: PAGE.index("\nHow far this has been tried\n")]
NAMED = sorted(set(re.findall(r"\| ``(\S+)``", SECTIONS)))
PACKAGE = TESTS.parent / "tinkex"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
LOGS = (TESTS.parent / "docs" / "observability.rst").read_text().partition("\nLogs\n----")[2]


@functools.cache
def functions_of(file):
    """The names of all functions in a file of tests."""
    return set(re.findall(r"^ *def (\w+)", (TESTS / file).read_text(), re.MULTILINE))


def exists(name):
    """Whether there is a file of tests, or a test in a file."""
    file, _, function = name.partition("::")
    return (TESTS / file).is_file() and (not function or function in functions_of(file))


def test_the_tests_that_are_named_exist():
    """A test that the page points to is there, under that name."""
    assert len(NAMED) > 100
    assert [name for name in NAMED if not exists(name)] == []


def test_every_sentence_has_a_test():
    """No promise stands there alone."""
    promises = re.split(r"^   \* - ", SECTIONS, flags=re.MULTILINE)[1:]
    assert len(promises) > 30
    assert not [promise for promise in promises if "| ``test" not in promise and "/test_" not in promise]


def log_calls():
    """Every call of a logger in the package: its module, its text with dots for what varies, and its extra fields."""
    texts_of = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    for path, source in texts_of.items():
        for call in ast.walk(ast.parse(source)) if "logger." in source else ():
            is_call = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS
            if is_call and "logger" in ast.unparse(call.func.value):
                texts = [each.value for each in call.args if isinstance(each, ast.Constant)]
                extra = [
                    each for keyword in call.keywords if keyword.arg == "extra" for each in ast.walk(keyword.value)
                ]
                keys = {key.value for each in extra if isinstance(each, ast.Dict) for key in each.keys if key}
                yield path.relative_to(PACKAGE), re.sub(r"%(\.\d)?[srdf]", "...", texts[0]) if texts else "", keys


def test_every_record_is_documented():
    """The page on observability has the text of each record, and the fields that it adds."""
    cells = re.findall(r"^   \* - (.*?)\n     - ", LOGS, re.MULTILINE | re.DOTALL)
    phrases = [" ".join(phrase.split()).rstrip(" .") for cell in cells for phrase in re.split(r";|\(``", cell)]
    fields = set(re.findall(r"``(\w+)``", "\n".join(cells)))
    calls = [(path, text, keys) for path, text, keys in log_calls() if re.search(r"\w\w", text)]  # some are all theirs
    assert len(calls) > 30
    assert [(path, text) for path, text, _ in calls if not text.startswith(tuple(filter(None, phrases)))] == []
    assert {*about(), "queue_state", *(key for _, _, keys in calls for key in keys)} <= fields
