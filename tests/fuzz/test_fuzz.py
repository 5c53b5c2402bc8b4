"""Twenty thousand inputs for each reader of a server's bytes; ``fuzz.py`` beside this gives as many as one likes."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from targets import TARGETS

pytestmark = pytest.mark.slow

HERE = pathlib.Path(__file__).parent
RUNS = int(os.environ.get("TINKEX_FUZZ_RUNS", "20000"))
SECONDS = 60 + RUNS // 1000  # a runaway's end, never reached otherwise
# In between: a process counts the most memory of the one that started it as its own, and the tests have taken more.
_BETWEEN = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.timeout(SECONDS + 30)
def test_nothing_a_server_sends_breaks_its_reader(name, tmp_path):
    """No input gets anything but a value or one of tinkex's own errors, within bounded time and memory."""
    pytest.importorskip("atheris", reason="atheris is published for Linux on x86-64 only")
    options = [f"-runs={RUNS}", "-seed=1", f"-artifact_prefix={tmp_path}/", f"-max_total_time={SECONDS}"]
    command = [sys.executable, "-c", _BETWEEN, sys.executable, HERE / "fuzz.py", name, *options]
    environ = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environ, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
