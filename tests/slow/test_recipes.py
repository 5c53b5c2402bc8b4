"""The programs of docs/distributed.rst, as they stand."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from tinkex.testing import expected_tokens

pytestmark = pytest.mark.timeout(300)
ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES = [" ".join(map(str, expected_tokens([number], max_tokens=4))) for number in range(1, 101)]


@pytest.fixture
def run(tmp_path):
    """Run a recipe as it stands, without a key; what it prints."""

    def run(name, needs):
        if importlib.util.find_spec(needs) is None:
            pytest.skip(f"needs {needs}")
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
        program = [sys.executable, str(ROOT / "docs" / "recipes" / f"{name}.py")]
        return subprocess.check_output(program, env=environ, cwd=tmp_path, text=True, timeout=240).splitlines()

    return run


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        pytest.param("process_pool", "tinkex", marks=pytest.mark.slow),
        pytest.param("dask_cluster", "distributed", marks=pytest.mark.slow),
        pytest.param("ray_data", "ray", marks=pytest.mark.heavy),
    ],
)
def test_recipe(run, name, needs):
    """The recipe prints the tokens of every prompt, in order."""
    assert run(name, needs) == LINES


@pytest.mark.heavy
def test_ray_file(run):
    """The recipe for a whole file does nothing twice."""
    assert run("ray_file", "ray") == ["100 done, 0 failed, 0 there already"]
    assert run("ray_file", "ray") == ["0 done, 0 failed, 100 there already"]
