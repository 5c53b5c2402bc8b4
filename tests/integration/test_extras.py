"""What is said where an extra is not installed."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

import tinkex
import tinkex.report
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


@pytest.mark.thin(2)
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


@pytest.mark.parametrize(
    ("call", "extras", "module"),
    [
        (lambda: tinkex.SampledSequence([1]).tokens_np, "numpy", "numpy"),
        (lambda: tinkex.SampledSequence([1], [-1.0]).logprobs_np, "numpy", "numpy"),
        (lambda: tinkex.TensorData([1], "int64").to_numpy(), "numpy", "numpy"),
        (lambda: tinkex.types.TopkLogprobs([[(1, -1.0)]]).token_ids, "numpy", "numpy"),
        (lambda: tinkex.report.batch_report("out.jsonl"), "report", "altair"),
        (lambda: tinkex.report.logprobs_report([1], [None], str), "chat", "jinja2"),
        (lambda: tinkex.report.check_report({}), "chat", "jinja2"),
    ],
)
def test_missing_extra_of_a_call(call, extras, module, monkeypatch):
    """What is only needed by a call is named by the call."""
    for name in [name for name in sys.modules if name.startswith("tinkex.report.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(tinkex.MissingExtraError, match=re.escape(f"pip install 'tinkex[{extras}]'")):
        call()


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
