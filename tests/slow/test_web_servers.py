from __future__ import annotations

import http.client
import json
import signal
import time

import pytest
from loading import Load, ask
from webservers import (
    MOST_THREADS,
    asyncio_program,
    forked_while_sampling,
    gunicorn,
    preloaded,
    restarted,
    uwsgi,
    waitress,
)

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow

WSGI = ["flask_app:app", "django_app:application"]


@pytest.fixture
def tinker():
    """A Tinker server whose samples take a moment."""
    with FakeServer(strict=True, latency=0.2, long_poll=5.0) as fake:
        yield fake
        assert fake.violations == []


@pytest.mark.parametrize("app", WSGI)
@pytest.mark.parametrize("options", [["--preload"], []], ids=["preload", "load"])
def test_gunicorn(app, options, tinker, tmp_path):
    """No visitor of gunicorn is turned away by a restart, and every worker finishes its session and ends."""
    restarted(gunicorn(app, tinker, tmp_path, *options), tinker)


@pytest.mark.parametrize("app", WSGI)
def test_uwsgi(app, tinker, tmp_path):
    """The same for uWSGI, whose workers are forked from a process that has imported the application."""
    restarted(uwsgi(app, tinker, tmp_path), tinker)


@pytest.mark.parametrize(("program", "app"), [*((waitress, app) for app in WSGI), (asyncio_program, "asyncio")])
def test_one_process(program, app, tinker, tmp_path):
    """A server of one process answers whom it has let in before it ends; another takes over after it."""
    for _ in range(2):
        with program(app, tinker, tmp_path) as server, Load(server.address) as load:
            load.reach(300)
            assert max(server.threads().values(), default=0) <= MOST_THREADS
            assert load.refused == []
            server.signal(signal.SIGTERM)
            server.ends(20)
            load.stop()
        load.check(tinker)
        assert tinker.counts["finish"] == tinker.counts["create_session"] == 1
        tinker.clear()


def test_a_visitor_who_leaves_an_asyncio_program(tmp_path):
    """Their sample is cancelled, and Tinker is told; who stays is answered."""
    allowed = {"sample_cancel_enabled": True}
    with FakeServer(dynamic_config=allowed) as tinker, asyncio_program("asyncio", tinker, tmp_path) as server:
        tinker.hold()
        with Load(server.address, visitors=1) as load:
            tinker.wait_for("asample", 1)
            leaving = http.client.HTTPConnection(server.address)
            leaving.request("POST", "/complete", json.dumps({"tokens": [5]}), {"Content-Type": "application/json"})
            tinker.wait_for("retrieve_future", 2)
            leaving.close()
            tinker.wait_for("cancel_future")
            tinker.release()
            load.reach(1)
        assert tinker.cancelled == 1
        server.signal(signal.SIGTERM)
        server.ends(20)


def test_a_parent_that_samples_when_it_forks(tinker, tmp_path):
    """Its workers have connections, threads and numbers of their own, and its own futures end in them by an error."""
    forked_while_sampling(preloaded, tinker, tmp_path)


@pytest.mark.parametrize("options", [[], ["--lazy-apps"]], ids=["eager", "lazy"])
def test_uwsgi_without_threads(options, tinker, tmp_path):
    """`sample()` raises what the log explains, rather than wait for a thread that never runs."""
    server = uwsgi("flask_app:app", tinker, tmp_path, *options)
    place = server.command.index("--ini")
    del server.command[place : place + 2]
    with server:
        began = time.monotonic()
        assert ask(server.address, "POST", "/complete", {"tokens": [1]})[0] == 500
        assert time.monotonic() - began < 5.0
        assert "uWSGI runs no threads in this process: start it with --enable-threads" in server.log
    assert tinker.counts.total() == 0


def test_gevent_is_warned_about(tinker, tmp_path):
    """Each process that gevent has patched is told once what tinkex thinks of that; it works all the same."""
    pytest.importorskip("gevent")
    with (
        gunicorn("flask_app:app", tinker, tmp_path, "--worker-class", "gevent") as server,
        Load(server.address) as load,
    ):
        load.reach(200)
        server.signal(signal.SIGTERM)
        server.ends(35)
        load.stop()
    load.check(tinker)
    assert server.log.count("RuntimeWarning: gevent has replaced") == tinker.counts["create_session"] == 2
