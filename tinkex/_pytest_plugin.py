"""Pytest plugin with tinkex's fixtures; pytest finds it wherever tinkex is installed, so it loads nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tinkex.testing import FakeServer, ManualClock


@pytest.fixture
def tinkex_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A `tinkex.testing.FakeServer` that clients find by themselves, through TINKER_BASE_URL and TINKER_API_KEY."""
    try:
        from tinkex.testing import FakeServer
    except ImportError as error:
        pytest.fail(f"tinkex_server needs an extra ({error}). Run: pip install 'tinkex[test]'", pytrace=False)
    with FakeServer() as server:
        monkeypatch.setenv("TINKER_BASE_URL", server.url)
        monkeypatch.setenv("TINKER_API_KEY", "tml-fake")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1", prepend=",")
        yield server


@pytest.fixture
def tinkex_clock() -> ManualClock:
    """A `tinkex.testing.ManualClock`, which the test moves by hand."""
    from tinkex.testing import ManualClock

    return ManualClock()
