"""Servers on this machine: no proxy of the environment stands before them, and nothing of it before a program's own."""

from __future__ import annotations

import os
import socket
import threading

import attrs
import pytest
import requests

import tinkex
import tinkex.local
from tinkex.check.wire import RawSession
from tinkex.testing import FakeServer

SECRETS = {
    "TINKER_API_KEY": "tml-the-real-one", "TINKER_BASE_URL": "https://example.com", "TINKER_PROJECT_ID": "p",
    "TINKER_CREDENTIAL_CMD": "exit 1", "CLOUDFLARE_ACCESS_CLIENT_ID": "cf-id",
    "CLOUDFLARE_ACCESS_CLIENT_SECRET": "cf-secret",
}  # fmt: skip


@pytest.fixture
def proxy(monkeypatch, tmp_path):
    """A proxy in the environment, and secrets of other servers; returns what was sent to the proxy."""
    seen = []
    door = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                line, _ = door.accept()
            except OSError:
                return
            seen.append(line.recv(65536))
            line.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            line.close()

    threading.Thread(target=serve, daemon=True).start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{door.getsockname()[1]}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "netrc").write_text("default login me password netrc-secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    yield seen
    door.shutdown(socket.SHUT_RDWR)
    door.close()


def is_clean(server):
    """Whether no request to the server bore a secret of another one."""
    sent = [str(request.headers).lower() for request in server.requests]
    words = ("real-one", "cf-id", "cf-secret", "authorization", "netrc")
    return sent and not [word for word in words if any(word in headers for headers in sent)]


def test_direct(proxy):
    """A client made by `direct` asks its server itself, and shows it no secret of others."""
    shared = tinkex.ClientConfig(
        api_key="tml-real-one", base_url="https://example.com", default_headers={"X-Gate": "cf-secret"},
        proxies={"http": "http://127.0.0.1:9"}, timeout=33,
    )  # fmt: skip
    for config in (None, shared):
        with FakeServer() as server:
            with tinkex.ServiceClient.direct(server.url, config=config) as service:
                client = service.create_sampling_client(base_model="any/model")
                client.sample([1, 2], tinkex.SamplingParams(max_tokens=1)).result()
                assert service.config.timeout == (33 if config else 7200)
            assert is_clean(server)
    assert proxy == []


def test_a_server_on_this_machine_is_asked_directly(proxy, monkeypatch):
    """However the client was made, also for the plain requests of a check; unless its settings name a proxy."""
    monkeypatch.delenv("TINKER_CREDENTIAL_CMD")
    with FakeServer() as server:
        config = tinkex.ClientConfig(base_url=server.url, api_key="tml-x")
        for adapter in (None, requests.adapters.HTTPAdapter()):
            with tinkex.ServiceClient(config=attrs.evolve(config, adapter=adapter)) as service:
                client = service.create_sampling_client(base_model="any/model")
                client.sample([1, 2], tinkex.SamplingParams(max_tokens=1)).result()
        RawSession(config, {"base_model": "any/model"}, 5).close()
        assert proxy == []
        named = attrs.evolve(config, proxies={"http": os.environ["HTTP_PROXY"]})
        with tinkex.ServiceClient(config=named) as service, pytest.raises(tinkex.PermissionDeniedError):
            service.create_sampling_client(base_model="any/model", timeout=5)
    assert proxy


def test_other_servers_go_through_the_proxy(proxy, monkeypatch):
    """What the environment says is still said to any other client."""
    monkeypatch.delenv("TINKER_CREDENTIAL_CMD")
    with pytest.warns(UserWarning, match="plain http"):
        service = tinkex.ServiceClient(base_url="http://server.example", api_key="tml-x")
    with service, pytest.raises(tinkex.PermissionDeniedError):
        service.create_sampling_client(base_model="any/model", timeout=5)
    assert proxy


def test_the_local_model(proxy, monkeypatch):
    """The local model is asked directly, and `local` takes settings as the client does."""

    class Stub:
        """A local server, as far as the service client sees it."""

        base_model = "local/model"

        def __init__(self, **options):
            assert options == {"context": 64}
            self.inner = FakeServer()

        def start(self):
            self.inner.start()
            return self

        @property
        def url(self):
            return self.inner.url

        def close(self):
            self.inner.stop()

    monkeypatch.setattr(tinkex.local, "LocalServer", Stub)
    with tinkex.ServiceClient.local(config=tinkex.ClientConfig(workers=2), context=64) as service:
        client = service.create_sampling_client(base_model=service.local_model)
        client.sample([1, 2], tinkex.SamplingParams(max_tokens=1)).result()
        assert service.config.workers == 2
        assert is_clean(service._reference.keeps.inner)
    assert proxy == []


def test_settings_of_the_environment(monkeypatch):
    """Of the environment, a direct client takes what is no matter of a server, such as the time limit."""
    monkeypatch.setenv("TINKEX_TIMEOUT", "12")
    with tinkex.ServiceClient.direct("http://127.0.0.1:9") as service:
        assert (service.config.timeout, service.config.trust_env) == (12.0, False)
