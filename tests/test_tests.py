"""The rules of the tests' own shape: where a file stands says what it needs."""

from __future__ import annotations

import ast
import pathlib

TESTS = pathlib.Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "tinkex"
FOLDERS = {"bulk", "chaos", "cli", "clients", "fuzz", "integration", "slow", "unit"}
NO_TESTS = {"apps", "chat_templates", "support", "typing"}
TESTED_FROM_OUTSIDE = {"_handle", "_pytest_plugin"}  # a module path of old pickles; a plug-in that needs a pytest


def test_every_folder_is_known():
    """A test stands in a folder that says what it needs, and few stand in none."""
    assert {path.name for path in TESTS.iterdir() if path.is_dir()} - {"__pycache__"} == FOLDERS | NO_TESTS
    assert len(list(TESTS.glob("test_*.py"))) <= 5
    assert [path for name in NO_TESTS for path in (TESTS / name).rglob("test_*.py")] == []


def module_of(path):
    """The module or package that a unit test is named for, or None."""
    relative = path.relative_to(TESTS / "unit")
    name = relative.stem.removeprefix("test_")
    for each in (name, f"_{name}"):
        place = PACKAGE / relative.parent / each
        if place.with_suffix(".py").is_file() or place.is_dir():
            return place
    return None


def test_unit_tests_mirror_the_package():
    """A unit test stands where the module stands that it is named for."""
    astray = [str(path.relative_to(TESTS)) for path in (TESTS / "unit").rglob("test_*.py") if module_of(path) is None]
    assert astray == []


def test_every_private_package_has_unit_tests():
    """Each private package of the client has a folder there, and each private module a file."""
    missing = []
    for path in PACKAGE.glob("_[!_]*"):
        folder = TESTS / "unit" / path.name
        file = TESTS / "unit" / f"test_{path.stem.removeprefix('_')}.py"
        if path.stem not in TESTED_FROM_OUTSIDE and not (list(folder.glob("test_*.py")) or file.is_file()):
            missing.append(path.name)
    assert missing == []


def marks(nodes):
    """The markers that are named anywhere in some pieces of source."""
    return {each.attr for node in nodes for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def unmarked(path, wanted):
    """The tests of a file that have none of the markers, of their own or by `pytestmark`."""
    tree = ast.parse(path.read_text())
    shared = [each for each in tree.body if isinstance(each, ast.Assign) and ast.unparse(each).startswith("pytestmark")]
    functions = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")]
    return [each.name for each in functions if not wanted & marks([*shared, *each.decorator_list])]


def test_slow_folders_are_marked():
    """What stands in slow, fuzz or clients runs in its tier only."""
    tiers = {"slow": {"slow", "heavy"}, "fuzz": {"slow"}, "clients": {"clients"}}
    fast = [
        f"{path.name}::{name}"
        for folder, markers in tiers.items()
        for path in (TESTS / folder).rglob("test_*.py")
        for name in unmarked(path, markers)
    ]
    assert fast == []
