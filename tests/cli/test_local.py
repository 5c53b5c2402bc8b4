"""The command line on the real model, as a newcomer runs it."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import shlex
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-c", "from tinkex.cli import main; main()"]
EXPECTED = [None, -11.54, -0.34, -2.44, -0.45]


def run(*arguments):
    """Run a command in a process of its own."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300, check=False)


def test_sample():
    """The model goes on from a prompt, the same way for the same seed."""
    results = [run("sample", "--local", "The capital of France is", "-m", "8", "--seed", "1") for _ in range(2)]
    assert [result.returncode for result in results] == [0, 0]
    assert results[0].stdout == results[1].stdout
    assert len(results[0].stdout) > 5


def local_commands(text):
    """The arguments of the commands in a text that sample from the small model."""
    return [shlex.split(line) for line in re.findall(r"tinkex (sample --local .*)", text)]


def test_what_newcomers_run_first():
    """The README's first command, and the examples that `--help` gives, have good answers."""
    readme = (pathlib.Path(__file__).parents[2] / "README.rst").read_text(encoding="utf-8")
    (first,) = local_commands(readme)[:1]
    short, chat = local_commands(run("sample", "--help").stdout)
    tips = run(*first).stdout.splitlines()
    assert [tip[:3] for tip in tips] == ["1. ", "2. ", "3. "]
    assert "sleep" in tips[0]
    assert run(*short).stdout == " Paris.\n"
    assert "Paris" in run(*chat).stdout


def test_logprobs():
    """Log-probabilities are those known of this model."""
    result = run("logprobs", "--local", "The capital of France is", "--json")
    found = [row["logprob"] for row in json.loads(result.stdout)["tokens"]]
    assert found[0] is None
    assert found[1:] == pytest.approx(EXPECTED[1:], abs=0.3)


def test_on_a_terminal():
    """On a terminal the text comes with a remark on how long it took."""
    leader, follower = pty.openpty()
    command = [*COMMAND, "sample", "--local", "One, two,", "-m", "4"]
    with subprocess.Popen(command, stdout=follower, stderr=follower, env={**os.environ, "COLUMNS": "80"}) as process:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 4096):
                shown += part
        except OSError:
            pass  # how Linux tells that the other end is closed
        os.close(leader)
    assert process.returncode == 0
    assert b"4 tokens in " in shown
    assert b"first token after " in shown


def test_serve_until_interrupted():
    """A served model answers other commands, and Ctrl-C ends it with 130."""
    with subprocess.Popen([*COMMAND, "local", "serve"], stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        result = run("sample", "One, two,", "-m", "4", "--base-url", url)
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 130
    assert (result.returncode, result.stdout != "") == (0, True)
