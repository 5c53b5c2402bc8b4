"""The table of servers: it shows what was found, and what was found of the servers here is still so."""

from __future__ import annotations

import importlib.util
import json
import pathlib

import pytest

pytest.importorskip("numpy")
pytest.importorskip("aiohttp")

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run():
    """The script that makes the table."""
    spec = importlib.util.spec_from_file_location("servers_run", ROOT / "docs" / "servers" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table(run):
    """The table is that of the results that are kept, and has every server."""
    results = json.loads(run.RESULTS.read_text())
    assert set(results) == set(run.SERVERS)
    assert run.TABLE.read_text() == run.table(results)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fake", "toy"])
def test_verdicts(run, name):
    """A server of ours has today the verdicts that the table shows."""
    kept = json.loads(run.RESULTS.read_text())[name]["found"]
    found = run.examine(name)["found"]
    by_time = {"cancel", "cost of many samples"}
    assert {check: verdict for check, (verdict, _) in found.items() if check not in by_time} == {
        check: verdict for check, (verdict, _) in kept.items() if check not in by_time
    }
