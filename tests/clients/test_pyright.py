"""Pyright, of which Pylance is made, knows every public type, and finds no error in the documentation's programs."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap

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


BLOCK = re.compile(
    r"(^\.\. skip: \w+.*\n\n)?^\.\. (?:code-block::|invisible-code-block:) python\n\n((?: {4}.*\n|\n)+)", re.MULTILINE
)
SKETCHES = {"internals", "api"}  # pages that show parts of programs
OTHERS = ("tinkex.lm_eval", "tinkex.plugins")  # their classes are derived from those of libraries that are not here


def programs_of(page):
    """The blocks of a page of the documentation, but for those that only run where others' tools are."""
    text = page.read_text(encoding="utf-8")
    return [textwrap.dedent(block) for skip, block in BLOCK.findall(text) if not skip or "if(fast_only" in skip]


def complaints(pyright, folder, mode="strict"):
    """What is wrong with the programs in a folder."""
    settings = {"typeCheckingMode": mode, "pythonVersion": "3.11"}
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
    for number, program in enumerate(programs_of(ROOT / "README.rst")):
        if "app.test_client()" not in program and "os.chdir" not in program:  # the tests' own
            (tmp_path / f"program_{number}.py").write_text(program, encoding="utf-8")
    assert len(list(tmp_path.iterdir())) >= 5
    assert complaints(pyright, tmp_path) == []


def test_programs_of_the_pages(pyright, tmp_path):
    """The programs of each page are right in the mode that editors use, and annotate functions only where it helps."""
    for page in sorted((ROOT / "docs").glob("*.rst")):
        if page.stem not in SKETCHES and (programs := programs_of(page)):
            (tmp_path / f"page_{page.stem}.py").write_text("\n".join(programs), encoding="utf-8")
    assert len(list(tmp_path.iterdir())) >= 15
    assert complaints(pyright, tmp_path, "standard") == []


def test_programs_of_the_cookbook(pyright, tmp_path):
    """Each program of the cookbook is right in strict mode, as a file of its own."""
    page = (ROOT / "docs" / "cookbook.rst").read_text(encoding="utf-8")
    for name in re.findall(r"literalinclude:: recipes/(\w+\.py)", page):
        (tmp_path / name).write_text((ROOT / "docs" / "recipes" / name).read_text(encoding="utf-8"), encoding="utf-8")
    assert len(list(tmp_path.iterdir())) >= 10
    assert complaints(pyright, tmp_path) == []
