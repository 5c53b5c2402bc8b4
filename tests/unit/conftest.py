"""What keeps the edit loop quick: unit tests start no thread or process, reach for no network and never sleep."""

from __future__ import annotations

import sys
import threading
import time

import pytest

_EVENTS = {
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
}
_START, _SLEEP = threading.Thread.start, time.sleep
_refused: list[str] | None = None  # what the test that runs has tried


def _refuse(event, *_):
    _refused.append(event)
    raise RuntimeError(f"{event} in a unit test: it belongs into tests/integration")


def _refuse_start(_):
    _refuse("Thread.start")


def _refuse_sleep(_):
    _refuse("time.sleep")


def _audit(event, arguments):
    if _refused is not None and event in _EVENTS:
        _refuse(event)


sys.addaudithook(_audit)  # there is no taking it back, so it looks at `_refused` first


@pytest.fixture(autouse=True)
def nothing_but_this_thread():
    """Refuse threads, processes, connections and sleeps, also where the code under test hides the refusal."""
    global _refused  # noqa: PLW0603 - the hook is one for the process, too
    threading.Thread.start, time.sleep = _refuse_start, _refuse_sleep
    _refused = tried = []
    yield
    _refused = None
    threading.Thread.start, time.sleep = _START, _SLEEP
    assert tried == []
