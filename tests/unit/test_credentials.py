"""Where the credential comes from, and what is known about it before it is sent."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex import credentials
from tinkex.config import OFFICIAL_BASE_URL, ClientConfig
from tinkex.credentials import JwtClaims, check_credential, parse_claims, resolve_credential
from tinkex.errors import CredentialError

LOCAL = "http://localhost:8000"
SECRET = "0123456789abcdef"
KEY = f"tml-{SECRET}"
NOW = 1_700_000_000.0


class FixedClock:
    """A clock that shows one wall time."""

    def monotonic(self):
        return 0.0

    def wall(self):
        return NOW


def jwt(**claims):
    """A token with these claims and no signature to speak of."""
    header, payload = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "HS256"}, claims)
    )
    return f"{header}.{payload}.c2ln"


def resolve(base_url=OFFICIAL_BASE_URL, key=None, command=None, output=KEY, home="/nonexistent", **options):
    """Resolve a credential with a command that prints *output*; returns it and the commands that were run."""
    ran = []

    def run(command, timeout):
        ran.append((command, timeout))
        if isinstance(output, BaseException):
            raise output
        return output

    environ = {"HOME": str(home), **({"TINKER_CREDENTIAL_CMD": command} if command else {})}
    config = ClientConfig(base_url=base_url, api_key=key)
    return resolve_credential(config, environ, run, clock=FixedClock(), **options), ran


@pytest.fixture
def login(tmp_path):
    """Write a credentials file, as a login would; returns the home it is in."""

    def login(stored):
        folder = tmp_path / ".tinker"
        folder.mkdir(exist_ok=True)
        text = stored if isinstance(stored, bytes) else json.dumps(stored).encode()
        (folder / "credentials.json").write_bytes(text)
        return tmp_path

    return login


STORED = {"version": 1, "default": "a", "keys": {"a": {"type": "manual", "key": KEY, "name": "n"}, "b": {"key": "x"}}}


def test_key_comes_first(login):
    """A configured key is used as it is: no command runs, no file is read."""
    assert resolve(key="tml-mine", command="print", home=login(b"garbage")) == ("tml-mine", [])


def test_command_comes_second(login):
    """Without a key the command runs, once, with a time limit, and its output is trimmed."""
    found = resolve(command="print key", output=f" {KEY}\n", home=login(b"garbage"))
    assert found == (KEY, [("print key", credentials.COMMAND_TIMEOUT)])


def test_file_comes_third(login):
    """Without key and command the default of the file is used."""
    assert resolve(home=login(STORED)) == (KEY, [])


def test_file_is_for_the_official_host(login):
    """The stored key goes to no other server."""
    assert resolve(LOCAL, home=login(STORED)) == (None, [])


def test_nothing_found():
    """No credential is fine, except for the official server."""
    assert resolve(LOCAL) == (None, [])
    with pytest.raises(CredentialError, match="TINKER_API_KEY"):
        resolve()


def test_command_serves_any_server():
    """The command is the user's choice for whatever server is configured."""
    assert resolve(LOCAL, command="print", output="any format")[0] == "any format"


def test_required_command():
    """A server that wants the command gets it instead of a key, but takes a JWT."""
    token = jwt(exp=NOW + 1)
    assert resolve(key="tml-mine", command="print", command_required=True)[0] == KEY
    assert resolve(key=token, command="print", command_required=True) == (token, [])
    with pytest.raises(CredentialError, match="TINKER_CREDENTIAL_CMD"):
        resolve(key="tml-mine", command_required=True)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "printed nothing"),
        (" \n", "printed nothing"),
        (f"{KEY}\nand more", "one line"),
        (f"{KEY}\r\nX: y", "one line"),
        (f"{KEY}\N{SNOWMAN}", "plain text"),
        (f"password-{SECRET}", "format"),
        (jwt(exp=NOW, sub=SECRET), "expired"),
        (subprocess.TimeoutExpired(f"print {SECRET}", 60, output=SECRET.encode()), "longer than 60 s"),
        (subprocess.CalledProcessError(3, f"print {SECRET}", output=SECRET.encode()), "status 3"),
        (OSError(f"no shell {SECRET}"), "OSError"),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, "bad"), "UnicodeDecodeError"),
    ],
)
def test_bad_command(output, words):
    """A command that fails, or prints what cannot be sent, is an error that repeats neither command nor output."""
    with pytest.raises(CredentialError, match=words) as caught:
        resolve(command=f"print {SECRET}", output=output)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("stored", [b"", b"{", b"\xff", b"[" * 100_000])
def test_unreadable_file(login, stored):
    """A file that cannot be read is an error that names it."""
    with pytest.raises(CredentialError, match=r"credentials\.json"):
        resolve(home=login(stored))


@pytest.mark.parametrize(
    "stored",
    [
        [],
        {},
        {"default": None, "keys": {}},
        {"default": "c", "keys": STORED["keys"]},
        {"default": "a", "keys": []},
        {"default": "a", "keys": {"a": KEY}},
        {"default": "a", "keys": {"a": {"key": 3}}},
        {"default": ["a"], "keys": STORED["keys"]},
    ],
)
def test_file_without_a_default(login, stored):
    """A file that names no usable default is like no file."""
    with pytest.raises(CredentialError, match="No API key"):
        resolve(home=login(stored))


def test_file_with_a_bad_key(login):
    """A stored key of an unknown format is refused, unprinted."""
    with pytest.raises(CredentialError, match="format") as caught:
        resolve(home=login({"default": "a", "keys": {"a": {"key": SECRET}}}))
    assert SECRET not in str(caught.value)


def test_home_is_looked_up_without_the_variable(monkeypatch, login):
    """Where HOME is not in the environment given, the system knows the home."""
    monkeypatch.setenv("HOME", str(login(STORED)))
    assert resolve_credential(ClientConfig(), {}) == KEY


def test_nothing_is_logged(caplog, login):
    """Finding a credential leaves no trace in the log."""
    caplog.set_level(logging.DEBUG)
    resolve(command="print")
    resolve(home=login(STORED))
    assert caplog.text == ""


@pytest.mark.parametrize("key", [KEY, "eyJ-not-really", jwt(exp=NOW + 0.1), jwt(sub="u"), jwt(exp="later")])
def test_good_credentials(key):
    """Known formats pass, and a JWT up to its end; what cannot be read is the server's to judge."""
    check_credential(key, OFFICIAL_BASE_URL, clock=FixedClock())


@pytest.mark.parametrize("key", [None, "any", jwt(exp=1)])
def test_other_servers_judge_for_themselves(key):
    """For other servers there are no rules but that the key can be sent."""
    check_credential(key, LOCAL, clock=FixedClock())
    with pytest.raises(CredentialError):
        check_credential(key, OFFICIAL_BASE_URL, clock=FixedClock())
    with pytest.raises(CredentialError, match="one line"):
        check_credential("a\r\nX: b", LOCAL)


def test_claims():
    """The claims of a JWT are read without checking its signature."""
    token = jwt(exp=2, iat=1.5, sub="urn:u", org_id="o", email="e@example.com", iss="passport-1", other=[1])
    assert parse_claims(token) == JwtClaims(2.0, 1.5, "urn:u", "o", "e@example.com", "passport-1")


@pytest.mark.parametrize("exp", [True, "2", None, [], {}, float("inf"), float("nan"), 10**400])
def test_odd_claims_are_none(exp):
    """A claim of the wrong type, or out of range, counts as left out."""
    assert parse_claims(jwt(exp=exp, iat=exp, sub=3, email="")) == JwtClaims()


@pytest.mark.parametrize("payload", ["[]", "3", "{", "", "[" * 100_000, '{"exp": ' + "9" * 5000 + "}"])
def test_payloads_that_are_no_claims(payload):
    """A payload that is no object, or no JSON, makes no JWT."""
    assert parse_claims(f"eyJ.{base64.urlsafe_b64encode(payload.encode()).decode()}.x") is None


@given(st.text() | st.tuples(st.text(), st.text(), st.text()).map(".".join))
def test_any_text_is_a_jwt_or_not(token):
    """No text makes the reader fail."""
    assert parse_claims(token) is None or isinstance(parse_claims(token), JwtClaims)
