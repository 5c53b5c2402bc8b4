"""The classes of tinkex that users name: those that the documentation describes, and all that packages export."""

from __future__ import annotations

import inspect
import pathlib
import pkgutil
import re

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def public_classes():
    """Each class once, with a name it goes by."""
    pages = "".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("**/*.rst")))
    names = re.findall(r"^\.\. auto(?:class|exception):: (tinkex\.[\w.]+)", pages, re.MULTILINE)
    for package in ("", ".bulk", ".chat", ".check", ".local", ".serve", ".testing", ".text", ".tokenizers", ".types"):
        names += [f"tinkex{package}.{name}" for name in pkgutil.resolve_name(f"tinkex{package}").__all__]
    found = {name: pkgutil.resolve_name(name) for name in sorted(names)}
    return {each: name for name, each in found.items() if inspect.isclass(each)}
