"""Runs the Python examples of the README and of docs/, as they stand, against a fake server."""

from __future__ import annotations

import doctest
import os
from collections.abc import Iterator
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.rest import DocTestParser, PythonCodeBlockParser, SkipParser

from tinkex.testing import FakeServer


@pytest.fixture(scope="session")
def example_server() -> Iterator[FakeServer]:
    """The server that the examples find through their environment."""
    with FakeServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINKER_BASE_URL", server.url)
        patch.setenv("TINKER_API_KEY", "tml-example")
        yield server


def set_up(namespace: dict[str, Any]) -> None:
    """Pass for a program, and say whether the examples on the embedded model, which has to be fetched, run as well."""
    namespace["__name__"] = "__main__"
    namespace["fast_only"] = os.environ.get("TINKEX_TEST_LOCAL") != "1"


collect_ignore = ["tests/apps", "tests/typing", "docs/conf.py"]  # run by tests, by mypy, by Sphinx; never collected
pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), DocTestParser(doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), SkipParser()],
    patterns=["README.rst", "docs/*.rst"],
    fixtures=["example_server"],
    setup=set_up,
).pytest()
