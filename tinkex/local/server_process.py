"""Child process of the server: start-up handshake, supervision, termination."""

from __future__ import annotations

import json
import logging
import os
import re
import selectors
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from tinkex.local.errors import LocalError

_logger = logging.getLogger("tinkex.local")
_TAIL_BYTES = 2000
#: Among what libraries, or the debugger that one of them calls when it fails, print.
_READY = re.compile(rb"^\{.*\}\r?\n", re.MULTILINE)
# aiohttp reads every certificate of the system when it is imported, for connections that a server never makes.
_NO_CERTIFICATES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
_STOP_SECONDS = 5.0


class KilledError(LocalError):
    """The server was ended by a signal before it answered."""


class ServerProcess:
    """A process that serves until it is stopped, this object is collected, or the process that started it ends.

    *command* must print one line of JSON once it can be used; `wait` reads it. Lines of JSON that it prints later go to
    *on_line*, on a thread of their own; with None it must print none. It must end when its standard input does, which
    is how it notices the death of its owner.
    """

    def __init__(self, command: list[str], on_line: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.ready: dict[str, Any] = {}
        self._on_line = on_line
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the child writes to it
        # A session of its own keeps a terminal's Ctrl-C from it: its owner decides when it ends.
        self.process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - a fixed command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **_NO_CERTIFICATES},
        )
        self._owner = os.getpid()
        self.stop: weakref.finalize[..., ServerProcess] = weakref.finalize(
            self, _stop, self.process, self._errors, self._owner
        )

    def wait(self, timeout: float) -> None:
        """Wait until it can be used; `ready` is what it says then.

        Raises:
            LocalError: It did not answer within *timeout* seconds, or ended first: then with its last words.
        """
        try:
            self.ready = self._first_line(timeout)
        except BaseException:
            self.stop()
            raise
        if self._on_line is not None:
            arguments = (self.process.stdout, self._on_line)
            threading.Thread(target=_forward_lines, args=arguments, name="tinkex-local-reports", daemon=True).start()

    def _first_line(self, timeout: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        said = b""
        while (found := _READY.search(said)) is None:
            if not _readable(self.process.stdout, deadline - time.monotonic()):
                raise LocalError(f"The local server did not answer within {timeout:g} s. {self._last_words()}")
            part = os.read(self.process.stdout.fileno(), 4096)
            if not part:
                status = self.process.wait()
                error = KilledError if status < 0 else LocalError
                raise error(f"The local server did not start (exit status {status}). {self._last_words()}")
            said += part
        ready: dict[str, Any] = json.loads(found[0])
        return ready

    def check(self) -> None:
        """Raise LocalError when the process has ended, with its last words."""
        if os.getpid() != self._owner:
            return  # only the process that started it can ask
        status = self.process.poll()
        if status is not None:
            raise LocalError(f"The local server has ended (exit status {status}). {self._last_words()}")

    def _last_words(self) -> str:
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, end - _TAIL_BYTES))
        words = self._errors.read().decode(errors="replace").strip()
        return f"Its last words: {words}" if words else "It said nothing."


def _forward_lines(stream: IO[bytes], on_line: Callable[[dict[str, Any]], None]) -> None:
    with suppress(ValueError, OSError):  # closed while it is read
        for line in stream:
            try:
                on_line(json.loads(line))
            except Exception:
                _logger.exception("What is told about samples of the local model failed")


def _readable(stream: IO[bytes], timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, timeout)))


def _stop(process: subprocess.Popen[bytes], errors: IO[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, errors):
        if stream is not None:
            stream.close()
