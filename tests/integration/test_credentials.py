from __future__ import annotations

import subprocess

import pytest

from tinkex.credentials import run_command


def test_run_command():
    """A command runs in a shell, with nothing to read, and its output comes back."""
    assert run_command("cat; printf '%s' a | tr a b", 10) == "b"
    with pytest.raises(subprocess.CalledProcessError):
        run_command("exit 3", 10)
    with pytest.raises(subprocess.TimeoutExpired):
        run_command("exec sleep 10", 0.05)
