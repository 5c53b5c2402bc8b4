"""The command line as processes of its own: Ctrl-C at any moment, pipes that close, shells that complete."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from tinkex.cli import main; main()"]
SAYS_WHEN = """
import os, signal
set_handler = signal.signal
def first(*arguments):
    signal.signal = set_handler
    set_handler(*arguments)
    os.write(1, b"!")
signal.signal = first
"""


def start(*arguments, says_when=False, **variables):
    """Start a command in a process of its own, which may write "!" once it is no longer Python that starts."""
    command = [sys.executable, "-c", SAYS_WHEN + COMMAND[-1]] if says_when else COMMAND
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TINKER_API_KEY": "tml-test-key-0123456789", **variables}
    return subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )


def interrupt(process, after):
    """Press Ctrl-C after a while; how it ended, and how long that took."""
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors, time.monotonic() - begun


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.08, 0.12, 0.2, 0.4, 0.8])
@pytest.mark.parametrize("held", ["client/config", "create_sampling_session", "retrieve_future"])
def test_interrupted_at_any_moment(after, held):
    """Ctrl-C ends a command within seconds and without a traceback, wherever it is."""
    with FakeServer() as server:
        server.fault(held, "hang", times=None)
        options = ("--base-model", "fake/model", "--base-url", server.url, "--tokens", "1,2")
        process = start("sample", *options, says_when=True)
        assert process.stdout.read(1) == "!"
        code, errors, took = interrupt(process, after)
    assert (code, "Traceback" in errors, "Exception ignored" in errors) == (130, False, False), errors
    assert took < 5


def test_interrupted_in_the_background():
    """A script's background command, to which the shell has it ignored, is not interrupted."""
    with FakeServer() as server:
        line = [*COMMAND, "models", "--base-url", server.url]
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509 - as shells do
        )  # fmt: skip
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0].startswith("fake/model")
    assert process.returncode == 0


def test_a_reader_that_has_had_enough():
    """A closed pipe ends the command quietly."""
    with FakeServer() as server, start("checkpoints", "--base-url", server.url, "--jsonl") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_as_a_module():
    """`python -m tinkex` is the same command."""
    done = subprocess.run(
        [sys.executable, "-m", "tinkex", "version"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.startswith("tinkex ")


def test_help_comes_at_once():
    """The help text takes less than 150 ms of processor time."""
    start("--help").communicate()  # the first compiles
    best = min(processor_time("--help") for _ in range(5))
    assert best < 0.15


def processor_time(*arguments):
    """The processor time of a command, with all that Python needs to start."""
    process = start(*arguments)
    process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    process.stdout.close()
    process.stderr.close()
    return usage.ru_utime + usage.ru_stime


@pytest.fixture
def path(tmp_path):
    """A PATH on which `tinkex` is this one."""
    script = tmp_path / "bin" / "tinkex"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tinkex "$@"\n')
    script.chmod(0o755)
    return f"{script.parent}:{os.environ['PATH']}"


def test_completion_in_bash(path):
    """What `tinkex completion bash` prints makes bash complete commands and options."""
    script = (
        'eval "$(tinkex completion bash)"\n'
        'COMP_WORDS=(tinkex che); COMP_CWORD=1; _tinkex_completion tinkex; echo "${COMPREPLY[@]}"\n'
        "COMPREPLY=()\n"
        'COMP_WORDS=(tinkex sample --top); COMP_CWORD=2; _tinkex_completion tinkex; echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    assert done.stdout.split() == [
        "checkpoints",
        "check",
        "--top-k",
        "--top-p",
        "--topk-logprobs",
        "--topk-prompt-logprobs",
    ]


@pytest.mark.parametrize(("shell", "check"), [("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_completion_in_other_shells(path, tmp_path, shell, check):
    """What is printed for zsh and fish is a script that they can read."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    lines = subprocess.run(
        ["tinkex", "completion", shell], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    ).stdout
    (tmp_path / "script").write_text(lines)
    subprocess.run([shell, *check, str(tmp_path / "script")], check=True)
