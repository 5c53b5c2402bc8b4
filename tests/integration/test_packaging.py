"""What is installed by which command: extras, their bounds, and what pages and docstrings say of them."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess
import sys
from importlib import metadata

import pytest
from requirements import CORE, EXTRAS, lowest, required

from tinkex.cli.doctor.here import _EXTRAS

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOR_DEVELOPERS = {"dev", "docs", "fuzz", "heavy", "test", "test-data", "webtest"}
PAGES = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").glob("**/*.rst"))]

# Without the modules named, import what the pages document.
DOCUMENTED = """
import importlib, pkgutil, sys
blocked, names = {blocked!r}, {names!r}
for name in blocked:
    sys.modules[name] = None
for name in names:
    pkgutil.resolve_name(name)
"""


def closure(names):
    """The distributions that come with these, by what is installed here."""
    found, left = set(), [*names]
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        left += [re.match(r"[\w.-]+", each)[0] for each in needed if "extra ==" not in each]
    return found


@pytest.mark.slow
def test_the_pages_can_be_built_with_the_docs_extra():
    """With what `docs` brings, and nothing else, each documented module can be imported: its page is not left empty."""
    present = closure([*CORE, *(name for name, _ in required("docs"))])
    assert "aiohttp" in present
    packages = metadata.packages_distributions()
    blocked = [
        package
        for package, owners in packages.items()
        if package != "tinkex" and not {owner.lower().replace("_", "-") for owner in owners} & present
    ]
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    names = re.findall(r"^\.\. (?:auto\w+|py:module):: (tinkex\.[\w.]+)", pages, re.MULTILINE)
    names = [
        name for name in names if not name.startswith(("tinkex.otel", "tinkex.prometheus"))
    ]  # mocked: docs/conf.py
    assert {"numpy", "click"} <= set(blocked)
    assert len(names) > 100
    program = DOCUMENTED.format(blocked=blocked, names=names)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr[-500:]


@pytest.mark.slow
def test_pages_install_from_the_checkout():
    """No page and no docstring tells to install a tinkex from an index: there is none of ours."""
    for page in PAGES:
        assert not re.search(r"pip install (?:-\S+ )*[\"']?tinkex", page.read_text(encoding="utf-8")), page.name
    for module in [*(ROOT / "tinkex").glob("**/*.py"), *(ROOT / "docs").glob("**/*.py")]:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                assert "pip install" not in (ast.get_docstring(node) or ""), module.name


def test_installed_extras_exist():
    """Every extra that a page installs is one of the project's."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {extra for group in re.findall(r"-e '\.\[([^\]]*)\]'", text) for extra in group.split(",")}
    assert len(named) > 5
    assert named <= set(EXTRAS)


def test_the_table_of_extras():
    """The README's table, which the page for beginners shows, has each extra that is for users, and no other."""
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    table = readme.partition(".. begin extras")[2].partition(".. end extras")[0]
    assert set(re.findall(r"^``([\w-]+)``", table, re.MULTILINE)) == set(EXTRAS) - FOR_DEVELOPERS
    page = (ROOT / "docs" / "getting_started.rst").read_text(encoding="utf-8")
    assert ":start-after: .. begin extras\n   :end-before: .. end extras\n" in page


def test_the_doctor_knows_all_extras():
    """Among the extras that are installed the doctor counts each of those for users, by a package that it brings."""
    assert set(_EXTRAS) == set(EXTRAS) - FOR_DEVELOPERS
    for extra, package in _EXTRAS.items():
        assert package in dict(required(extra)), extra


def test_docstrings_name_no_section_of_the_readme():
    """A docstring, which stands in the reference, does not send readers to the README."""
    for module in (ROOT / "tinkex").glob("**/*.py"):
        assert "README" not in module.read_text(encoding="utf-8"), module.name


@pytest.mark.parametrize(
    ("name", "least", "why"),
    [
        ("click", (8, 2), "its runner tells stderr from stdout"),
        ("huggingface-hub", (1,), "errors.RemoteEntryNotFoundError"),
        ("rich", (14, 3), "columns as wide as the doctor's test has them"),
    ],
)
def test_lower_bounds_of_the_test_extra(name, least, why):
    """What the tests use of a library is in the oldest release that the `test` extra takes."""
    assert lowest("test")[name] >= least, why
