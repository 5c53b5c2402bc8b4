"""When a test may move its clock: once every thread of this process waits, for the clock or for another."""

from __future__ import annotations

import os
import pathlib
import threading
import time

_TASKS = pathlib.Path("/proc/self/task")
_TICK = 0.0002
_MOST_SECONDS = 2.0  # where something runs all the time
_LOOKS = 3  # in a row: a thread that is being woken may not be seen to run yet


def _others_wait():
    """Whether no other thread runs, or would if it had a processor; Linux says so."""
    mine = threading.get_native_id()
    for name in os.listdir(_TASKS):  # noqa: PTH208 - a thousand times a second
        if int(name) == mine:
            continue
        try:
            with open(_TASKS / name / "stat", "rb") as file:  # noqa: PTH123
                state = file.read().rpartition(b") ")[2][:1]
        except (FileNotFoundError, ProcessLookupError):  # it has just ended, and may have woken another
            return False
        if state in b"RD":
            return False
    return True


def rest():
    """Return once nothing more happens by itself but what real time brings."""
    if not _TASKS.is_dir():
        time.sleep(0.005)
        return
    looks, until = 0, time.monotonic() + _MOST_SECONDS
    while looks < _LOOKS and time.monotonic() < until:
        time.sleep(_TICK)  # gives the interpreter to those that wait for it
        looks = looks + 1 if _others_wait() else 0
