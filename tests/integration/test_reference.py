"""The reference in docs/api names everything public, each once, and the index lists all of its pages."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import pkgutil
import re
import types
from collections import Counter

import tinkex

DOCS = pathlib.Path(__file__).parents[2] / "docs"
INDEX = (DOCS / "api.rst").read_text(encoding="utf-8")
DIRECTIVE = re.compile(r"^\.\. (?:auto(?:class|exception|function)|py:data):: ([\w.]+)", re.MULTILINE)
ELSEWHERE = re.compile(r"tinkex\.(cli|lm_eval|plugins)\b")  # commands, and modules that other programs load
FOR_PROGRAMS_ON_TOP = {"tinkex.errors.clean_text", "tinkex.errors.extra"}


def public_modules():
    """The modules without an underscore in their names, as far as what they need is installed."""
    yield tinkex
    for found in pkgutil.walk_packages(tinkex.__path__, "tinkex.", onerror=lambda _: None):
        if "._" not in found.name and not ELSEWHERE.match(found.name) and not found.name.endswith("__main__"):
            try:
                yield importlib.import_module(found.name)
            except ImportError:
                continue


def public_names():
    """The classes and functions that the modules list, each by the first name it goes by."""
    names = {}
    for module in public_modules():
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("tinkex"):
                names.setdefault(value, f"{module.__name__}.{name}")
    return names


def documented():
    """What the pages of the documentation have directives for, in their order."""
    return [
        name for page in sorted(DOCS.rglob("*.rst")) for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))
    ]


def test_every_public_name():
    """Each class and function that is public is documented, and nothing is twice."""
    shown = Counter(documented())
    assert [name for name, times in shown.items() if times > 1] == []
    found = set()
    for name in shown:
        module, _, last = name.rpartition(".")
        try:
            found.add(getattr(importlib.import_module(module), last))
        except ImportError:
            continue
    missing = {name for value, name in public_names().items() if value not in found}
    assert missing == FOR_PROGRAMS_ON_TOP


def test_every_public_value():
    """Each constant and each name of a type that a module lists is documented, too."""
    values = {
        f"{module.__name__}.{name}"
        for module in public_modules()
        for name in getattr(module, "__all__", ())
        if not isinstance(getattr(module, name), type | types.FunctionType | types.ModuleType)
    }
    assert len(values) > 5
    assert values - set(documented()) == {"tinkex.__version__"}


def test_the_index():
    """Each page of the reference stands in the index, once in the navigation and once with its names."""
    pages = sorted(f"api/{page.stem}" for page in (DOCS / "api").glob("*.rst"))
    assert len(pages) > 20
    assert sorted(re.findall(r"^   (api/\w+)$", INDEX, re.MULTILINE)) == pages
    assert sorted(re.findall(r"^\.\. names-on:: (\S+)$", INDEX, re.MULTILINE)) == pages


def test_pages_lead_to_their_guides():
    """Every page of the reference names a page that explains what it lists."""
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.rst")}
    assert [name for name, text in pages.items() if not re.search(r":doc:`(?:.*<)?\.\./\w+", text)] == []
