"""The web servers that tinkex is tested under, and what is asked of each."""

from __future__ import annotations

import json
import shutil
import signal
import sys

import pytest
from loading import APPS, Load, WebServer, ask, free_address

# The Flask application in a parent that has sampled, and still does, when it forks.
WARM = """
import threading
import time

import tinkex
from flask_app import app
from sampling import sampling_client

PARAMS = tinkex.SamplingParams(max_tokens=4)
sampling_client().sample([9], PARAMS).result(10)
inherited = sampling_client().sample([9, 9], PARAMS)
while inherited.phase != "waiting":
    time.sleep(0.01)
for _ in range(2):  # some other threads are busy when it forks
    threading.Thread(target=lambda: [sum(range(1000)) for _ in range(300_000)], daemon=True).start()

@app.get("/inherited")
def what_became_of_the_parents_future():
    return {"error": type(inherited.exception(5)).__name__}
"""
SEQUENCE_BLOCK = 1_000_000_000
MOST_THREADS = 32 + 32  # of a process: the server's own, and tinkex's


def gunicorn(app, tinker, folder, *options):
    """Two workers of gunicorn, with threads."""
    pytest.importorskip("gunicorn")
    address = free_address()
    command = [sys.executable, "-m", "gunicorn", "--bind", address, "--workers", 2, "--worker-class", "gthread"]
    return WebServer(
        [*command, "--threads", 32, "--no-control-socket", *options, app], address, tinker.url, folder / "log", folder
    )


def preloaded(app, tinker, folder):
    """The same, forked from a process that has imported the application."""
    return gunicorn(app, tinker, folder, "--preload")


def uwsgi(app, tinker, folder, *options):
    """Two workers of uWSGI, with threads."""
    if (program := shutil.which("uwsgi", path=f"{sys.exec_prefix}/bin")) is None:
        pytest.skip("needs uWSGI in this environment")
    address = free_address()
    command = [program, "--ini", APPS / "uwsgi.ini", "--http-socket", address, *options, "--module", app]
    return WebServer(command, address, tinker.url, folder / "log", folder)


def waitress(app, tinker, folder):
    """One process of waitress, with the documented program, but for the application's name."""
    pytest.importorskip("waitress")
    address = free_address()
    module, _, name = app.partition(":")
    program = (
        (APPS / "waitress_serve.py").read_text().replace("flask_app import app,", f"{module} import {name} as app,")
    )
    (folder / "serve.py").write_text(program)
    return WebServer([sys.executable, folder / "serve.py", address], address, tinker.url, folder / "log")


def asyncio_program(app, tinker, folder):
    """The program on asyncio, which is its own application."""
    address = free_address()
    return WebServer([sys.executable, "asyncio_app.py", address.partition(":")[2]], address, tinker.url, folder / "log")


def restarted(server, tinker, restarts=2, requests=200, **check):
    """Restarts and an end, all of them graceful and in mid-load: whoever was let in has the answer."""
    with server, Load(server.address) as load:
        for _ in range(restarts):
            load.reach(requests)
            server.signal(signal.SIGHUP)
        load.reach(requests)
        assert max(server.threads().values(), default=0) <= MOST_THREADS
        assert load.refused == []
        server.signal(signal.SIGTERM)
        server.ends(20)
        load.stop()
    load.check(tinker, **check)
    assert tinker.counts["finish"] == tinker.counts["create_session"] >= 4


def forked_while_sampling(program, tinker, folder):
    """A parent that samples forks workers, which are loaded: numbers, sessions and the parent's future are checked."""
    tinker.latency = lambda request, _: 5.0 if request.prompt.to_ints() == [9, 9] else 0.2
    (folder / "warm_app.py").write_text(WARM)
    with program("warm_app:app", tinker, folder) as server, Load(server.address) as load:
        assert ask(server.address, "GET", "/inherited")[2] == {"error": "ForkedFutureError"}
        load.reach(300)
        server.signal(signal.SIGTERM)
        server.ends(20)
        load.stop()
    load.check(tinker)
    numbers = [json.loads(request.body)["seq_id"] for request in tinker.requests_to("asample")]
    assert len(set(numbers)) == len(numbers)
    assert len({number // SEQUENCE_BLOCK for number in numbers}) == 3
    assert tinker.counts["create_session"] == 1
