"""What the benchmarks make of their measurements; that they still run is in test_benchmark_counts.py."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
NAMES = {path.stem for path in BENCHMARKS.glob("*.py")}


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmarks, which are scripts and stand in no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    theirs = {name: sys.modules.pop(name) for name in NAMES & set(sys.modules)}  # of tests
    yield importlib.import_module
    for name in NAMES & set(sys.modules):
        del sys.modules[name]
    sys.modules.update(theirs)


def record(*names):
    """Results of cases of these names, in which tinkex takes a tenth of the time."""
    runs = {"tinker": {"cpu_ms": 4.0, "per_s": 200.0}, "tinkex": {"cpu_ms": 0.4, "per_s": 2000.0}}
    cases = [{"name": name, "figures": ["cpu_ms", "per_s"], "medians": runs} for name in names]
    return {"about": {"rounds": 3, "python": "3.11", "cores": 2, "system": "Linux"}, "cases": cases}


def test_the_table_gives_ratios(module):
    """A line for each figure: medians, and their ratio to the official SDK's; a backslash where there is nothing."""
    lines = module("report").table(record("burst")).splitlines()
    assert re.split(r"\s{2,}", lines[3]) == ["burst", "cpu_ms", "4", "0.4 (0.100)", "\\", "\\"]
    assert re.split(r"\s{2,}", lines[4]) == ["\\", "per_s", "200", "2000 (10.000)", "\\", "\\"]


def test_the_short_table(module):
    """One line for each case, and none for the points of the curve."""
    text = module("report").table(record("burst", "100 in flight, long polls"), first_only=True)
    assert "cpu_ms" in text
    assert "per_s" not in text
    assert "in flight" not in text


def test_a_client_that_failed_leaves_gaps(module):
    """Its cells are empty, and so are the ratios to it."""
    results = record("burst")
    results["cases"][0]["medians"] = {"tinkex": {"cpu_ms": 0.4}}
    lines = module("report").table(results).splitlines()
    assert re.split(r"\s{2,}", lines[3]) == ["burst", "cpu_ms", "\\", "0.4", "\\", "\\"]


def test_cases_have_names_of_their_own(module):
    """Results are kept by name; those of the curve tell how many samples and which way to wait."""
    cases = module("cases")
    names = [case.name for case in [*cases.CASES, *cases.curve()]]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"\d+ in flight, (session poller|long polls)", case.name) for case in cases.curve())


def test_the_page_shows_what_was_measured(module):
    """The tables in the documentation are those of one whole run, whose medians stand beside them."""
    page = BENCHMARKS.parent / "docs" / "performance"
    results = json.loads((page / "medians.json").read_text())
    cases = module("cases")
    assert [case["name"] for case in results["cases"]] == [case.name for case in [*cases.CASES, *cases.curve()]]
    table = module("report").table
    assert (page / "short.txt").read_text() == table(results, first_only=True)
    assert (page / "table.txt").read_text() == table(results)


def test_the_table_of_the_gateway(module):
    """CPU and latency stand beside their ratios to LiteLLM's proxy, and the difference to the bare handler below."""
    gateway = module("gateway")
    figures = {"tinkex serve": (0.5, 1.0), "LiteLLM": (5.0, 8.0), "bare aiohttp": (0.4, 0.9)}
    medians = {
        f"{name} {path}": {"cpu_ms": cpu, "added_ms": added}
        for path in gateway.BODIES
        for name, (cpu, added) in figures.items()
    }
    medians["2000 waiting, long polls"] = {"waiting_kb": 17.5, "threads": 20}
    lines = gateway.table(medians).splitlines()
    assert lines[1].split()[-4:] == ["0.50", "(0.10)", "1.00", "(0.12)"]
    assert lines[-2].endswith("17.5 KiB a request, 20 threads")
    assert lines[-1] == "above the bare handler: 100 us of CPU, 100 us of the median latency"


@pytest.mark.slow
def test_the_benchmark_of_the_gateway_still_runs(module, monkeypatch, tmp_path):
    """Its servers start, answer, and are measured; LiteLLM's proxy apart, which needs an environment of its own."""
    gateway = module("gateway")
    monkeypatch.setattr(gateway, "python_of", lambda _: sys.executable)
    monkeypatch.setattr(gateway, "WAITING", 20)
    subprocess.run([sys.executable, gateway.OTHERS, "tokenizer", tmp_path], check=True)
    with gateway.tinker_server(latency=0.01) as tinker, gateway.gateway(tinker.url, str(tmp_path)) as measured:
        body = gateway.answered(measured, gateway.COMPLETIONS)
        prepared = tmp_path / "bodies.json"
        prepared.write_text(json.dumps({gateway.COMPLETIONS: body}))
        with (
            gateway.started(sys.executable, gateway.OTHERS, "openai", prepared, "0.01") as openai,
            gateway.started(sys.executable, gateway.OTHERS, "bare", tinker.url) as bare,
        ):
            assert gateway.answered(openai, gateway.COMPLETIONS) == body
            for server in (measured, openai, bare):
                assert gateway.measure(server, gateway.COMPLETIONS, 8, 2)["cpu_ms"] >= 0
        assert asyncio.run(gateway.memory(measured, tinker.url))["threads"] > 1


@pytest.mark.slow
def test_the_benchmark_of_observability_still_runs():
    """It measures both libraries beside what is written out by hand."""
    for name in ("opentelemetry.sdk", "prometheus_client"):
        pytest.importorskip(name, exc_type=ImportError)
    command = [sys.executable, BENCHMARKS / "observability.py", "--rounds", "1", "--count", "20"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout
    assert re.findall(r"^(\w+): [\d.]+ us a sample", printed, re.MULTILINE) == ["off", "opentelemetry", "prometheus"]
    assert printed.count("ratio") == 2
