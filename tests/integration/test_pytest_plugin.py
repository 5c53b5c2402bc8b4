from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]


TESTS = """
    import os, sys
    import pytest, tinkex

    def test_sample(tinkex_server):
        with tinkex.ServiceClient() as service:
            client = service.create_sampling_client(base_model="any/model")
            response = client.sample([1, 2, 3], tinkex.SamplingParams(max_tokens=4)).result(timeout=30)
        assert len(response.sequences[0].tokens) == 4
        assert tinkex_server.counts["asample"] == 1

    def test_afterwards():
        assert os.environ["TINKER_BASE_URL"] == "http://127.0.0.1:2"
        assert "TINKER_API_KEY" not in os.environ

    @pytest.mark.parametrize("turn", [1, 2])
    def test_counts(tinkex_server, turn):
        tinkex_server.fail_next("asample", status=500)
        assert not tinkex_server.requests

    def test_clock(tinkex_clock):
        tinkex_clock.advance(5)
        assert tinkex_clock.monotonic() == 5

    @pytest.fixture
    def without_the_extra(monkeypatch):
        for name in [name for name in sys.modules if name.startswith("tinkex.testing")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "aiohttp", None)

    def test_missing(without_the_extra, tinkex_server):
        pass
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What a pytest says of those tests, in a process of its own, with this plugin and no other that is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "test_it.py").write_text(textwrap.dedent(TESTS))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TINK")}
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    environ |= {"HTTP_PROXY": "http://127.0.0.1:1", "TINKER_BASE_URL": "http://127.0.0.1:2"}
    command = [sys.executable, "-m", "pytest", "-v", "-p", "tinkex._pytest_plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environ, timeout=60, check=False
    ).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("test_sample", id="its server is found, whatever the environment said before"),
        pytest.param("test_afterwards", id="afterwards the environment says that again"),
        pytest.param("test_counts[1]", id="a test has a server of its own"),
        pytest.param("test_counts[2]", id="so has the next"),
        pytest.param("test_clock", id="its clock stands still until it is moved"),
    ],
)
def test_fixtures(outcomes, name):
    """Tests that take the fixtures have what the documentation promises."""
    assert f"test_it.py::{name} PASSED" in outcomes


@pytest.mark.slow
def test_missing_extra(outcomes):
    """Without the packages of the test extra, the failure says what to install."""
    assert "test_it.py::test_missing ERROR" in outcomes
    assert re.search(r"tinkex_server needs an extra.*pip install 'tinkex\[test\]'", outcomes)


@pytest.mark.slow
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
