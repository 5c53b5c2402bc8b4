from __future__ import annotations

import shutil
import signal
import sys

import pytest
from webserving import Load, WebServer, free_address

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow

MOST_THREADS = 32 + 32  # of a process: the server's own, and tinkex's


@pytest.fixture
def tinker():
    """A Tinker server whose samples take a moment."""
    with FakeServer(strict=True, latency=0.2, long_poll=5.0) as fake:
        yield fake
        assert fake.violations == []


def gunicorn(app, tinker, log, *options):
    """Two workers of gunicorn, with threads."""
    pytest.importorskip("gunicorn")
    address = free_address()
    command = [sys.executable, "-m", "gunicorn", "--bind", address, "--workers", 2, "--worker-class", "gthread"]
    return WebServer([*command, "--threads", 32, "--no-control-socket", *options, app], address, tinker.url, log)


def uwsgi(tinker, log, *options):
    """The Flask application under uWSGI, with two workers and threads."""
    if (program := shutil.which("uwsgi", path=f"{sys.exec_prefix}/bin")) is None:
        pytest.skip("needs uWSGI in this environment")
    address = free_address()
    return WebServer([program, "--ini", "uwsgi.ini", "--http-socket", address, *options], address, tinker.url, log)


def waitress(tinker, log):
    """The Flask application under waitress."""
    pytest.importorskip("waitress")
    address = free_address()
    return WebServer([sys.executable, "waitress_serve.py", address], address, tinker.url, log)


def asyncio_program(tinker, log):
    """The program on asyncio."""
    address = free_address()
    return WebServer([sys.executable, "asyncio_app.py", address.partition(":")[2]], address, tinker.url, log)


def restarted(server, tinker):
    """Two restarts and an end, all of them graceful and in mid-load: whoever was let in has the answer."""
    with server, Load(server.address) as load:
        for _ in range(2):
            load.reach(200)
            server.signal(signal.SIGHUP)
        load.reach(200)
        assert max(server.threads().values(), default=0) <= MOST_THREADS
        assert load.refused == []
        server.signal(signal.SIGTERM)
        server.ends(10)
        load.stop()
    load.check(tinker)
    assert tinker.counts["finish"] == tinker.counts["create_session"] >= 4


@pytest.mark.parametrize("app", ["flask_app:app", "django_app:application"])
@pytest.mark.parametrize("options", [["--preload"], []], ids=["preload", "load"])
def test_gunicorn(app, options, tinker, tmp_path):
    """No visitor of gunicorn is turned away by a restart, and every worker finishes its session and ends."""
    restarted(gunicorn(app, tinker, tmp_path / "log", *options), tinker)


def test_uwsgi(tinker, tmp_path):
    """The same for uWSGI, whose workers are forked from a process that has imported the application."""
    restarted(uwsgi(tinker, tmp_path / "log"), tinker)


@pytest.mark.parametrize("program", [waitress, asyncio_program])
def test_one_process(program, tinker, tmp_path):
    """A server of one process answers whom it has let in before it ends; another takes over at its address."""
    for turn in range(2):
        with program(tinker, tmp_path / f"log-{turn}") as server, Load(server.address) as load:
            load.reach(300)
            assert max(server.threads().values(), default=0) <= MOST_THREADS
            assert load.refused == []
            server.signal(signal.SIGTERM)
            server.ends(10)
            load.stop()
        load.check(tinker)
        assert tinker.counts["finish"] == tinker.counts["create_session"] == 1
        tinker.clear()
