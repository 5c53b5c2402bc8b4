"""``tinkex config show``: what the settings are and where they come from."""

from __future__ import annotations

import json

import pytest

CliRunner = pytest.importorskip("click.testing").CliRunner
app = pytest.importorskip("tinkex.cli._app").app
_settings = pytest.importorskip("tinkex.cli.options.settings")
KEY = "tml-0123456789abcdef"


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No setting comes from anywhere but a test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        for each in (name, name.upper(), "CURL_CA_BUNDLE"):
            monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def shown(*arguments):
    """The settings that are shown, by name: value and source."""
    result = CliRunner().invoke(app, ["config", "show", "--json", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return {each["name"]: (each["value"], each["source"]) for each in json.loads(result.stdout)["settings"]}


def test_defaults():
    """Without anything set, the defaults, and no key."""
    found = shown()
    assert found["base_url"] == ("https://tinker.thinkingmachines.dev/services/tinker-prod", "default")
    assert found["timeout"] == (7200.0, "default")
    assert found["retry.max_attempts"] == (20, "default")
    assert found["api_key"][0] is None
    assert found["api_key"][1].startswith("none: No API key")


def test_environment(monkeypatch):
    """A variable is named as the source of what it sets."""
    monkeypatch.setenv("TINKEX_TIMEOUT", "60")
    monkeypatch.setenv("TINKER_TAGS", "a,b")
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    found = shown()
    assert found["timeout"] == (60.0, "environment TINKEX_TIMEOUT")
    assert found["tags"] == (["a", "b"], "environment TINKER_TAGS")
    assert found["telemetry"] == (False, "environment TINKER_TELEMETRY")
    assert found["api_key"] == ("tml-…cdef", "environment TINKER_API_KEY")


def test_argument(monkeypatch):
    """An argument goes before the environment, and is named as the source."""
    monkeypatch.setenv("TINKER_BASE_URL", "http://127.0.0.1:1")
    assert shown()["base_url"] == ("http://127.0.0.1:1", "environment TINKER_BASE_URL")
    assert shown("--base-url", "http://127.0.0.1:2/")["base_url"] == ("http://127.0.0.1:2", "argument --base-url")


def test_file(tmp_path):
    """The key of a stored login comes from its file."""
    (tmp_path / ".tinker").mkdir()
    stored = {"version": 1, "default": "a", "keys": {"a": {"key": KEY}}}
    (tmp_path / ".tinker" / "credentials.json").write_text(json.dumps(stored))
    assert shown()["api_key"] == ("tml-…cdef", "file ~/.tinker/credentials.json")


def test_command(monkeypatch, tmp_path):
    """A credential command is named, and not run."""
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"touch {tmp_path}/ran")
    assert shown()["api_key"][1] == "command TINKER_CREDENTIAL_CMD"
    assert not (tmp_path / "ran").exists()


def test_secrets_are_masked(monkeypatch):
    """Neither the key nor a proxy's password nor a header's value is shown, in any form."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("https_proxy", "http://me:secret-1@proxy.test:3128")
    monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_ID", "secret-2")
    monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_SECRET", "secret-3")
    for form in ([], ["--all"], ["--json"], ["--jsonl"]):
        printed = CliRunner().invoke(app, ["config", "show", *form]).stdout
        assert "secret-" not in printed
        assert KEY not in printed
    found = shown()
    assert found["proxy in use"] == ("http://…@proxy.test:3128", "environment https_proxy")
    assert found["default_headers"] == (
        {"CF-Access-Client-Id": "…", "CF-Access-Client-Secret": "…"},
        "environment CLOUDFLARE_ACCESS_CLIENT_ID, CLOUDFLARE_ACCESS_CLIENT_SECRET",
    )


def test_lines(monkeypatch):
    """For a person what is at its default is left out, but for what matters most; --all shows it."""
    monkeypatch.setenv("TINKEX_WORKERS", "3")
    lines = CliRunner().invoke(app, ["config", "show"]).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        "api_key", "base_url", "timeout", "workers", "verify", "telemetry",
    ]  # fmt: skip
    assert "workers\t3\tenvironment TINKEX_WORKERS" in lines
    assert len(CliRunner().invoke(app, ["config", "show", "--all"]).stdout.splitlines()) > 30


def test_wrong_settings(monkeypatch):
    """A variable that cannot be used is named."""
    monkeypatch.setenv("TINKEX_TIMEOUT", "soon")
    result = CliRunner().invoke(app, ["config", "show"])
    assert (result.exit_code, "TINKEX_TIMEOUT" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("key", "words"), [(KEY, "tml-…cdef"), ("eyJ" + "x" * 40, "eyJ…xxxx"), ("tml-short", "tml-…"), ("odd", "…")]
)
def test_masks(key, words):
    """A mask shows the kind of a key, and its end where there is enough besides."""
    assert _settings.masked(key) == words
