"""What is said where an extra is not installed."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import tinkex
from tinkex.errors import extra

ABSENT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
"""


def run(program, *names):
    """Run a program where some packages are not installed; its output and complaints."""
    command = [sys.executable, "-c", ABSENT.format(names=names) + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("program", "extras", "names"),
    [
        ("from tinkex.testing import FakeServer", "tinkex[test]", ["aiohttp"]),
        ("from tinkex.serve import Gateway", "tinkex[serve]", ["aiohttp"]),
        ("import runpy; runpy.run_module('tinkex.testing', run_name='__main__')", "tinkex[test]", ["aiohttp"]),
        ("import tinkex; tinkex.ServiceClient.local()", "tinkex[local]", ["aiohttp", "platformdirs"]),
    ],
)
def test_missing_extra(program, extras, names):
    """The error names the package that is missing and how to install what brings it."""
    ended = run(program, *names)
    last = ended.stderr.strip().splitlines()[-1]
    assert "MissingExtraError" in last
    assert f"pip install '{extras}'" in last
    assert any(name in last for name in names)


def test_our_own_mistakes_are_not_missing_extras():
    """A module of tinkex that is not there is no matter of extras."""
    with pytest.raises(ModuleNotFoundError) as caught, extra("test", "this"):
        importlib.import_module("tinkex.nonsense")
    assert not isinstance(caught.value, tinkex.MissingExtraError)


def test_kinds():
    """Who catches ImportError, or TinkexError, catches it."""
    with pytest.raises(tinkex.TinkexError) as caught, extra("fast", "speed"):
        import tinkex_has_no_such_dependency  # noqa: F401
    assert isinstance(caught.value, ModuleNotFoundError)
    assert str(caught.value) == (
        "speed needs tinkex_has_no_such_dependency, which is not installed. Run: pip install 'tinkex[fast]'"
    )
