"""The programs of the documentation, as files for a type checker."""

from __future__ import annotations

import pathlib
import re
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [page for page in sorted((ROOT / "docs").glob("*.rst")) if page.stem not in {"internals", "api"}]  # sketches
UNTYPED = {  # programs that stand on a library without types, which no strict checker can take for right
    "dask_cluster": "most of Dask's client has no types",
    "django_app": "Django comes without types",
    "gunicorn_metrics": "prometheus_client.multiprocess has no types",
    "ray_data": "Ray's datasets have types in part",
    "tasks": "Celery comes without types",
}

_BLOCK = re.compile(r"^\.\. (?:invisible-)?code-block::? python\n\n((?: {4}.*\n|\n)+)", re.MULTILINE)
_ABSENT = re.compile(r"^ *(?:import|from) (?:openai|tinker|tinker_cookbook)\b", re.MULTILINE)  # libraries


def programs_of(page):
    """The blocks of a page, but for those that stand on a library that is not installed here."""
    blocks = [textwrap.dedent(block) for block in _BLOCK.findall(page.read_text(encoding="utf-8"))]
    return [block for block in blocks if not _ABSENT.search(block)]


def write_pages(folder):
    """Write the programs of each page as one module: its later blocks use the names of the earlier ones."""
    for page in PAGES:
        if programs := programs_of(page):
            (folder / f"page_{page.stem}.py").write_text("\n".join(programs), encoding="utf-8")


def write_readme(folder):
    """Write each program of the README; those that the tests put between them stay away."""
    for number, program in enumerate(programs_of(ROOT / "README.rst")):
        if "app.test_client()" not in program and "os.chdir" not in program:
            (folder / f"program_{number}.py").write_text(program, encoding="utf-8")


def write_shown(folder):
    """Write the files of programs that the pages show."""
    for page in PAGES:
        for name in re.findall(r"^\.\. literalinclude:: (.*\.py)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            path = page.parent / name
            (folder / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
