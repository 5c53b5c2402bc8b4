"""Which requests the guard of a loopback server lets through."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tinkex._server.guard import TrustedHosts, key_is_known, make_guard

JSON = {"Content-Type": "application/json"}
LOOPBACK = TrustedHosts()
EVERYWHERE = TrustedHosts.listening_on("0.0.0.0", ["model.lan"])


def status_of(method, headers, hosts=LOOPBACK):
    """The status that a request gets from a guarded handler that would answer 200."""

    async def handler(_request):
        return web.Response()

    guard = make_guard(hosts, lambda status, reason: web.Response(status=status, text=reason), max_bytes=100)
    request = make_mocked_request(method, "/", headers={"Host": "localhost", **headers})
    return asyncio.run(guard(request, handler)).status


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "app.localhost:1", "127.0.0.1", "127.9.9.9:8000", "[::1]", "[::1]:8000"]
)
def test_loopback_names(host):
    """A server on the loopback interface answers to the names and addresses of that interface."""
    assert status_of("GET", {"Host": host}) == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "0.0.0.0", "[::]"),
        *("", ":80", "localhost:x", "localhost/", "evil.example@localhost", "localhost, evil.example", "[::1"),
        *("[::1].evil.example", "[::1]evil.example", "a[::1]", "localhost:80:80", "[[::1]]"),
    ],
)
def test_other_names(host):
    """A request whose Host is any other, or none, is refused: a page can give its own name this machine's address."""
    assert status_of("GET", {"Host": host}) == 403
    assert status_of("POST", {"Host": host, **JSON}) == 403


def test_a_target_with_another_name():
    """A target that is a whole URL names the host, whatever Host says beside it; each Origin counts, not the first."""
    guard = make_guard(LOOPBACK, lambda status, reason: web.Response(status=status, text=reason), max_bytes=100)

    async def handler(_request):
        return web.Response()

    def status(target, headers):
        request = make_mocked_request("GET", target, headers=CIMultiDict([("Host", "localhost"), *headers]))
        return asyncio.run(guard(request, handler)).status

    assert status("http://localhost:80/", []) == 200
    assert status("http://evil.example/", []) == 403
    assert status("/", [("Origin", "http://localhost"), ("Origin", "http://localhost:1")]) == 200
    assert status("/", [("Origin", "http://localhost"), ("Origin", "http://evil.example")]) == 403


def test_names_that_were_given():
    """A server that listens beyond this machine answers to addresses and to the names it was given, and no others."""
    for host in ("192.0.2.1:80", "[2001:db8::1]", "MODEL.lan", "localhost"):
        assert status_of("GET", {"Host": host}, EVERYWHERE) == 200
    assert status_of("GET", {"Host": "evil.example"}, EVERYWHERE) == 403
    assert status_of("GET", {"Host": "model.lan"}, TrustedHosts.listening_on("127.0.0.1", ["model.lan"])) == 200
    assert status_of("GET", {"Host": "192.0.2.1"}, TrustedHosts.listening_on("127.0.0.1", ["model.lan"])) == 403
    assert status_of("GET", {"Host": "tinker.example"}, TrustedHosts.listening_on("tinker.example")) == 200
    assert status_of("GET", {"Host": "any.example"}, TrustedHosts(["*"])) == 200


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080"])
def test_pages_of_this_machine(origin):
    """A page that this machine serves may send requests."""
    assert status_of("POST", {"Origin": origin, **JSON}) == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://192.0.2.1", "http://localhost.evil.example"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_pages_of_other_hosts(origin, method):
    """A page of any other host is refused, whatever it asks for."""
    assert status_of(method, {"Origin": origin, **JSON}) == 403
    assert status_of(method, {"Origin": origin, "Host": "192.0.2.7", **JSON}, EVERYWHERE) == 403


def test_a_page_of_the_server_itself():
    """A page may send requests to the host that it came from."""
    headers = {"Host": "192.0.2.7:8000", "Origin": "http://192.0.2.7:8000", **JSON}
    assert status_of("POST", headers, EVERYWHERE) == 200


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; a=b"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_content_types_that_pages_can_send(kind, method):
    """A body that is not announced as JSON is refused: other types can be sent by a page without asking first."""
    assert status_of(method, {} if kind is None else {"Content-Type": kind}) == 415


def test_json_bodies():
    """JSON is taken, with a charset as well, but neither compressed nor beyond the bound."""
    assert status_of("POST", {"Content-Type": "application/json; charset=utf-8"}) == 200
    assert status_of("POST", {**JSON, "Content-Encoding": "identity", "Content-Length": "100"}) == 200
    assert status_of("POST", {**JSON, "Content-Encoding": "gzip"}) == 415
    assert status_of("POST", {**JSON, "Content-Length": "101"}) == 413


@given(st.text(), st.lists(st.text(), max_size=4))
def test_known_keys(key, known):
    """A key is known when it is among those given, and an empty one never is."""
    assert key_is_known(key, known) == (key in known and key != "")
    assert not key_is_known(None, known)


def test_every_key_is_compared(monkeypatch):
    """The time of a comparison tells neither which key matched nor how much of one."""
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append((len(a), len(b))) or a == b)
    assert key_is_known("a", ["a", "bcd", "e"])
    assert compared == [(32, 32)] * 3
