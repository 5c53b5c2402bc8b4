"""When a test may move its clock: once every thread of this process waits, for the clock or for another."""

from __future__ import annotations

import os
import pathlib
import threading
import time

_THREADS = pathlib.Path("/proc/self/task")
_TICK = 0.0002
_NOISE = 5_000  # nanoseconds: between the reading of one clock and of the other
_MOST_SECONDS = 2.0  # where something runs all the time


def _others_worked():
    """The processor time of all other threads, in nanoseconds."""
    return time.process_time_ns() - time.thread_time_ns()


def _others_wait():
    """Whether no other thread runs, or would if it had a processor; Linux says so."""
    mine = str(threading.get_native_id())
    for name in os.listdir(_THREADS):  # noqa: PTH208 - this is done a thousand times a second
        if name == mine:
            continue
        try:
            with open(f"{_THREADS}/{name}/stat", "rb") as file:  # noqa: PTH123
                state = file.read().rpartition(b") ")[2][:1]
        except (FileNotFoundError, ProcessLookupError):  # it has just ended, and may have woken another
            return False
        if state in b"RD":
            return False
    return True


def rest():
    """Return once nothing more happens by itself but what real time brings.

    Threads are looked at one after the other. That none of them has worked meanwhile says that all waited at once.
    """
    if not _THREADS.is_dir():
        time.sleep(0.005)
        return
    until = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < until:
        time.sleep(_TICK)  # gives the interpreter to those that wait for it
        worked = _others_worked()
        if _others_wait() and _others_worked() - worked < _NOISE:
            return
