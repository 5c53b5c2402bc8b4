"""What holds for every test: no settings come from the environment."""

from __future__ import annotations

import os

import pytest

_FOREIGN = ("TINKER_", "TINKEX_", "CLOUDFLARE_ACCESS_")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No setting comes from the environment unless a test puts it there."""
    for name in os.environ:
        if name.startswith(_FOREIGN) and not name.startswith("TINKEX_TEST_"):
            monkeypatch.delenv(name)
