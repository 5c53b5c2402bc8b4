"""Web servers as processes of their own, visitors that load them, and what must be true of both at the end."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import tinkex
from tinkex.testing import expected_tokens

APPS = pathlib.Path(__file__).resolve().parent.parent / "apps"
ROOT = pathlib.Path(tinkex.__file__).resolve().parent.parent
MAX_TOKENS = 16
# What a log holds when something went wrong in a server, or a worker had to be killed.
_DUMPS = re.compile(r"Traceback|Exception ignored|Fatal Python|Error in|WORKER TIMEOUT|SIGKILL|Segmentation")


def free_address():
    """An address on this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def wait_until(condition, seconds=30.0):
    """Look again and again; fails with what the condition says of itself."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} s"
        time.sleep(0.01)


class Program:
    """A program in a process group of its own, run in `path`, with its output in a file. A context manager.

    It imports from there, and from tests/apps.
    """

    def __init__(self, command, tinker_url, log, path=APPS):
        self.command = [str(part) for part in command]
        self.environ = {
            **os.environ, "TINKER_BASE_URL": tinker_url, "TINKER_API_KEY": "tml-secret", "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(map(str, [ROOT, APPS, path])), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        self._log, self._path = log, path

    def __enter__(self):
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self._path, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def log(self):
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    def signal(self, number):
        """Send a signal to the main process alone."""
        self.process.send_signal(number)

    def ends(self, seconds):
        """It and all that it started end within so many seconds, with a status of 0 and without a stack dump."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {seconds} s: {self.log}") from None
        assert code == 0, (code, self.log)
        self.is_quiet()
        wait_until(self._all_gone, 2.0)

    def is_quiet(self):
        """Nothing in the log is a stack dump or a killed worker."""
        assert _DUMPS.search(self.log) is None, self.log

    def threads(self):
        """How many threads each of its processes has, where the system tells."""
        counts = {}
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                if os.getpgid(int(status.parent.name)) == self.process.pid:
                    counts[status.parent.name] = int(re.search(r"Threads:\s+(\d+)", status.read_text())[1])
        return counts

    def _all_gone(self):
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


class WebServer(Program):
    """A program that serves an application at `address`; entering it waits until it answers."""

    def __init__(self, command, address, tinker_url, log, path=APPS):
        super().__init__(command, tinker_url, log, path)
        self.address = address

    def __enter__(self):
        super().__enter__()
        try:
            wait_until(self._answers)
        except AssertionError:
            self.__exit__()
            raise AssertionError(f"did not start: {self.log}") from None
        return self

    def _answers(self):
        assert self.process.poll() is None, self.log
        try:
            return ask(self.address, "GET", "/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def ask(address, method, path, body=None):
    """One request on a connection of its own: the status, the headers and the decoded body."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), json.loads(response.read())
    finally:
        connection.close()


def prompt_of(number):
    """A prompt that no other request has."""
    return 1 + number // 1000, 1 + number % 1000, 7


def prompts_asked(tinker):
    """The prompts of `prompt_of` that the Tinker server was sent, one for each submission."""
    sent = [tuple(json.loads(each.body)["prompt"]["chunks"][0]["tokens"]) for each in tinker.requests_to("asample")]
    return [prompt for prompt in sent if len(prompt) == len(prompt_of(0))]


class Load:
    """Visitors that send one request after the other until the block ends; each asks for something of its own."""

    def __init__(self, address, visitors=100):
        self._address = address
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(visitors)]
        self.answered = []  # numbers of requests with the right answer
        self.refused = []  # numbers of requests whose connection was not made, or closed without an answer
        self.wrong = []  # any other answer

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def turn_away(self):
        """Let no visitor begin another request."""
        self._over.set()

    def stop(self):
        """Let every visitor finish the request it is in, and no more."""
        self.turn_away()
        for thread in self._threads:
            thread.join()

    def reach(self, count, seconds=60.0):
        """Go on until so many more were answered."""
        target = len(self.answered) + count
        wait_until(lambda: len(self.answered) >= target or self.wrong, seconds)

    def check(self, tinker, *, once=True):
        """Whatever a view asked Tinker for was answered to who asked for it, and asked for `once`."""
        assert self.wrong == []
        asked = [
            tuple(json.loads(each.body)["prompt"]["chunks"][0]["tokens"]) for each in tinker.requests_to("asample")
        ]
        asked = [tokens for tokens in asked if len(tokens) == len(prompt_of(0))]
        assert sorted(asked if once else set(asked)) == sorted(map(prompt_of, self.answered))

    def _visit(self):
        while not self._over.is_set():
            number = next(self._numbers)
            prompt = prompt_of(number)
            try:
                status, _, body = ask(self._address, "POST", "/complete", {"tokens": prompt})
            except (OSError, http.client.HTTPException) as error:
                self.refused.append((number, repr(error)))
                time.sleep(0.05)
                continue
            if (status, body.get("tokens")) == (200, expected_tokens(prompt, max_tokens=MAX_TOKENS)):
                self.answered.append(number)
            else:
                self.wrong.append((number, status, body))
