"""``tinkex doctor`` against servers, and ways to them, that are broken at one step each."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import sys
import threading
import time

import pytest
from proxying import Proxy

testing = pytest.importorskip("tinkex.testing")
CliRunner = pytest.importorskip("click.testing").CliRunner
app = pytest.importorskip("tinkex.cli._app").app
KEY = "tml-a-secret-key-for-tests"
STEPS = [
    "environment", "key", "DNS", "TCP", "proxy", "TLS", "auth", "client config", "session", "sample", "heartbeat",
]  # fmt: skip


@pytest.fixture(autouse=True)
def plain_network(monkeypatch):
    """No proxy, no certificates and no key but those of a test."""
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        for each in (name, name.upper()):
            monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("TINKER_API_KEY", KEY)


@pytest.fixture
def server():
    """A strict server that wants its key."""
    with testing.FakeServer(strict=True, require_key=KEY) as running:
        yield running
        assert not running.violations


def examine(url, *arguments, expect=1):
    """What the doctor says about a server: its findings by name, and nothing beside the JSON."""
    result = CliRunner().invoke(app, ["doctor", "--json", "--base-url", url, "--timeout", "5", *arguments])
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (expect, "", 1)
    assert KEY not in result.stdout
    told = json.loads(result.stdout)
    assert [step["name"] for step in told["steps"]] == STEPS
    assert told["ok"] is (expect == 0)
    return {step["name"]: step for step in told["steps"]}


def check_failure(found, name, says, cause="", advice=""):
    """One step failed, with this said about it, and everything that stands on it was skipped."""
    failed = [step for step in STEPS if found[step]["verdict"] == "failed"]
    assert failed == [name]
    assert says in found[name]["says"]
    assert found[name]["cause"]
    assert found[name]["advice"]
    assert cause in found[name]["cause"]
    assert advice in found[name]["advice"]


def test_all_is_well(server):
    """Each step of a good server is ok or not used, takes its time, and the session is finished at the end."""
    found = examine(server.url, expect=0)
    assert {name for name in STEPS if found[name]["verdict"] == "not used"} == {"DNS", "proxy", "TLS"}
    assert {found[name]["verdict"] for name in STEPS if name not in ("environment", "DNS", "proxy", "TLS")} == {"ok"}
    assert found["key"]["says"].startswith("tml-…ests from environment TINKER_API_KEY")
    assert "fake/model" in found["sample"]["says"]
    assert all(step["seconds"] >= 0 for step in found.values())
    (sample,) = server.requests_to("asample")
    assert sample.json["sampling_params"]["max_tokens"] == 1
    assert server.counts["finish"] == 1


def test_a_secure_server(monkeypatch):
    """TLS with a known authority, and a key that is exchanged for a token, are ok."""
    with testing.FakeServer(strict=True, tls=True, jwt=True) as server:
        monkeypatch.setenv("SSL_CERT_FILE", server.ca_file)
        found = examine(server.url, expect=0)
    assert "TLSv1.3" in found["TLS"]["says"]
    assert "exchanged for a token" in found["auth"]["says"]


@pytest.mark.thin(3)
@pytest.mark.parametrize("like", ["tuft", "hatchery", "open_rl", "twinkle", "tinker_cloud", "skyrl", "skyrl_0.3"])
def test_other_servers(like):
    """Servers that lack some endpoints are well too."""
    with testing.FakeServer(like, long_poll=0.05) as server:
        examine(server.url, expect=0)


def test_odd_variables(server, monkeypatch):
    """A variable that looks like a setting and is none is told of."""
    monkeypatch.setenv("TINKER_APIKEY", "x")
    found = examine(server.url, expect=0)["environment"]
    assert (found["verdict"], "TINKER_APIKEY" in found["cause"]) == ("warning", True)


def jwt(**claims):
    """A token with these claims."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + ".c2ln"


@pytest.mark.parametrize(
    ("key", "says", "advice"),
    [
        (None, "No API key", "export TINKER_API_KEY="),
        (jwt(exp=1_700_000_000), "expired", "TINKER_API_KEY"),
        ("an-odd-key", "must start with 'tml-'", "export TINKER_API_KEY="),
    ],
)
def test_key(monkeypatch, tmp_path, key, says, advice):
    """A key that is missing or over stops what needs it, not the look at the network."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINKER_API_KEY")
    if key:
        monkeypatch.setenv("TINKER_API_KEY", key)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_names)
    found = examine("https://tinker.thinkingmachines.dev/services/tinker-prod")
    assert found["key"]["verdict"] == found["DNS"]["verdict"] == "failed"
    assert says in found["key"]["says"]
    assert advice in found["key"]["advice"]


def refuse_names(*_, **__):
    """Know no name."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_failing_credential_command(server, monkeypatch):
    """A command that fails is told of, and not its words."""
    monkeypatch.delenv("TINKER_API_KEY")
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo {KEY}; exit 3")
    check_failure(examine(server.url), "key", "ended with status 3", "TINKER_CREDENTIAL_CMD")


def test_token_that_ends(server, monkeypatch):
    """A token says until when it can be used."""
    with testing.FakeServer() as other:
        monkeypatch.setenv("TINKER_API_KEY", jwt(exp=4_000_000_000))
        assert "until 2096-10-02" in examine(other.url, expect=0)["key"]["says"]


def test_unknown_name(monkeypatch):
    """A name that does not exist ends at DNS."""
    monkeypatch.setattr(socket, "getaddrinfo", refuse_names)
    found = examine("https://no-such-host.invalid")
    check_failure(found, "DNS", "no-such-host.invalid", "does not exist", "TINKER_BASE_URL")
    assert found["TCP"]["says"] == "needs DNS"
    assert {found[name]["verdict"] for name in STEPS[3:]} == {"skipped"}


def test_names_that_never_come(monkeypatch):
    """A lookup that hangs is given up in time."""
    forever = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: forever.wait(30) and [])
    begun = time.monotonic()
    found = examine("https://slow.invalid", "--timeout", "0.3")
    forever.set()
    check_failure(found, "DNS", "within 0.3 s")
    assert time.monotonic() - begun < 5


def test_closed_port():
    """A port that nobody listens on ends at TCP."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    check_failure(examine(f"http://127.0.0.1:{port}"), "TCP", "refused", f"port {port}", "Is it running?")


def test_certificate_nobody_knows():
    """A certificate by an unknown authority ends at TLS."""
    with testing.FakeServer(tls=True) as server:
        check_failure(examine(server.url), "TLS", "certificate", "authority", "SSL_CERT_FILE")


def test_certificate_for_another_name(monkeypatch):
    """A certificate for another name ends at TLS, with that said."""
    with testing.FakeServer(tls=True, host="127.0.0.1") as server:
        monkeypatch.setenv("SSL_CERT_FILE", server.ca_file)
        lookup = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **named: lookup("127.0.0.1", *rest, **named))
        found = examine(server.url.replace("127.0.0.1", "other.test"))
    check_failure(found, "TLS", "other.test", "another name")
    assert found["DNS"]["says"] == "other.test is 127.0.0.1"


def test_no_tls(server):
    """A server without TLS asked over https ends at TLS."""
    check_failure(examine(server.url.replace("http:", "https:")), "TLS", "127.0.0.1", "speaks no TLS", "http://")


def test_certificates_that_cannot_be_read(monkeypatch):
    """A file of certificates that is not there ends at TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with testing.FakeServer(tls=True) as server:
        check_failure(examine(server.url), "TLS", "No such file", "certificates", "SSL_CERT_FILE")


def test_other_proxies(monkeypatch):
    """A proxy of a kind that only a library knows is used, and neither it nor what is behind it is examined."""
    with testing.FakeServer() as server:
        monkeypatch.setenv("https_proxy", server.url.replace("http:", "socks5:"))
        found = examine("https://server.invalid")
    assert found["proxy"]["verdict"] == found["TLS"]["verdict"] == "not used"
    assert found["client config"]["verdict"] == "failed"


def test_proxy(monkeypatch):
    """A proxy that works is named, without its password."""
    with testing.FakeServer(hosts=["server.test"]) as server, Proxy("me", "secret") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:secret@"))
        proxy.connect = lambda client, _, first: Proxy.connect(proxy, client, server_address(server), first)
        found = examine("http://server.test:80", expect=0)
    assert found["proxy"]["says"] == f"goes through http://…@{proxy.address}"


def test_no_proxy_for_this_machine(server, monkeypatch):
    """A server on this machine is asked without the proxy of the environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert examine(server.url, expect=0)["proxy"]["says"] == "nothing stands between"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_wants_a_password(monkeypatch, scheme):
    """A proxy that wants a password ends at the proxy."""
    with Proxy("me", "secret") as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url)
        check_failure(examine(f"{scheme}://server.invalid"), "proxy", "407", "user and a password")


def test_plain_http(monkeypatch):
    """A server elsewhere that is asked over plain http is told of, where it is asked through a proxy too."""
    with testing.FakeServer(hosts=["server.test"]) as server, Proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.connect = lambda client, _, first: Proxy.connect(proxy, client, server_address(server), first)
        found = examine("http://server.test:80", expect=0)
    assert (found["TLS"]["verdict"], "can be read" in found["TLS"]["cause"]) == ("warning", True)


def server_address(server):
    """Host and port of a server."""
    host, _, port = server.url.rpartition("/")[2].partition(":")
    return host, int(port)


@pytest.mark.parametrize(
    ("answer", "says", "cause"),
    [(b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden", "does not let"), (b"SSH-2.0\r\n\r\n", "no sense", "no HTTP")],
)
def test_proxy_that_refuses(monkeypatch, answer, says, cause):
    """A proxy that refuses, or is none, ends at the proxy."""
    with Proxy(nonsense=answer) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        check_failure(examine("https://server.invalid"), "proxy", says, cause)


def test_proxy_that_refuses_plain_requests(monkeypatch):
    """Where a proxy answers 403 to plain http it, or the server, may have said so: a warning."""
    with Proxy(nonsense=b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        found = examine("http://server.test")
    assert found["proxy"]["verdict"] == "warning"
    check_failure(found, "auth", "403")


def test_wrong_key(server, monkeypatch):
    """A key that the server does not know ends at auth."""
    monkeypatch.setenv("TINKER_API_KEY", "tml-another-key-altogether")
    found = examine(server.url)
    check_failure(found, "auth", "401", "does not know this key", "keys")
    assert found["client config"]["verdict"] == "skipped"


def test_token_exchange_that_fails():
    """A token that the server does not give ends at auth."""
    with testing.FakeServer(jwt=True) as server:
        server.fail_next("auth/token", status=503, times=None)
        check_failure(examine(server.url), "auth", "503")


def test_no_money(server):
    """An account that cannot pay ends at auth, which asks what the server offers."""
    server.fail_next("get_server_capabilities", status=402, times=None)
    check_failure(examine(server.url), "auth", "402", "cannot pay")


@pytest.mark.parametrize(("kind", "says"), [("garbage", ""), ("hang", ""), ("reset", "lost")])
def test_broken_client_config(server, kind, says):
    """An answer that is none ends at the client configuration; about the key nothing can be said."""
    server.fault("client/config", kind, times=None)
    found = examine(server.url, "--timeout", "0.5")
    assert found["auth"]["verdict"] == "warning"
    check_failure(found, "client config", says)


BREAKS = [
    ("session", "create_session", 500, "500", "problem of its own"),
    ("session", "create_session", 422, "422", "refuses"),
    ("session", "create_session", 501, "501", "may be no Tinker server"),
    ("session", "create_session", 405, "405", "may be no Tinker server"),
    ("sample", "create_sampling_session", 404, "404", "does not know"),
    ("sample", "asample", 400, "400", "refuses"),
    ("sample", "retrieve_future", 403, "403", "not allowed"),
    ("heartbeat", "session_heartbeat", 410, "410", ""),
]


@pytest.mark.thin(3)
@pytest.mark.parametrize(("step", "endpoint", "status", "says", "cause"), BREAKS)
def test_broken_endpoint(server, step, endpoint, status, says, cause):
    """A server that breaks one step is told of at that step; a failed sample does not hide the heartbeat."""
    server.fail_next(endpoint, status=status, body={"detail": "\x1b[31mno [bold]luck"}, times=None)
    found = examine(server.url)
    check_failure(found, step, says, cause)
    assert "\x1b" not in found[step]["says"]
    assert found["heartbeat"]["verdict"] == {"session": "skipped", "sample": "ok", "heartbeat": "failed"}[step]


def test_failed_sample(server):
    """A sample that the server takes and fails is told of with its words."""
    server.fail_samples("the engine is out", category="server", status=400, times=9)
    check_failure(examine(server.url), "sample", "the engine is out")


@pytest.mark.slow
def test_slow_sample(server, monkeypatch):
    """A sample that does not come is given up in time."""
    monkeypatch.setattr("tinkex.cli.doctor.steps._PATIENCE", 1)
    server.hold()
    check_failure(examine(server.url, "--timeout", "1"), "sample", "1 s", "no room")


def test_model_choice(server):
    """A model can be named; without any there is nothing to sample from, which is no failure of the server."""
    assert "other/model" in examine(server.url, "--base-model", "other/model", expect=0)["sample"]["says"]
    path = "tinker://r/sampler_weights/1"
    assert path in examine(server.url, "--model-path", path, expect=0)["sample"]["says"]
    server._engine.models[:] = []
    assert examine(server.url, expect=0)["sample"]["verdict"] == "warning"


def test_wrong_usage():
    """Contradictions, and settings that cannot be used, are wrong usage."""
    for arguments in (
        ["--local", "--base-url", "http://127.0.0.1:1"],
        ["--base-url", "ftp://x"],
        ["--timeout", "0"],
    ):
        assert CliRunner().invoke(app, ["doctor", *arguments]).exit_code == 2


def test_lines(server):
    """Into a pipe goes a line a step, and two more where it fails."""
    server.fail_next("create_session", status=500, times=None)
    result = CliRunner().invoke(app, ["doctor", "--base-url", server.url])
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0] == [server.url]
    assert [line[0] for line in lines if line[0] in STEPS] == STEPS
    after = next(number for number, line in enumerate(lines) if line[0] == "session")
    assert [line[1] for line in lines[after + 1 : after + 3]] == ["cause", "next"]


@pytest.mark.parametrize("width", [60, 120])
def test_terminal(server, monkeypatch, capsys, width):
    """On a terminal every step has its verdict in a column, and long words are folded into theirs."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    server.fail_next("create_session", status=500, body={"detail": "[red]word " * 20}, times=None)
    with contextlib.suppress(SystemExit):
        app(["doctor", "--base-url", server.url], prog_name="tinkex")
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, shown)) <= width
    assert any(line.startswith("session        failed") for line in shown)
    assert any("[red]word" in line for line in shown)
