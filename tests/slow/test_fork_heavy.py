"""Forks by the hundred: what the slow tests do a few times."""

from __future__ import annotations

import pytest
from programs import succeed
from test_fork import BUSY_PARENT
from test_leaks import FORKS, measure

from tinkex.testing import FakeServer

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


def test_five_hundred_forks():
    """They leave the parent's threads, sockets and memory as they were."""
    with FakeServer(record=False) as server:
        measure(FORKS.replace("range(25)", "range(125)"), server, seconds=500)


def test_hundreds_of_forks_while_other_threads_hold_every_lock():
    """Each child samples, whatever the parent's other threads were in the middle of."""
    with FakeServer(record=False) as server:
        succeed(BUSY_PARENT.replace("range(40)", "range(400)"), server.url, seconds=500)
