"""How a call looks on the wire, and how an answer becomes an error."""

from __future__ import annotations

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import KEY, MODEL, PARAMS, PROMPT, make_service, sampling

import tinkex
from tinkex._api.responses import retry_after
from tinkex.testing import FakeServer, Fault, ManualClock

CLOCK = ManualClock()


@pytest.fixture
def server():
    """A strict server."""
    with FakeServer(strict=True) as fake:
        yield fake
        assert not fake.violations


# Requests


def test_headers(server):
    """Every request says who it is from, what it takes and how long it waits; samples say a little more."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(5)
    for request in server.requests:
        headers = request.headers
        assert headers["X-API-Key"] == KEY
        assert headers["User-Agent"].startswith("tinkex")
        assert headers["x-sdk-version"] == "0.38.0"
        protobuf = request.endpoint == "retrieve_future"
        assert headers["Accept"] == ("application/x-protobuf" if protobuf else "application/json")
        assert float(headers["x-stainless-read-timeout"]) > 0
        if request.method == "GET":
            assert "Content-Type" not in headers
            assert "X-Idempotency-Key" not in headers
        else:
            assert headers["Content-Type"] == "application/json"
            assert headers["x-stainless-retry-count"] == "0"
    (submission,) = server.requests_to("asample")
    assert submission.headers["X-Tinker-Sampling-Backpressure"] == "1"
    assert submission.headers["x-sdk-method"] == "SamplingClient.sample"
    assert server.requests_to("retrieve_future")[0].headers["X-Tinker-Request-Type"] == "Sample"


def test_idempotency_keys(server):
    """Every call has a key of its own."""
    with sampling(server) as client:
        for _ in range(5):
            client.sample(PROMPT, PARAMS).result(5)
    keys = [r.headers["X-Idempotency-Key"] for r in server.requests if r.method != "GET"]
    assert len(set(keys)) == len(keys)


def test_default_headers(server):
    """The caller's headers go with every request and win over the client's; changing them works at once."""
    with sampling(server, default_headers={"X-Team": "blue", "user-agent": "mine"}) as client:
        client.sample(PROMPT, PARAMS).result(5)
        assert {r.headers["X-Team"] for r in server.requests} == {"blue"}
        assert {r.headers["User-Agent"] for r in server.requests} == {"mine"}
        client.service.reconfigure(default_headers={"X-Team": "red"})
        client.sample(PROMPT, PARAMS).result(5)
        assert server.requests_to("asample")[-1].headers["X-Team"] == "red"


def test_access_headers(server, monkeypatch):
    """The two headers of Cloudflare Access come from the environment."""
    monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_ID", "id")
    monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_SECRET", "secret")
    with sampling(server):
        assert server.requests[0].headers["CF-Access-Client-Id"] == "id"
        assert server.requests[0].headers["CF-Access-Client-Secret"] == "secret"


def test_path_prefix():
    """The path in base_url stays in front of the API's, with or without a slash at its end."""
    with FakeServer(prefix="/services/tinker-prod") as fake:
        with tinkex.ServiceClient(base_url=fake.url + "/", api_key=KEY) as service:
            client = service.create_sampling_client(base_model=MODEL)
            assert client.sample(PROMPT, PARAMS).result(5)
        assert {request.path[:29] for request in fake.requests} == {"/services/tinker-prod/api/v1/"}


def test_no_key():
    """A server that wants no key gets none."""
    with FakeServer() as fake, sampling(fake, api_key=None) as client:
        assert client.sample(PROMPT, PARAMS).result(5)
        assert {request.key for request in fake.requests} == {None}


# Redirects


@pytest.mark.parametrize("status", [307, 308])
def test_redirect_on_the_same_server(server, status):
    """A 307 or 308 within the server is followed, with the same body."""
    with sampling(server) as client:
        for location in ("/api/v1/asample", f"{server.url}/api/v1/asample"):
            server.fail_next("asample", status, headers={"Location": location})
            assert client.sample(PROMPT, PARAMS).result(5)
        first, second = server.requests_to("asample")[:2]
        assert first.body == second.body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_server(server, status):
    """Any other redirect is an error that says where it would have led; the key goes nowhere else."""
    with FakeServer() as other, sampling(server) as client:
        server.fail_next("asample", status, headers={"Location": f"{other.url}/api/v1/asample"})
        with pytest.raises(tinkex.APIStatusError, match="redirect to http"):
            client.sample(PROMPT, PARAMS).result(5)
        assert not other.requests


def test_endless_redirect(server):
    """A server that redirects for ever is not followed for ever."""
    with sampling(server) as client:
        server.fail_next("asample", 307, headers={"Location": "/api/v1/asample"}, times=None)
        with pytest.raises(tinkex.APIStatusError, match="redirect"):
            client.sample(PROMPT, PARAMS).result(5)
        assert server.counts["asample"] == 2


# Answers


@pytest.mark.parametrize("level", ["error", "warning", None])
def test_deprecation_notes(server, caplog, level):
    """The server's notes about what will go are logged, at the level it gives."""
    headers = {"x-deprecation-note": "gone\tsoon"} | ({"x-deprecation-level": level} if level else {})
    with sampling(server) as client:
        server.fail_next("asample", 503, headers=headers)
        client.sample(PROMPT, PARAMS).result(5)
    (record,) = [each for each in caplog.records if "gone" in each.getMessage()]
    assert record.getMessage() == "The server says: gone soon"
    assert record.levelname == ("ERROR" if level == "error" else "WARNING")


def test_error_body(server):
    """An error keeps the server's body as it decoded it, and its words without control characters."""
    with make_service(server) as service:
        body = {"detail": [{"loc": ["body", "base_model"], "msg": "too\x1b[31m long", "type": "value_error"}]}
        server.fail_next("create_sampling_session", 422, body)
        with pytest.raises(tinkex.UnprocessableEntityError, match=r"body\.base_model: too\[31m long") as caught:
            service.create_sampling_client(base_model=MODEL)
        assert caught.value.body == body
        server.fail_next("create_sampling_session", 403, "<html><title>Forbidden zone</title></html>")
        with pytest.raises(tinkex.PermissionDeniedError, match="Forbidden zone"):
            service.create_sampling_client(base_model=MODEL)


def test_empty_400_is_a_proxys(server):
    """A 400 without a body is taken for a lost connection, and the call is made again."""
    with make_service(server) as service:
        server.script("create_session", Fault("status", 400), Fault("status", 400), None)
        assert service.create_sampling_client(base_model=MODEL)
        assert server.counts["create_session"] == 3


@pytest.mark.parametrize("key", [KEY, "key-of-another-kind"])
def test_blocking_calls_never_show_the_key(server, caplog, key):
    """Nor do the errors and logs of calls other than samples."""
    caplog.set_level("DEBUG")
    with make_service(server, api_key=key) as service:
        server.fail_next("create_session", 403, {"detail": f"{key} may not"})
        with pytest.raises(tinkex.PermissionDeniedError, match="may not") as caught:
            service.create_sampling_client(base_model=MODEL)
        shown = f"{caught.value} {caught.value!r} {vars(caught.value)} {caplog.text}"
        assert key not in shown


def test_retry_after_forms():
    """Retry-After is read as milliseconds, seconds or a date; what makes no sense is none."""
    in_ten = email.utils.formatdate(CLOCK.wall() + 10, usegmt=True)
    cases = {
        ("retry-after-ms", "1500"): 1.5,
        ("retry-after", "2"): 2.0,
        ("retry-after", "0.5"): 0.5,
        ("retry-after", in_ten): 10.0,
        ("retry-after", "0"): None,
        ("retry-after", "-3"): None,
        ("retry-after", "nan"): None,
        ("retry-after", "soon"): None,
        ("retry-after", "1e400"): 86_400.0,
        ("retry-after-ms", "inf"): 86_400.0,
        ("x-other", "1"): None,
    }
    for (name, value), expected in cases.items():
        assert retry_after({name: value}, CLOCK) == expected


@given(st.text() | st.floats().map(str), st.sampled_from(["retry-after", "retry-after-ms"]))
def test_retry_after_is_bounded(text, name):
    """Whatever a server sends, the time is positive and at most a day, or none."""
    seconds = retry_after({name: text}, CLOCK)
    assert seconds is None or 0 < seconds <= 86_400
