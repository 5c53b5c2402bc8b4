from __future__ import annotations

import ssl
import time

import pytest
from proxying import Proxy

import tinkex
from tinkex._transport.connection_pool import Connection
from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow
PARAMS = tinkex.SamplingParams(max_tokens=4)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def burst(server, samples=300, **settings):
    """A burst of samples that wait for two workers' long polls: the CPU seconds and reads of a second of that."""
    config = tinkex.ClientConfig(workers=2, telemetry=False, **settings)
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=config) as service:
        client = service.create_sampling_client(base_model="fake/model", timeout=20)
        futures = [client.sample([1, number + 1], PARAMS) for number in range(samples)]
        server.wait_for("retrieve_future", samples, timeout=30)
        time.sleep(0.2)
        before, reads = time.process_time(), Reads.count
        time.sleep(1.0)
        idle = time.process_time() - before, Reads.count - reads
        began = time.monotonic()
        client.sample([7], PARAMS).cancel()  # a worker is free to take it
        service.stats()
        server.release()
        answers = [future.result(30).sequences[0].tokens for future in futures]
        assert time.monotonic() - began < 20
        assert all(len(tokens) == 4 for tokens in answers)
        return idle


class Reads:
    """Counts the reads of all connections."""

    count = 0


@pytest.fixture(autouse=True)
def _counted_reads(monkeypatch):
    receive = Connection.receive

    def counting(self, reader):
        Reads.count += 1
        return receive(self, reader)

    monkeypatch.setattr(Connection, "receive", counting)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("mutual", [False, True], ids=["server", "mutual"])
def test_parked_long_polls_cost_nothing(version, mutual):
    """Session tickets neither strand a worker nor make one spin: 300 polls wait without a single read."""
    with FakeServer(tls=True, tls_version=version, client_certificate=mutual, long_poll=30.0) as server:
        server.hold()
        cert = server.client_file if mutual else None
        cpu, reads = burst(server, verify=server.ca_file, cert=cert)
        assert reads == 0
        assert cpu < 0.5


@pytest.mark.parametrize("tls", [False, True], ids=["forwards", "tunnels"])
def test_long_polls_through_a_proxy(tls):
    """Parking works through a proxy with a credential, too."""
    with Proxy("user", "word") as proxy, FakeServer(tls=tls, long_poll=30.0) as server:
        server.hold()
        url = f"http://user:word@{proxy.address}"
        settings = {"verify": server.ca_file} if tls else {}
        _, reads = burst(server, 60, proxies={"http": url, "https": url}, trust_env=False, **settings)
        assert reads == 0
        assert all(line.startswith("CONNECT") == tls for line in proxy.asked)


def test_a_client_without_its_certificate_is_refused():
    """The refusal of TLS 1.3 comes after the handshake, with the first answer: it is an error all the same."""
    for version in VERSIONS:
        with FakeServer(tls=True, tls_version=version, client_certificate=True) as server:
            config = tinkex.ClientConfig(verify=server.ca_file, retry=tinkex.RetryConfig(max_attempts=1))
            service = tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=config)
            with service, pytest.raises(tinkex.APIConnectionError):
                service.create_sampling_client(base_model="fake/model", timeout=5)
            assert not server.requests


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_few_connections_for_many_long_polls(tls):
    """Fifty samples on four connections all end, none fails, and never are more open."""
    with FakeServer(tls=tls, latency=1.0, long_poll=30.0) as server:
        settings = {"verify": server.ca_file} if tls else {}
        config = tinkex.ClientConfig(max_connections=4, telemetry=False, **settings)
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=config) as service:
            client = service.create_sampling_client(base_model="fake/model")
            futures = [client.sample([1, number + 1], PARAMS) for number in range(50)]
            most = 0
            while not all(future.done() for future in futures):
                most = max(most, service.stats().connections)
                time.sleep(0.005)
            assert all(len(future.result().sequences) == 1 for future in futures)
            assert most <= 4
        assert server.counts["asample"] == 50
