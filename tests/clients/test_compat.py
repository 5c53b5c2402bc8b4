"""Runs the tests in `compat` in environments of their own, which have the official SDK and its cookbook."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest
from environments import TORCH, environment_of

from tinkex.compat._sdk import TESTED

pytestmark = [pytest.mark.clients, pytest.mark.timeout(3600)]  # the first run installs torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted(path.name for path in (ROOT / "tests" / "clients" / "compat").glob("test_*.py"))
COOKBOOK = "tinker-cookbook==0.6.1"  # of what it depends on, some cannot be installed everywhere
PACKAGES = [
    TORCH,
    *("blobfile", "chz", "cloudpickle", "datasets", "pillow", "pyrage", "safetensors", "termcolor", "tiktoken", "tqdm"),
    *("litellm==1.110.2", "transformers==5.24.0"),
    *("aiohttp", "attrs", "click", "hypothesis", "jinja2", "pytest", "pytest-timeout", "pytest-xdist", "requests"),
    *("rich", "sybil", "tenacity", "tokenizers"),
]


def environment(version):
    """The interpreter of an environment with that version of the SDK."""
    packages = [*PACKAGES, f"tinker=={version}"]
    return environment_of(f"compat-{version}", *packages, without_dependencies=[COOKBOOK])


def run_in(python, *files):
    """Run test files with an interpreter; each passes, and none is skipped."""
    paths = [ROOT / "tests" / "clients" / "compat" / name for name in files]
    # The SDK leaves its sockets to the garbage collector.
    command = [python, "-m", "pytest", "-q", "-m", "clients", "-W", "ignore::ResourceWarning", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *paths], cwd=ROOT, env=environ, capture_output=True, text=True)  # noqa: PLW1510
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    last = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"\d+ passed in .*", last), last


@pytest.mark.parametrize("version", TESTED)
@pytest.mark.parametrize("name", FILES)
def test_with_the_sdk(name, version):
    """The tests pass with each version of the SDK that `tinkex.compat` takes for known."""
    run_in(environment(version), name)


def test_with_the_newest_sdk():
    """They pass with the newest release there is, too."""
    command = [environment(TESTED[-1]), "-m", "pip", "index", "versions", "tinker"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout  # noqa: PLW1510
    newest = re.match(r"tinker \((.+)\)", listed)
    if newest is None:
        pytest.skip("the index does not say which release is the newest")
    if newest[1] not in TESTED:
        run_in(environment(newest[1]), *FILES)
