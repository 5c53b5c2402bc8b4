"""``tinkex chat`` at a terminal, in a process of its own: the keys that a person presses."""

from __future__ import annotations

import json
import os
import pty
import select
import sys

import pytest

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow
SECONDS = 30.0
CTRL_C, CTRL_D, UP = b"\x03", b"\x04", b"\x1b[A"


class Terminal:
    """A terminal with the command at its other end."""

    def __init__(self, *arguments, **environ):
        self.pid, self._end = pty.fork()
        if self.pid == 0:  # pragma: no cover - the other process
            os.environ.update(environ)
            os.execv(sys.executable, [sys.executable, "-m", "tinkex", "chat", *arguments])
        self._seen = b""

    def press(self, keys):
        """Press keys."""
        os.write(self._end, keys)

    def press_until(self, keys, words):
        """Press keys again and again until these words are shown: Python sees a Ctrl-C late while readline draws."""
        for _ in range(int(SECONDS)):
            self.press(keys)
            if self._shows(words, 1.0):
                return
        raise AssertionError(f"no {words!r}, but {self._seen!r}")

    def wait_for(self, words):
        """Wait until these words are shown, behind those that were waited for before."""
        assert self._shows(words, SECONDS), f"no {words!r}, but {self._seen!r}"

    def _shows(self, words, seconds):
        """Whether they are shown, with no more than so many seconds of nothing before."""
        while words not in self._seen:
            if not select.select([self._end], [], [], seconds)[0]:
                return False
            self._seen += os.read(self._end, 4096)
        self._seen = self._seen.partition(words)[2]
        return True

    def exit_code(self):
        """Wait for the end of the command."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._end)
        return code


def test_keys(tmp_path):
    """Ctrl-C ends an answer and drops a line, the arrow keys bring lines back, Ctrl-D leaves and saves."""
    pytest.importorskip("readline")
    file = tmp_path / "chats.jsonl"
    with FakeServer(answers="<think>\nHm\n</think>\n\nBlue sky") as server:
        environ = {"TINKER_BASE_URL": server.url, "TINKER_API_KEY": "tml-test", "TERM": "xterm-256color"}
        terminal = Terminal("--base-model", "any/model", "-o", str(file), **environ)
        terminal.wait_for(b"> ")
        terminal.press(b"Hi\r")
        terminal.wait_for(b"Blue sky")
        terminal.press(b"/tokens\r")
        terminal.wait_for(b"likely")
        terminal.wait_for(b"> ")
        server.hold()
        terminal.press(b"Again\r")
        terminal.wait_for(b"Answering")
        terminal.press(CTRL_C)
        terminal.wait_for(b"taken back")
        terminal.wait_for(b"> ")
        terminal.press(UP)
        terminal.wait_for(b"Again")
        terminal.press_until(CTRL_C, b"> ")
        terminal.press(CTRL_D)
        terminal.wait_for(b"Saved to")
        assert terminal.exit_code() == 0
    (row,) = map(json.loads, file.read_text().splitlines())
    assert [message["content"] for message in row["messages"]] == ["Hi", "Blue sky"]
