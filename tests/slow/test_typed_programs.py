"""mypy finds no error in the documentation's programs."""

from __future__ import annotations

import os
import subprocess
import sys

import documented
import pytest

pytestmark = pytest.mark.slow

INFERRED = [
    "--allow-untyped-defs",
    "--allow-incomplete-defs",
    "--allow-untyped-calls",
]  # what is returned, as by pyright
ONE_FOR_A_PAGE = "--allow-redefinition"  # later blocks of a page use some names again
WITHOUT_STUBS = {*documented.UNTYPED, "waitress_serve"}  # whose library has its types in a package of its own


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What mypy keeps of the package and the libraries, which the programs of all folders import."""
    return tmp_path_factory.mktemp("cache")


def complaints(folder, cache, *options):
    """What is wrong with the programs in a folder."""
    options = ["--strict", "--cache-dir", cache, "--no-error-summary", *INFERRED, *options]
    files = sorted(path.name for path in folder.glob("*.py") if path.stem not in WITHOUT_STUBS)
    command = [sys.executable, "-m", "mypy", *options, *files]
    environ = {**os.environ, "PYTHONPATH": str(documented.ROOT)}
    ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=600, check=False)
    assert not ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("write", [documented.write_pages, documented.write_readme, documented.write_shown])
def test_programs(tmp_path, cache, write):
    """The programs of pages, of the README and in files that pages show are right as they stand; a mistake is found."""
    write(tmp_path)
    assert len(list(tmp_path.iterdir())) >= 5
    assert complaints(tmp_path, cache, ONE_FOR_A_PAGE) == []
    wrong = tmp_path / "wrong.py"
    wrong.write_text('import tinkex\ntinkex.SamplingParams(max_tokens="3")\n', encoding="utf-8")
    assert len(complaints(tmp_path, cache, ONE_FOR_A_PAGE)) == 1
