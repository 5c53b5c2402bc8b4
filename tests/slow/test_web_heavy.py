"""What takes longer than CI should: many restarts under faults, samples of many seconds, and uWSGI's odder ways."""

from __future__ import annotations

import random
import signal

import pytest
from loading import Load
from webservers import asyncio_program, forked_while_sampling, gunicorn, preloaded, restarted, uwsgi, waitress

from tinkex.testing import FakeServer

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

FAULTS = [("asample", "reset"), ("asample", "reset_after"), ("retrieve_future", "reset"), ("retrieve_future", "half")]


@pytest.fixture
def tinker():
    """A Tinker server whose samples take a moment."""
    with FakeServer(strict=True, latency=0.2, long_poll=5.0) as fake:
        yield fake
        assert fake.violations == []


@pytest.mark.parametrize("program", [preloaded, gunicorn, uwsgi])
def test_many_restarts_under_faults(program, tinker, tmp_path):
    """Ten restarts and thousands of requests, a tenth of which meet a fault: each has its own answer."""
    chance = random.Random(7)
    tinker.latency = lambda request, _: chance.uniform(0.05, 0.5)
    for endpoint, kind in FAULTS:
        tinker.fault(endpoint, kind, times=None, when=lambda _: chance.random() < 0.02)
    for status, headers in ((429, {"Retry-After": "0.1"}), (503, {})):
        tinker.fail_next("asample", status, headers=headers, times=None, when=lambda _: chance.random() < 0.02)
    restarted(program("flask_app:app", tinker, tmp_path), tinker, restarts=10, requests=400, once=False)


@pytest.mark.parametrize("program", [preloaded, uwsgi, waitress, asyncio_program])
def test_an_end_waits_for_long_samples(program, tinker, tmp_path):
    """A graceful end lets samples of eight seconds finish, though some servers wait for five on their own."""
    tinker.latency = 8.0
    with program("flask_app:app", tinker, tmp_path) as server, Load(server.address, visitors=30) as load:
        tinker.wait_for("asample", 30)
        server.signal(signal.SIGTERM)
        load.turn_away()
        server.ends(20)
        load.stop()
    assert len(load.answered) == 30
    load.check(tinker)


def test_uwsgi_parent_that_samples_when_it_forks(tinker, tmp_path):
    """The same as for gunicorn, with the option that has uWSGI fork as Python does."""
    forked_while_sampling(uwsgi, tinker, tmp_path)
