"""The page of guarantees, and the tests that it names."""

from __future__ import annotations

import functools
import pathlib
import re

import pytest

TESTS = pathlib.Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "guarantees.rst").read_text()
SECTIONS = PAGE[: PAGE.index("\nHow far this has been tried\n")]
NAMED = sorted(set(re.findall(r"\| ``(\S+)``", SECTIONS)))


@functools.cache
def functions_of(file):
    """The names of all functions in a file of tests."""
    return set(re.findall(r"^ *def (\w+)", (TESTS / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_exists(name):
    """A test that the page points to is there, under that name."""
    file, _, function = name.partition("::")
    assert not function or function in functions_of(file)
    assert (TESTS / file).is_file()


def test_every_sentence_has_a_test():
    """No promise stands there alone."""
    promises = re.split(r"^   \* - ", SECTIONS, flags=re.MULTILINE)[1:]
    assert len(promises) > 30
    assert not [promise for promise in promises if "| ``test" not in promise and "/test_" not in promise]
