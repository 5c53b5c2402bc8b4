"""Clients of the official SDK's kind, through tinkex and by itself, of one server."""

from __future__ import annotations

import pytest

tinker = pytest.importorskip("tinker")

from serving import KEY, quick_config  # noqa: E402

import tinkex.compat  # noqa: E402
from tinkex.testing import FakeServer  # noqa: E402

MODEL = "fake/model"


@pytest.fixture
def server():
    """A strict server, for tinkex."""
    flags = {"sample_cancel_enabled": True}
    with FakeServer(strict=True, require_key=KEY, long_poll=0.05, dynamic_config=flags) as fake:
        yield fake
        assert [each for each in fake.violations if each.rule != "poll_interval"] == []


@pytest.fixture
def service(server):
    """A service client of the SDK's kind that samples through tinkex."""
    with tinkex.compat.ServiceClient(base_url=server.url, api_key=KEY, config=quick_config()) as service:
        yield service


@pytest.fixture
def client(service):
    """A sampling client of the SDK's kind that samples through tinkex."""
    return service.create_sampling_client(base_model=MODEL).result()


@pytest.fixture
def official_server():
    """A server for the SDK."""
    with FakeServer(require_key=KEY, long_poll=0.05) as fake:
        yield fake


@pytest.fixture
def official_service(official_server, monkeypatch):
    """The SDK's own service client, with its server in the environment."""
    monkeypatch.setenv("TINKER_BASE_URL", official_server.url)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    service = tinker.ServiceClient()
    yield service
    service.close("success").result(10)


@pytest.fixture
def official(official_service):
    """The SDK's own sampling client."""
    return official_service.create_sampling_client(base_model=MODEL).result(10)


@pytest.fixture
def installed(official):
    """Every sampling client of the SDK samples through tinkex."""
    tinkex.compat.install(config=quick_config())
    yield
    tinkex.compat.uninstall(timeout=0.0)
