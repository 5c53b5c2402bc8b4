"""Errors that are kept are not raised as they are: their tracebacks, and all that those hold, would grow."""

from __future__ import annotations

import ast
import pathlib

import pytest
from architecture import nodes_of, uncollected

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "tinkex"
KEEPERS = ("exception", "get", "setdefault", "pop")


def is_kept(node, kept):
    """Whether an expression gives an object that something else holds: an attribute, an item, what a lookup returns."""
    if isinstance(node, ast.Name):
        return node.id in kept
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in KEEPERS
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
        if "refusal" in (getattr(node, "id", None), getattr(node, "attr", None)):
            return False  # made of one response, for its error
        if isinstance(node, ast.Name):
            return True
    return False  # a name, or a part of what a call has just made


def raised_as_kept(tree):
    """The lines of a tree that raise an error as it is kept, per function."""
    for function in nodes_of(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        nodes = nodes_of(function)
        if not any(isinstance(node, ast.Raise) for node in nodes):
            continue
        kept = {
            target.id
            for node in nodes
            if isinstance(node, ast.Assign) and is_kept(node.value, ())
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        handled = {node.name for node in nodes if isinstance(node, ast.ExceptHandler)}
        for node in nodes:
            if isinstance(node, ast.Raise) and node.exc is not None and is_kept(node.exc, kept - handled):
                if isinstance(node.exc, ast.Attribute) and node.exc.attr[:1].isupper():
                    continue  # a class
                yield node.lineno


def test_no_error_is_raised_as_it_is_kept():
    """What is raised is new, a copy, or without the traceback of the times before."""
    with uncollected():
        found = {
            f"{path.relative_to(PACKAGE)}:{line}"
            for path in PACKAGE.rglob("*.py")
            for line in raised_as_kept(ast.parse(path.read_text()))
        }
    assert found == {
        "_sampling/sample.py" + line
        for line in ()  # none is allowed
    }


@pytest.mark.parametrize(
    "body",
    [
        "raise self._error",
        "error = self._errors[key]\n    raise error",
        "error = done.exception()\n    if error:\n        raise error",
        "raise self._errors.get(key)",
    ],
)
def test_the_rule_finds(body):
    """A kept error is found whether it is an attribute, an item, or what a lookup gives."""
    assert list(raised_as_kept(ast.parse(f"def get(self, key):\n    {body}\n")))


@pytest.mark.parametrize(
    "body",
    [
        "raise copy.copy(self._error)",
        "error = done.exception()\n    raise error.with_traceback(None)",
        "try:\n        work()\n    except ValueError as error:\n        raise error",
        "raise errors.TinkexError",
        "refusal = read(response)\n    raise refusal.error",
        "raise ValueError(self.text)",
    ],
)
def test_the_rule_lets_pass(body):
    """A copy, an error without its traceback, one just caught and a new one are no kept errors."""
    assert not list(raised_as_kept(ast.parse(f"def get(self, key):\n    {body}\n")))
