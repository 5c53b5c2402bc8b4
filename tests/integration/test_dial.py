from __future__ import annotations

import inspect
import os
import shutil
import socket
import ssl
import subprocess
import warnings
from pathlib import Path

import pytest
import requests.adapters
import urllib3
from proxying import Proxy, Relay
from urllib3.util import ssl_

import tinkex
from tinkex._transport.dial import make_dialer
from tinkex._transport.dial.direct import DirectDialer
from tinkex._transport.http11 import request_head
from tinkex.config import ClientConfig
from tinkex.testing import FakeServer

PARAMS = tinkex.SamplingParams(max_tokens=4)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    """Whatever the machine has is not in the way."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    """A server to get to."""
    with FakeServer() as fake:
        yield fake


def sample(url, **settings):
    """One sample through a client of its own; its tokens."""
    config = ClientConfig(telemetry=False, retry=tinkex.RetryConfig(max_attempts=2, base_delay=0.01), **settings)
    with tinkex.ServiceClient(base_url=url, api_key="tml-x", config=config) as service:
        client = service.create_sampling_client(base_model="fake/model", timeout=10)
        return client.sample([1, 2, 3], PARAMS).result(10).sequences[0].tokens


def test_the_parts_of_urllib3_and_requests_that_are_not_public():
    """A canary: what is used of them is there, takes what it is given, and does what it did."""
    pool = requests.adapters.HTTPAdapter().get_connection_with_tls_context(
        requests.Request("POST", "https://localhost:1").prepare(), verify=True, proxies={}, cert=None
    )
    assert isinstance(pool, urllib3.HTTPSConnectionPool)
    assert list(inspect.signature(pool._new_conn).parameters) == []
    assert list(inspect.signature(pool._prepare_proxy).parameters) == ["conn"]
    assert {"ca_certs", "ca_cert_dir", "cert_file", "key_file", "cert_reqs", "proxy", "proxy_headers"} <= set(
        vars(pool)
    )
    context = ssl_.create_urllib3_context()
    pool.conn_kw["ssl_context"] = context
    connection = pool._new_conn()
    assert connection.ssl_context is context
    assert connection.sock is None
    assert callable(ssl_.resolve_cert_reqs)
    adapter = requests.adapters.HTTPAdapter()
    before = adapter.poolmanager
    adapter.__setstate__(adapter.__getstate__())
    assert adapter.poolmanager is not before


def no_answer():
    """What a host that does not answer comes to."""
    raise TimeoutError("timed out")


def subject_hash(path):
    """What OpenSSL calls the file of a certificate in a directory of them."""
    command = ["openssl", "x509", "-noout", "-hash", "-in", path]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def listener():
    """The URL of something that can be connected to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_socket_is_ready_for_use(listener):
    """Connected, non-blocking, kept alive, without delay."""
    with make_dialer(ClientConfig(base_url=listener)).open() as raw:
        assert not raw.getblocking()
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_way_is_chosen_when_the_client_is_made(listener, monkeypatch):
    """Proxies come from the environment as it was then; NO_PROXY and trust_env=False leave them out."""
    monkeypatch.setattr("tinkex.config.is_loopback", lambda host: False)  # as if the listener were another machine's
    with Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        through = make_dialer(ClientConfig(base_url=listener))
        straight = make_dialer(ClientConfig(base_url=listener, trust_env=False))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        spared = make_dialer(ClientConfig(base_url=listener))
        assert through.target("/x") == f"{listener}/x"
        assert straight.target("/x") == spared.target("/x") == "/x"
        for dialer, asked in ((through, proxy.url), (straight, listener), (spared, listener)):
            with dialer.open() as raw:
                assert "http://{}:{}".format(*raw.getpeername()) == asked


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    ("variable", "url", "direct"),
    [
        ("HTTP_PROXY", "http://server.example", False),
        ("Http_Proxy", "http://server.example", False),
        ("all_proxy", "https://server.example", False),
        ("https_proxy", "https://server.example", False),
        ("https_proxy", "http://server.example", True),
        ("no_proxy", "http://server.example", True),
        ("NOT_A_PROXY", "http://server.example", True),
        ("all_proxy", "http://127.0.0.1:1", True),
        ("all_proxy", "https://LocalHost:1", True),
        ("all_proxy", "http://[::1]:1", True),
        ("all_proxy", "http://[::ffff:127.0.0.1]:1", True),
        ("all_proxy", "http://128.0.0.1:1", False),
        ("all_proxy", "http://localhost.example", False),
    ],
)
def test_requests_decides_where_a_proxy_may_be_in_play(monkeypatch, variable, url, direct):
    """Whatever the case of the variable; without one, and for this machine, the standard library is enough."""
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert isinstance(make_dialer(ClientConfig(base_url=url)), DirectDialer) == direct
    assert isinstance(make_dialer(ClientConfig(base_url=url, trust_env=False)), DirectDialer)


def test_a_name_in_another_script_goes_the_way_of_requests():
    """Its rules for international names are newer than Python's."""
    dialer = make_dialer(ClientConfig(base_url="https://straße.invalid", trust_env=False))
    assert not isinstance(dialer, DirectDialer)
    with pytest.raises(tinkex.APIConnectionError, match="Nothing was sent"):
        dialer.open()


def test_netrc(server, tmp_path, monkeypatch):
    """An entry for the host is sent as Authorization, on the direct way; other hosts' and untrusted ones are not."""
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login me password word\nmachine elsewhere.invalid login x password y\n")
    monkeypatch.setenv("NETRC", str(path))
    dialer = make_dialer(ClientConfig(base_url=server.url))
    assert isinstance(dialer, DirectDialer)
    assert dialer.authorization == requests.auth._basic_auth_str("me", "word")
    assert make_dialer(ClientConfig(base_url=server.url, trust_env=False)).authorization is None
    assert make_dialer(ClientConfig(base_url="http://127.0.0.2:1")).authorization is None
    assert len(sample(server.url)) == 4
    assert server.requests_to("asample")[-1].headers["authorization"] == dialer.authorization


def test_a_proxy_that_forwards(server):
    """Plain HTTP goes through it with absolute targets and its credential, which no server sees."""
    with Proxy("us er", "pass%word") as proxy:
        url = f"http://us%20er:pass%25word@{proxy.address}"
        assert len(sample(server.url, proxies={"http": url}, trust_env=False)) == 4
        assert proxy.asked
        assert all(line.split(" ")[1].startswith(server.url) for line in proxy.asked)


def test_a_wrong_proxy_password_is_an_error_that_does_not_tell_it(server):
    """The error names the proxy, not the credential."""
    with Proxy("user", "right") as proxy, FakeServer(tls=True) as secure:
        url = f"http://user:secret-wrong@{proxy.address}"
        with pytest.raises(tinkex.APIConnectionError, match=proxy.address) as caught:
            sample(secure.url, proxies={"https": url}, trust_env=False, verify=secure.ca_file)
        assert "secret-wrong" not in str(caught.value)
        assert "407" in str(caught.value)


@pytest.mark.parametrize("words", [b"what?\r\n\r\n", b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"\x00" * 100, b" "])
def test_a_proxy_that_talks_nonsense(words):
    """Its answer to CONNECT is an APIConnectionError whatever it is."""
    with Proxy(nonsense=words) as proxy:
        config = ClientConfig(base_url="https://127.0.0.1:9", proxies={"https": proxy.url}, trust_env=False)
        with pytest.raises(tinkex.APIConnectionError, match="Nothing was sent"):
            make_dialer(config).open()


def test_the_environment_is_not_read_for_a_sample(server, monkeypatch):
    """So that a sample costs the same with 20,000 variables: not one of them is looked at."""
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="fake/model")
        client.sample([1], PARAMS).result(5)
        reads = []
        getitem = os._Environ.__getitem__
        monkeypatch.setattr(os._Environ, "__getitem__", lambda self, key: reads.append(key) or getitem(self, key))
        monkeypatch.setattr(os._Environ, "__iter__", lambda self: reads.append("all") or iter(()))
        for future in [client.sample([1], PARAMS) for _ in range(50)]:
            future.result(5)
        assert reads == []


def test_certificates_are_loaded_once(server, monkeypatch):
    """Opening a connection loads none: they were when the client was made."""
    with FakeServer(tls=True, client_certificate=True) as secure:
        dialer = make_dialer(ClientConfig(base_url=secure.url, verify=secure.ca_file, cert=secure.client_file))
        monkeypatch.setattr("ssl.SSLContext.load_verify_locations", None)
        monkeypatch.setattr("ssl.SSLContext.load_cert_chain", None)
        monkeypatch.setattr("ssl.SSLContext.load_default_certs", None)
        for _ in range(2):
            with dialer.open() as raw:
                assert raw.version().startswith("TLS")


@pytest.mark.parametrize("seconds", [0.05, 5.0])
def test_connecting_is_bounded(monkeypatch, seconds):
    """By `connect_timeout`, and by what it is changed to."""
    given = []
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: given.append(timeout) or no_answer())
    dialer = make_dialer(ClientConfig(base_url="http://127.0.0.1:1", connect_timeout=seconds))
    for _ in range(2):
        with pytest.raises(tinkex.APIConnectionError, match="timed out"):
            dialer.open()
        dialer.limit_connecting(7.0)
    assert given == [seconds, 7.0]


def test_trust_in_what_requests_trusts():
    """With verify=True it is the bundle of requests, not whatever the system has."""
    context = make_dialer(ClientConfig(base_url="https://localhost:1", trust_env=False))._context
    reference = ssl_.create_urllib3_context()
    reference.load_verify_locations(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    assert context.cert_store_stats() == reference.cert_store_stats()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= reference.minimum_version


def test_a_bundle_that_is_not_there_is_named():
    """A wrong path is told when the client is made."""
    with pytest.raises(OSError, match=r"nowhere\.pem"):
        make_dialer(ClientConfig(base_url="https://localhost:1", verify="/nowhere.pem"))
    with pytest.raises(OSError, match=r"nothing\.key"):
        make_dialer(ClientConfig(base_url="https://localhost:1", verify=False, cert="/nothing.key"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to hash a subject")
def test_a_directory_of_certificates(tmp_path):
    """As made by c_rehash: names are hashes of the subjects."""
    with FakeServer(tls=True) as secure:
        with pytest.raises(tinkex.APIConnectionError, match=r"(?i)certificate verify failed"):
            make_dialer(ClientConfig(base_url=secure.url, verify=str(tmp_path))).open()
        hashed = tmp_path / f"{subject_hash(secure.ca_file)}.0"
        hashed.write_bytes(Path(secure.ca_file).read_bytes())
        make_dialer(ClientConfig(base_url=secure.url, verify=str(tmp_path))).open().close()


def test_a_server_that_cannot_be_verified_gets_nothing():
    """TLS is verified unless that was turned off; then it works, without a warning."""
    with FakeServer(tls=True) as secure:
        with pytest.raises(tinkex.APIConnectionError, match=r"(?i)certificate verify failed") as caught:
            sample(secure.url)
        assert not caught.value.may_have_run
        assert not secure.requests
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(sample(secure.url, verify=False)) == 4


def test_a_certificate_for_another_name_is_refused():
    """The name is checked, not the chain alone."""
    with FakeServer(tls=True, host="127.0.0.1") as secure:
        url = secure.url.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(tinkex.APIConnectionError, match=r"(?i)certificate|refused"):
            sample(url, verify=secure.ca_file)


def test_ipv6(server):
    """An address in brackets."""
    try:
        relay = Relay(("127.0.0.1", int(server.url.rpartition(":")[2])), host="::1")
    except OSError:
        pytest.skip("needs IPv6")
    with relay:
        assert len(sample(f"http://[::1]:{relay.port}")) == 4


class Counting(requests.adapters.HTTPAdapter):
    """A user's adapter."""

    calls = 0

    def send(self, *arguments, **options):
        type(self).calls += 1
        return super().send(*arguments, **options)


class TestAdapter:
    """Where a requests adapter carries the exchanges, everything works, on threads."""

    def test_it_carries_everything(self, server):
        """Samples, long polls, reads and the end of the session go through it."""
        server.latency = 0.1
        before = Counting.calls
        assert len(sample(server.url, adapter=Counting())) == 4
        assert Counting.calls - before == sum(server.counts.values())

    @pytest.mark.slow
    def test_more_samples_than_threads(self, server):
        """They take turns; nothing fails and nothing is sent twice."""
        server.latency = 0.1
        config = ClientConfig(adapter=Counting(pool_maxsize=100), telemetry=False)
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=config) as service:
            client = service.create_sampling_client(base_model="fake/model")
            futures = [client.sample([1, number + 1], PARAMS) for number in range(100)]
            assert all(len(future.result(20).sequences) == 1 for future in futures)
        assert server.counts["asample"] == 100

    @pytest.mark.slow
    def test_polls_hold_nothing_else_up(self, server):
        """With every thread for polls in a long one, submissions and everything else still go at once."""
        server.latency = 600
        config = ClientConfig(adapter=Counting(pool_maxsize=100), telemetry=False, request_timeout=5.0)
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=config) as service:
            client = service.create_sampling_client(base_model="fake/model")
            futures = [client.sample([1, number + 1], PARAMS) for number in range(100)]
            server.wait_for("asample", 100)
            server.wait_for("retrieve_future", 64)
            assert service.get_server_capabilities(timeout=5)
            assert server.counts["retrieve_future"] == 64
            for future in futures:
                future.cancel()

    @pytest.mark.slow
    def test_polls_take_turns(self, server, monkeypatch):
        """Once half of the threads are in polls the next ones are short, so that no result lies behind long ones."""
        monkeypatch.setattr("tinkex._transport.exchange._TURN_SECONDS", 0.2)
        server.latency = lambda request, index: 600.0 if request.prompt.to_ints()[-1] <= 64 else 0.0
        config = ClientConfig(adapter=Counting(pool_maxsize=100), telemetry=False)
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=config) as service:
            client = service.create_sampling_client(base_model="fake/model")
            slow = [client.sample([1, number + 1], PARAMS) for number in range(64)]
            server.wait_for("retrieve_future", 64)
            quick = [client.sample([1, 100 + number], PARAMS) for number in range(6)]
            assert all(len(future.result(20).sequences) == 1 for future in quick)
            for future in slow:
                future.cancel()

    def test_closing_does_not_wait_for_a_long_poll(self, server):
        """The futures end at once; the adapter stays its owner's."""
        server.latency = 600
        config = ClientConfig(adapter=Counting(), telemetry=False)
        service = tinkex.ServiceClient(base_url=server.url, api_key="tml-x", config=config)
        client = service.create_sampling_client(base_model="fake/model")
        future = client.sample([1], PARAMS)
        server.wait_for("retrieve_future")
        service.close(cancel_pending=True)
        assert future.cancelled()

    @pytest.mark.thin(3)
    @pytest.mark.parametrize(
        ("fault", "error", "ran"),
        [
            ("huge_length", tinkex.APIConnectionError, True),
            ("gzip_bomb", tinkex.APIResponseError, True),
            ("endless", tinkex.APIResponseError, True),
            ("bad_gzip", tinkex.APIResponseError, True),
            ("half", tinkex.APIConnectionError, True),
            ("reset", tinkex.APIConnectionError, True),
            ("hang", tinkex.APITimeoutError, True),
        ],
    )
    def test_faults(self, server, fault, error, ran):
        """Bounded and typed as on the plain way."""
        config = ClientConfig(base_url=server.url, adapter=Counting(), trust_env=False)
        dialer = make_dialer(config)
        body = b'{"sdk_version": "0"}'
        head = request_head(
            "POST", "/api/v1/client/config", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        )
        server.fault("client/config", fault)
        with pytest.raises(error) as caught:
            dialer.call(head, body, 0.3 if fault in ("hang", "huge_length") else 5.0, 2**20)
        assert caught.value.may_have_run is ran
        config.adapter.close()

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1", "http://no.such.host.invalid"])
    def test_nothing_was_sent(self, url):
        """A refused connection is told from a lost one."""
        dialer = make_dialer(ClientConfig(base_url=url, adapter=Counting(), trust_env=False))
        with pytest.raises(tinkex.APIConnectionError, match="Nothing was sent") as caught:
            dialer.call(request_head("POST", "/", [("Content-Length", "0")]), b"", 1, 100)
        assert not caught.value.may_have_run

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "https://127.0.0.1:1"])
    def test_ways_that_only_requests_knows(self, server, proxy):
        """SOCKS and TLS proxies go through an adapter; where they do not work, the error names them, not the key."""
        assert not make_dialer(ClientConfig(base_url=server.url, proxies={"http": proxy}, trust_env=False)).plain
        with pytest.raises(tinkex.APIConnectionError, match=r"127\.0\.0\.1"):
            sample(server.url, proxies={"http": proxy}, trust_env=False)

    def test_an_answer_made_by_hand(self):
        """An adapter may build its answers without a connection."""

        class Canned(requests.adapters.BaseAdapter):
            def send(self, request, **options):
                answer = requests.Response()
                answer.status_code = 200
                answer._content = b"{}"
                return answer

            def close(self):
                pass

        dialer = make_dialer(ClientConfig(base_url="http://127.0.0.1:1", adapter=Canned()))
        response = dialer.call(request_head("POST", "/", []), b"", 1, 100)
        assert (response.status, response.body) == (200, b"{}")


@pytest.mark.parametrize("proxy", ["http://u:hush0123@127.0.0.1:9x", "http://u:hush0123@", "ftp://h", "htp:/h"])
def test_a_proxy_of_the_environment_that_is_no_url(monkeypatch, proxy):
    """It is an error that names the settings it can come from, and does not repeat its password."""
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ValueError, match=r"proxies: .*HTTP_PROXY.* is not the URL of a proxy") as caught:
        make_dialer(ClientConfig(base_url="http://server.example"))
    assert "hush0123" not in str(caught.value)
