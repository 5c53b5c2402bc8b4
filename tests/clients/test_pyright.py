"""Pyright, which Pylance is made of, knows the type of every public name, and finds no error in the typed example."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

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


def strict(pyright, folder):
    """The complaints about the programs in a folder."""
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
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
        if symbol["isExported"] and (not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])
    ]
    assert (unknown, found["completenessScore"]) == ([], 1)


def test_the_typed_example(pyright, tmp_path):
    """What mypy checks in `tests/typing` pyright takes in strict mode, and a mistake in it is found."""
    program = (ROOT / "tests" / "typing" / "api.py").read_text(encoding="utf-8")
    (tmp_path / "api.py").write_text(program, encoding="utf-8")
    assert strict(pyright, tmp_path) == []
    (tmp_path / "api.py").write_text(program + "\nSEQUENCE: int = sequence.tokens\n", encoding="utf-8")
    assert len(strict(pyright, tmp_path)) == 1
