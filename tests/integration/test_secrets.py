"""One sweep for the key: through every kind of trouble, with everything logged, it is nowhere but in its header."""

from __future__ import annotations

import base64
import io
import logging
import pickle
import traceback
from urllib.parse import quote

import pytest
import requests
from proxying import Proxy
from serving import MODEL, PARAMS, PROMPT, all_done, make_service

import tinkex
from tinkex import sampling_client
from tinkex.testing import FakeServer, Fault

KEYS = ["tml-abcdefghijklmnop-0123456789", "swordfish-of-another-server"]
ENDPOINTS = (
    "client/config", "client/dynamic_config", "auth/token", "create_session", "create_sampling_session",
    "session_heartbeat", "asample", "retrieve_future", "retrieve_futures", "cancel_future", "telemetry", "samplers",
    "get_server_capabilities", "finish",
)  # fmt: skip
SAMPLING = ("asample", "retrieve_future")


def echoes(secret):
    """Answers of a server that repeats what it was sent, wherever it can."""
    words = f"who is {secret}? \x1b]0;owned\x07 \x1b[2J"
    elsewhere = {"Location": f"http://elsewhere.example/{secret}?key={secret}"}
    html = {"Content-Type": "text/html"}
    return [
        Fault("status", 403, body={"detail": words}),
        Fault("status", 403, body={"detail": [{"loc": ["header", secret], "msg": words}]}),
        Fault("status", 401, {"WWW-Authenticate": f'Bearer realm="{secret}"'}, {"error": words, "category": secret}),
        Fault("status", 500, {"Content-Type": f"text/{secret}", "x-deprecation-note": words}, f"<p>{words}</p>"),
        Fault("status", 302, elsewhere),
        Fault("status", 307, elsewhere),
        Fault("status", 400, html, f"<p>{secret}</p>"),
        Fault("status", 404, body={secret: {"key": secret}}),
        Fault("status", 200, html, f"{secret}: no JSON"),
        Fault("status", 200, {"Content-Type": f"application/{secret}"}, secret.encode() * 3),
        Fault("status", 200, {"x-deprecation-note": words}, {"error": words, "category": "user"}),
        Fault("status", 200, body=[words]),
        Fault("status", 200, {"Content-Encoding": secret}, words),
        Fault("status", 429, {"Retry-After": "0.01"}, {"detail": words, "queue_state_reason": words}),
        Fault("status", 408, body={"queue_state": "paused_capacity", "queue_state_reason": words}),
        Fault("status", 410, body={"detail": words}),
        Fault("reset"),
        Fault("hang"),
    ]


class Everything(logging.Handler):
    """Keeps every record as text, with all of its fields and its traceback."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.text = io.StringIO()
        self.setFormatter(logging.Formatter())

    def emit(self, record):
        self.text.write(f"{self.format(record)} {record.__dict__!r} {record.args!r}\n")


@pytest.fixture
def everything():
    """All that anybody logs, at DEBUG."""
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.text
    root.setLevel(level)
    root.removeHandler(handler)


def words_of(error):
    """All that an error and those behind it say, in every form that it may be passed on in."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    told.stack = traceback.StackSummary.from_list([frame for frame in told.stack if frame.filename != __file__])
    said = "".join(told.format())  # as tools that report errors do, with the variables of every frame
    while error is not None:
        said += f"{error} {error!r} {error.args!r} {error.__dict__!r} {pickle.dumps(error)!r}"
        error = error.__cause__ or error.__context__
    return said


HOLDERS = {"x-api-key", "x-gate", "x-gate-token", "authorization", "cookie"}


def words_of_requests(server):
    """All that was sent, but for the headers that secrets belong in."""
    sent = ""
    for request in server.requests:
        others = {name: value for name, value in request.headers.items() if name.lower() not in HOLDERS}
        sent += f"{request.path} {others!r} {request.body!r}\n"
    return sent


def trouble(server, service, secret, endpoint, fault):
    """What is said by a service that meets `fault` at `endpoint` at every stage."""
    server.clear()
    server._script.clear()
    server.script(endpoint, *[fault] * 4)
    errors = []
    try:
        client = service.create_sampling_client(base_model=MODEL, timeout=2)
        future = client.sample(PROMPT, PARAMS, timeout=0.2)
        errors.append(future.exception(5))
        said = f"{future!r} {future.queue_state_reason} {future.last_failure} {client!r} {client.handle()}"
        said += repr(pickle.dumps(client))
        client.get_base_model(timeout=2)
        service.get_server_capabilities(timeout=2)
    except tinkex.TinkexError as error:
        errors.append(error)
        said = ""
    said += f"{service.stats()!r} {service.health()!r} {service!r} {service.config!r} {service.config!s}"
    return said + "".join(map(words_of, filter(None, errors))) + words_of_requests(server)


SETTINGS = {
    "telemetry": True, "reach_timeout": 0.2, "request_timeout": 0.1, "poll_timeout": 0.1, "billing_wait": 0.0,
    "retry": tinkex.RetryConfig(max_attempts=2, base_delay=0.01, max_delay=0.01), "queue_log_interval": 0.0,
}  # fmt: skip


@pytest.mark.thin(9)
@pytest.mark.parametrize("secret", KEYS)
@pytest.mark.parametrize("stage", ["start", "sample"])
@pytest.mark.parametrize("number", range(len(echoes(""))))
def test_the_key_is_nowhere(everything, capfd, secret, stage, number):
    """Whatever goes wrong, and however often the server repeats the key: it is in no text, pickle, log or body."""
    fault = echoes(secret)[number]
    with FakeServer() as server:
        if stage == "start":
            endpoints = ("client/config", "create_session", "create_sampling_session", "get_server_capabilities")
            said = ""
            for endpoint in endpoints:
                with make_service(server, api_key=secret, **SETTINGS) as service:
                    said += trouble(server, service, secret, endpoint, fault)
        else:
            with make_service(server, api_key=secret, **SETTINGS) as service:
                service.create_sampling_client(base_model=MODEL)
                said = "".join(trouble(server, service, secret, endpoint, fault) for endpoint in SAMPLING)
        said += words_of_requests(server)
    check(secret, said, everything, capfd)


def netrc(path, monkeypatch, password):
    """A netrc file with an entry for this machine."""
    path.write_text(f"machine 127.0.0.1 login somebody password {password}\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.thin(17)
@pytest.mark.parametrize("place", ["plain header", "telling header", "bearer", "cookie", "netrc", "environment"])
@pytest.mark.parametrize("number", range(len(echoes(""))))
def test_what_else_is_sent_is_nowhere(everything, capfd, tmp_path, monkeypatch, place, number):
    """So it is with whatever else is sent that may be secret: headers of the settings, and a netrc entry's password."""
    secret, settings = "hush-0123456789", {"trust_env": False}
    match place:
        case "plain header":
            settings["default_headers"] = {"X-Gate": secret}
        case "telling header":
            secret = "hush1"
            settings["default_headers"] = {"X-Gate-Token": secret}
        case "bearer":
            settings["default_headers"] = {"Authorization": f"Bearer {secret}"}
        case "cookie":
            settings["default_headers"] = {"Cookie": f"a=b; session={secret}"}
        case "netrc":
            netrc(tmp_path / "netrc", monkeypatch, secret)
            settings["trust_env"] = True
        case "environment":
            monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_ID", "gate")
            monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_SECRET", secret)
            HOLDERS.add("cf-access-client-secret")
    fault = echoes(secret)[number]
    with FakeServer() as server, make_service(server, **SETTINGS, **settings) as service:
        said = "".join(trouble(server, service, secret, endpoint, fault) for endpoint in ("client/config", *SAMPLING))
        if place == "netrc":
            encoded = server.requests[0].headers["Authorization"].partition(" ")[2]
            service.reconfigure(telemetry=False)
            words = Fault("status", 403, body={"detail": f"who is {encoded}?"})
            said += trouble(server, service, encoded, "asample", words)
            check(encoded, said, everything, capfd)
        said += words_of_requests(server)
    check(secret, said, everything, capfd)


def test_headers_that_were_replaced_are_nowhere(everything, capfd):
    """A header of earlier settings is still masked: what was sent with it may be answered later."""
    secret = "hush-0123456789"
    with FakeServer() as server, make_service(server, **SETTINGS, default_headers={"X-Gate": secret}) as service:
        service.create_sampling_client(base_model=MODEL)
        service.reconfigure(default_headers={"X-Gate": "another-0123456"})
        said = trouble(server, service, secret, "asample", echoes(secret)[0])
    check(secret, said, everything, capfd)


@pytest.mark.thin(3)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("form", ["{0}", "{1}", "{2}", "Basic {2}"])
def test_the_password_of_a_proxy_is_nowhere(everything, capfd, scheme, form):
    """A proxy that wants another credential, and repeats ours in any way, has it in no error, log, repr or pickle."""
    password = "hush/p&ssword 0123456789"
    encoded = base64.b64encode(f"user:{password}".encode()).decode()
    echo = form.format(password, quote(password, safe=""), encoded)
    words = f'HTTP/1.1 407 Not {echo}\r\nProxy-Authenticate: Basic realm="{echo}"\r\nContent-Type: text/html\r\n'
    answer = f"{words}Content-Length: {len(echo) + 7}\r\n\r\n<p>{echo}</p>".encode()
    with Proxy(nonsense=answer) as proxy:
        url = f"http://user:{quote(password, safe='')}@{proxy.address}"
        config = tinkex.ClientConfig(
            base_url=f"{scheme}://127.0.0.1:9", proxies={scheme: url}, trust_env=False, **SETTINGS
        )
        with tinkex.ServiceClient(api_key=KEYS[0], config=config) as service:
            with pytest.raises(tinkex.TinkexError, match="407") as caught:
                service.create_sampling_client(base_model=MODEL, timeout=5)
            said = f"{service!r} {config!r} {service.config!r} {service.stats()!r} {service.health()!r}"
            said += words_of(caught.value)
    for secret in (password, quote(password, safe=""), encoded):
        check(secret, said, everything, capfd)


class Failing(requests.adapters.HTTPAdapter):
    """An adapter that fails with an error of its own, always or for a request of one kind."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def send(self, request, **options):
        if self.path in request.url:
            raise RuntimeError("an adapter's own") from ValueError("and what is behind it")
        return super().send(request, **options)


def frames_besides(error):
    """The frames that are not of this file in an error's traceback, and in those behind it."""
    found, seen = [], set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, _line in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                found.append(frame)
        error = error.__cause__ or error.__context__
    return found


def test_a_foreign_error_has_no_frames_with_secrets():
    """An adapter's own error keeps the adapter's frames, and has none of ours that hold what was to be sent."""
    errors, settings = [], {"default_headers": {"X-Gate": "hush-0123456789"}}
    with FakeServer() as server:
        for path in ("create_session", "asample", "retrieve_future"):
            adapter = Failing(path)
            with make_service(server, api_key=KEYS[0], adapter=adapter, **SETTINGS, **settings) as service:
                try:
                    errors.append(service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS).exception(5))
                except RuntimeError as error:
                    errors.append(error)
    for error in errors:
        assert error.args == ("an adapter's own",)
        said = "".join(f"{frame.f_locals!r}" for frame in frames_besides(error))
        assert not [secret for secret in (KEYS[0], "hush") if secret in said]
    assert [frame.f_code.co_name for frame, _ in traceback.walk_tb(errors[1].__traceback__)] == ["send"]
    assert errors[1].__cause__.args == ("and what is behind it",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "http://user:hush-0123456789@localhost:x"},
        {"base_url": "http://user:hush-0123456789@[localhost"},
        {"api_key": "swordfish\n0123456789"},
        {"api_key": b"swordfish"},
        {"config": "none"},
        {"user_metadata": 5},
        {"observers": [5]},
        {"environ": {"TINKEX_TIMEOUT": "abc"}},
        {"environ": {"TINKEX_WORKERS": "0"}},
        {"environ": {"TINKER_BASE_URL": "localhost:8000"}},
        {"environ": {"TINKER_BASE_URL": "http://user:hush-0123456789@[localhost"}},
    ],
)
def test_a_wrong_setting_shows_no_other(monkeypatch, wrong):
    """An error about a setting has no frame of ours that holds the key, the other settings or the environment."""
    wrong = {"api_key": KEYS[0], **wrong}
    for name, value in {"TINKER_API_KEY": KEYS[1], "CLOUDFLARE_ACCESS_CLIENT_SECRET": "hush-0123456789"}.items():
        monkeypatch.setenv(name, value)
    for name, value in wrong.pop("environ", {}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises((ValueError, TypeError, tinkex.CredentialError)) as caught:
        tinkex.ServiceClient(**wrong)
    said = "".join(f"{frame.f_locals!r}" for frame in frames_besides(caught.value))
    for secret in (*KEYS, "hush-0123456789", "swordfish", "environ("):
        assert secret not in said


@pytest.mark.parametrize("changes", [{"api_key": KEYS[1], "timeout": -1}, {"default_headers": {"X-Gate": "hush\n1"}}])
def test_a_wrong_change_shows_no_other(changes):
    """So it is with `reconfigure`, and with a ClientConfig that is made by hand."""
    with FakeServer() as server, make_service(server, api_key=KEYS[0]) as service:
        for call in (service.reconfigure, tinkex.ClientConfig):
            with pytest.raises(ValueError) as caught:
                call(**changes)
            said = "".join(f"{frame.f_locals!r}" for frame in frames_besides(caught.value))
            assert not [secret for secret in (*KEYS, "hush") if secret in said]


def check(secret, said, everything, capfd):
    """Nothing of what was said holds the secret, or what a terminal would obey."""
    for where, text in (("said", said), ("logged", everything.getvalue()), ("printed", "".join(capfd.readouterr()))):
        for unwanted in (secret, "\x1b", "\x07"):
            found = text.find(unwanted)
            assert found < 0, f"{where}: {text[max(0, found - 300) : found + 100]!r}"


@pytest.mark.slow
def test_the_token_is_nowhere(everything, capfd):
    """The same holds for a token that the key was exchanged for, and for the key beside it."""
    with FakeServer(jwt=True) as server:
        with make_service(server, api_key=KEYS[0], **SETTINGS) as service:
            service.create_sampling_client(base_model=MODEL)
            token = server.requests_to("create_session")[0].key
            assert token.startswith("eyJ")
            faults = [fault for secret in (token, KEYS[0]) for fault in echoes(secret) if fault.kind == "status"]
            said = "".join(trouble(server, service, token, "asample", fault) for fault in faults)
        said += words_of_requests(server)
    check(token, said, everything, capfd)
    assert KEYS[0] not in said + everything.getvalue()


def test_a_revived_client_is_kept_under_no_secret(monkeypatch):
    """What stands for a configuration in this process's memory of revived clients holds neither key nor headers."""
    with FakeServer() as server, make_service(server, api_key=KEYS[1], default_headers={"X-Gate": KEYS[0]}) as service:
        client = service.create_sampling_client(base_model=MODEL)
        monkeypatch.setenv("TINKER_API_KEY", KEYS[1])
        revived = pickle.loads(pickle.dumps(client))
        names = "".join(sampling_client._lifecycles)
        assert server.url in names
        assert not [key for key in KEYS if key in names]
        revived._lifecycle.close(0, cancel_pending=True, reason="success")


def test_a_command_line_has_no_key(monkeypatch):
    """The credential command is run as it was given, and its output is nobody's argument."""
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo {KEYS[1][:5]}''{KEYS[1][5:]}")
    with FakeServer(require_key=KEYS[1]) as server, make_service(server, api_key=None) as service:
        client = service.create_sampling_client(base_model=MODEL)
        all_done([client.sample(PROMPT, PARAMS)])
        assert KEYS[1] not in words_of_requests(server)
        assert KEYS[1] not in f"{service!r} {service.config!r} {client!r} {client.handle()}"
