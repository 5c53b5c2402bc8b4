"""tinkex and the official SDK, making the same calls to one strict server, get equal results."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from tinkex.testing import FakeServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]  # the first run installs the official SDK

SCRIPT = pathlib.Path(__file__).parent / "scripted_calls.py"


def run(python, module, url):
    """The results of the scripted calls through one library, in a process of its own."""
    command = [python, SCRIPT, module, url]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


@pytest.fixture(scope="module")
def answers(official_python):
    """Both libraries' results and sequence ids, and what the strict server had to complain of in each."""
    found = {}
    for module, python in {"tinker": official_python, "tinkex": sys.executable}.items():
        with FakeServer(strict=True) as server:
            found[module] = {**run(python, module, server.url), "violations": list(server.violations)}
    return found


def test_equal_results(answers):
    """Every field of every result is equal."""
    official, ours = answers["tinker"]["results"], answers["tinkex"]["results"]
    assert ours.keys() == official.keys()
    assert {name: (ours[name], official[name]) for name in official if ours[name] != official[name]} == {}


def test_sequence_ids(answers):
    """Both hand on the sequence ids of the server: one for each sequence, all different."""
    for module in ("tinker", "tinkex"):
        ids = [sequence_id for group in answers[module]["ids"].values() for sequence_id in group]
        assert None not in ids
        assert len(set(ids)) == len(ids)


def test_no_violations(answers):
    """The strict server has nothing to complain of in what tinkex sends."""
    assert answers["tinkex"]["violations"] == []
