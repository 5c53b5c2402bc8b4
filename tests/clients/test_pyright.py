"""Pyright, of which Pylance is made, knows every public type, and finds no error in the documentation's programs."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import documented
import pytest
from environments import environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first run installs pyright

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pyright():
    """Run pyright on this checkout, in strict mode, with the libraries of this interpreter; what it reports."""
    try:
        program = environment("pyright", "pyright[nodejs]==1.1.414") / "pyright"
    except subprocess.CalledProcessError as error:
        pytest.skip(f"pyright could not be installed: {error}")

    def run(*arguments, cwd=ROOT):
        command = [program, "--pythonpath", sys.executable, "--outputjson", *arguments]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600, check=False)
        return json.loads(ended.stdout)

    return run


OTHERS = ("tinkex.lm_eval", "tinkex.plugins")  # their classes are derived from those of libraries that are not here
JOINED = {"reportDuplicateImport": False, "reportUnusedImport": False}  # blocks of a page, and names used at a prompt


def complaints(pyright, folder, **settings):
    """What is wrong with the programs in a folder, in strict mode unless the settings say otherwise."""
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", **settings}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    return [
        f"{pathlib.Path(each['file']).name}:{each['range']['start']['line'] + 1}: {each['message']}"
        for each in pyright("-p", str(folder), cwd=folder)["generalDiagnostics"]
    ]


def test_every_public_type_is_known(pyright):
    """`pyright --verifytypes tinkex` finds no exported name whose type is missing, unknown or left to be inferred."""
    found = pyright("--verifytypes", "tinkex", "--ignoreexternal")["typeCompleteness"]
    unknown = [
        symbol["name"]
        for symbol in found["symbols"]
        if symbol["isExported"]
        and (not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])
        and not symbol["name"].startswith(OTHERS)
    ]
    assert unknown == []
    assert found["completenessScore"] > 0.99


def test_the_typed_example(pyright, tmp_path):
    """What mypy checks in `tests/typing` pyright takes in strict mode, and a mistake in it is found."""
    pytest.importorskip("opentelemetry")
    program = (ROOT / "tests" / "typing" / "api.py").read_text(encoding="utf-8")
    (tmp_path / "api.py").write_text(program, encoding="utf-8")
    assert complaints(pyright, tmp_path) == []
    (tmp_path / "api.py").write_text(program + "\nSEQUENCE: int = sequence.tokens\n", encoding="utf-8")
    assert len(complaints(pyright, tmp_path)) == 1


def test_programs_of_the_readme(pyright, tmp_path):
    """Each program of the README is right in strict mode as it stands."""
    documented.write_readme(tmp_path)
    assert len(list(tmp_path.iterdir())) >= 5
    assert complaints(pyright, tmp_path) == []


def test_programs_of_the_pages(pyright, tmp_path):
    """The programs of each page are right in strict mode."""
    documented.write_pages(tmp_path)
    assert len(list(tmp_path.iterdir())) >= 15
    assert complaints(pyright, tmp_path, **JOINED) == []


def test_programs_that_pages_show(pyright, tmp_path):
    """Of the files that pages show, those alone are not right in strict mode that stand on a library without types."""
    documented.write_shown(tmp_path)
    assert len(list(tmp_path.iterdir())) >= 20
    found = complaints(pyright, tmp_path)
    assert {each.partition(".py:")[0] for each in found} == set(documented.UNTYPED), found
