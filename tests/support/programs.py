"""Programs that a test runs in a process of their own, against a fake server in the test's."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import attrs

PRELUDE = """
import os, signal, sys, threading, time
import tinkex

URL = sys.argv[1]
PARAMS = tinkex.SamplingParams(max_tokens=4)

def open_client(**settings):
    service = tinkex.ServiceClient(base_url=URL, api_key="tml-secret", config=tinkex.ClientConfig(**settings))
    return service, service.create_sampling_client(base_model="fake/model")

def in_child(work, seconds=20):
    # Fork, have the child do the work and leave through sys.exit; the child's process id.
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(seconds)
    work()
    sys.exit(0)

def join(*pids):
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert status == 0, f"a child ended with {status}"

def ends_by_fork(future):
    began = time.monotonic()
    try:
        future.result(5)
    except tinkex.ForkedFutureError:
        return time.monotonic() - began < 1
    return False
"""

# With a client and its service: twenty children are forked, each of which takes ten samples, while a thread samples.
FORKS_WHILE_SAMPLES_END = """
    ending = threading.Event()

    def ask():
        while not ending.is_set():
            for future in [client.sample([3], PARAMS) for _ in range(20)]:
                future.result(10)

    asking = threading.Thread(target=ask)
    asking.start()

    def work():
        for future in [client.sample([4], PARAMS) for _ in range(10)]:
            future.result(10)
        os._exit(0)

    for _ in range(20):
        join(in_child(work))
    ending.set()
    asking.join()
    print(service.stats().completed)
    service.close()
"""

_REMIND_SECONDS = 10.0


@attrs.frozen
class Ended:
    """How a program ended: what it wrote, and how long it took after it printed "main ends"."""

    code: int
    out: str
    err: str
    seconds: float


def run(text, *arguments, seconds=60.0, interrupt=None, environ=None):
    """Run a program to its end; send the signal `interrupt` once it has printed "ready"."""
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", PRELUDE + textwrap.dedent(text)]
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
    )
    lines, last = [], time.monotonic()

    def remind():
        # CPython may miss a signal that arrives just as its main thread blocks on a lock.
        nonlocal last
        last = time.monotonic()
        process.send_signal(interrupt)

    reminder = threading.Timer(_REMIND_SECONDS, remind)
    try:
        for line in process.stdout:
            lines.append(line)
            if line.strip() == "main ends":
                last = time.monotonic()
            if line.strip() == "ready" and interrupt is not None:
                last = time.monotonic()
                process.send_signal(interrupt)
                reminder.start()
        _, errors = process.communicate(timeout=seconds)
        return Ended(process.returncode, "".join(lines), errors, time.monotonic() - last)
    finally:
        reminder.cancel()
        process.kill()
        process.wait()


def succeed(text, *arguments, **options):
    """Run a program that must end well and say nothing on stderr."""
    ended = run(text, *arguments, **options)
    assert (ended.code, ended.err) == (0, ""), ended.out + ended.err
    return ended
