"""Fixtures for pytest: put `pytest_plugins = ["tinkex.testing.pytest_plugin"]` into a conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tinkex.testing._clock import ManualClock
from tinkex.testing._fake import FakeServer


@pytest.fixture
def fake_tinker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A `FakeServer` that clients find by themselves, through TINKER_BASE_URL and TINKER_API_KEY."""
    with FakeServer() as server:
        monkeypatch.setenv("TINKER_BASE_URL", server.url)
        monkeypatch.setenv("TINKER_API_KEY", "tml-fake")
        yield server


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that the test moves by hand."""
    return ManualClock()
