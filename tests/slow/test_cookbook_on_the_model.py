"""The programs of docs/cookbook.rst as they stand: on the small local model, or on the fake server that they start."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("tinkex.local")

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "cookbook.rst").read_text(encoding="utf-8")
JOB = re.compile(r"literalinclude:: recipes/(\w+)\.py\n.*\n\n\.\. code-block:: text\n\n((?: {4}.*\n|\n)+)")
VARYING = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|null|\bright\b|\bwrong\b|-?\d[\d.e%,-]*""")
PROMPTS = [{"id": number, "prompt": f"Number {number} is"} for number in range(40)]
INPUTS = {
    "budget": (PROMPTS, "out.jsonl"),
    "chat_data": (PROMPTS[:4], "out.jsonl"),
    "choices": ([{"question": "What is 1 + 1?", "choices": ["2", "three"], "answer": 0}],),
    "retry_failures": ([*PROMPTS[:2], {"id": "grass", "prompt": "It is", "temperature": -1}], "out.jsonl"),
}
NEEDED = {"compare_models": ("altair",), "data_frames": ("pandas", "polars", "pyarrow")}
PROGRAMS = {name: textwrap.dedent(shown).splitlines() for name, shown in JOB.findall(PAGE) if name != "chat_view"}

FAKED = [name for name in PROGRAMS if "FakeServer(" in (DOCS / "recipes" / f"{name}.py").read_text(encoding="utf-8")]


def form(line):
    """A line without what depends on the model, and on the machine it runs on."""
    return " ".join(VARYING.sub("_", line).split())


@pytest.mark.parametrize("name", PROGRAMS)
def test_on_the_model(name, tmp_path):
    """Each prints lines of the form that the page shows, and no others; on the fake server, these very lines."""
    if any(importlib.util.find_spec(module) is None for module in NEEDED.get(name, ())):
        pytest.skip(f"needs {NEEDED[name]}")
    rows, *rest = INPUTS.get(name, ([],))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["in.jsonl", *rest] if rows else []
    command = [sys.executable, DOCS / "recipes" / f"{name}.py", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    printed = [line for line in ended.stdout.splitlines() if line.strip()]
    assert printed
    assert {form(line) for line in printed} <= {form(line) for line in PROGRAMS[name]}
    if name in FAKED:
        assert printed == [line for line in PROGRAMS[name] if line]
