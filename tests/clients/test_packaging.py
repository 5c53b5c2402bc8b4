"""Environments of their own with what an extra brings: the pages built, and tests on the oldest libraries."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest
from environments import environment
from requirements import CORE, lowest, required

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first run installs them

ROOT = pathlib.Path(__file__).resolve().parents[2]
OLDEST = {"click", "rich", "huggingface-hub"}  # whose next older releases the tests do not run on
TESTS = ["tests/cli/test_cli.py", "tests/cli/test_doctor.py", "tests/unit/tokenizers/test_find.py"]


def run(command, **environ):
    """Run a command on this checkout; its output, once it has ended well."""
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-3000:]
    return ended.stdout


def test_pages_are_built_with_the_docs_extra(tmp_path, installed_tinkex):
    """The README's command builds every page without a warning, and no chapter of the reference is missing."""
    programs = environment("docs", *CORE, *{f"{name}{bounds}" for name, bounds in sorted(required("docs"))})
    build = [programs / "sphinx-build", "-W", "-n", "-q", "-b", "html", "docs", tmp_path]
    run(build, PYTHONPATH=str(installed_tinkex))
    pages = "".join(page.read_text(encoding="utf-8") for page in tmp_path.glob("**/*.html"))
    for name in ("tinkex.SamplingClient", "tinkex.testing.FakeServer", "tinkex.local.LocalServer", "tinkex.bulk.run"):
        assert f'id="{name}"' in pages, name


def test_oldest_libraries_of_the_test_extra():
    """Tests that need newer libraries than programs do pass on the oldest that the `test` extra takes."""
    oldest = {name: f"=={'.'.join(map(str, (*lowest('test')[name], 0)[:2]))}.*" for name in OLDEST}
    names = {name for name, _ in required("test")}
    programs = environment("oldest", *CORE, *sorted(f"{name}{oldest.get(name, '')}" for name in names))
    printed = run([programs / "python", "-m", "pytest", "-q", "-n", "0", *TESTS], PYTHONPATH=str(ROOT))
    assert re.search(r"\d\d\d passed", printed)
