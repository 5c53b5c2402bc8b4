from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys
import tomllib

import pytest

pytest_plugins = ["pytester"]
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs pytest, in a process of its own, with this plugin and no other that happens to be installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run_test(source):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-q", "-p", "tinkex._pytest_plugin", "-p", "no:cacheprovider")

    return run_test


def test_server(run, monkeypatch):
    """A test that takes tinkex_server has a server that clients find, whatever the environment said before."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("TINKER_BASE_URL", "http://127.0.0.1:2")
    result = run("""
        import os, tinkex

        def test_sample(tinkex_server):
            with tinkex.ServiceClient() as service:
                client = service.create_sampling_client(base_model="any/model")
                response = client.sample([1, 2, 3], tinkex.SamplingParams(max_tokens=4)).result(timeout=30)
            assert len(response.sequences[0].tokens) == 4
            assert tinkex_server.counts["asample"] == 1

        def test_afterwards():
            assert os.environ["TINKER_BASE_URL"] == "http://127.0.0.1:2"
            assert "TINKER_API_KEY" not in os.environ
    """)
    result.assert_outcomes(passed=2)


def test_each_test_has_its_own_server(run):
    """Nothing of one test is left for the next."""
    result = run("""
        import pytest

        @pytest.mark.parametrize("turn", [1, 2])
        def test_counts(tinkex_server, turn):
            tinkex_server.fail_next("asample", status=500)
            assert not tinkex_server.requests
    """)
    result.assert_outcomes(passed=2)


def test_clock(run):
    """A test that takes tinkex_clock has a clock that stands still."""
    run("""
        def test_it(tinkex_clock):
            tinkex_clock.advance(5)
            assert tinkex_clock.monotonic() == 5
    """).assert_outcomes(passed=1)


def test_missing_extra(run):
    """Without the packages of the test extra, the failure says what to install."""
    result = run("""
        import sys
        sys.modules["aiohttp"] = None

        def test_it(tinkex_server):
            pass
    """)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*tinkex_server needs an extra*pip install 'tinkex[[]test]'*"])


def test_costs_nothing_until_used():
    """Loading the plugin loads no server, no client and no network library."""
    script = "import sys, pytest, tinkex._pytest_plugin; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert {"aiohttp", "requests", "tinkex.testing", "tinkex.service_client"}.isdisjoint(loaded.split())


def test_pytest_finds_it():
    """The package's metadata name the plugin, and it has the fixtures that the documentation promises."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plugin = importlib.import_module(project["entry-points"]["pytest11"]["tinkex"])
    assert all(hasattr(plugin, name) for name in ("tinkex_server", "tinkex_clock"))
