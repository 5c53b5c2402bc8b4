from __future__ import annotations

import json
import sys

import pytest

from tinkex.plugins import llm_names


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """Runs a command of llm at some time; the names that are known, and how often the server was asked so far."""
    asked = []
    monkeypatch.setattr(llm_names, "_path", lambda: tmp_path / "models.json")
    monkeypatch.setattr(llm_names, "_ask", lambda *, complains: asked.append(complains) or ["listed"])

    def ask(arguments, now=1e9):
        monkeypatch.setattr(sys, "argv", ["llm", *arguments.split()])
        monkeypatch.setattr(llm_names.time, "time", lambda: now)
        return llm_names.known_names(), len(asked)

    return ask


def test_named(ask):
    """A model that a command names is known, and then the server is not asked."""
    assert ask("-m tinkex/tinker://run/1 hello") == (["tinker://run/1"], 0)
    assert ask("-m gpt-9 hello") == ([], 0)


def test_listed(ask):
    """The server is asked when its list is a day old; where models are listed, a minute."""
    assert ask("hello") == (["listed"], 1)
    assert ask("hello", 1e9 + 80_000) == (["listed"], 1)
    assert ask("models", 1e9 + 80_000) == (["listed"], 2)
    assert ask("models", 1e9 + 80_030) == (["listed"], 2)
    assert ask("hello", 1e9 + 200_000) == (["listed"], 3)
    assert ask("hello", 1e8) == (["listed"], 4)  # a clock that was set back


def test_used(ask, monkeypatch):
    """Models that were used are known afterwards, at their server."""
    for name in ("mine", "mine", "listed"):
        ask("hello")
        llm_names.remember(name)
    assert ask("hello")[0] == ["mine", "listed"]
    monkeypatch.setenv("TINKER_BASE_URL", "http://another")
    assert ask("hello")[0] == ["listed"]
    monkeypatch.delenv("TINKER_BASE_URL")
    assert ask("hello")[0] == ["mine", "listed"]


@pytest.mark.parametrize("kept", ["", "[]", "{", json.dumps({"": {}})])
def test_garbage(ask, tmp_path, kept):
    """A file that cannot be read is made anew."""
    (tmp_path / "models.json").write_text(kept)
    assert ask("hello") == (["listed"], 1)
    assert ask("hello") == (["listed"], 1)


def test_folder_that_cannot_be_written(ask, monkeypatch, tmp_path):
    """Without a place to keep it, the list is asked for each time."""
    monkeypatch.setattr(llm_names, "_path", lambda: tmp_path / "nowhere" / "models.json")
    assert ask("hello") == (["listed"], 1)
    assert ask("hello") == (["listed"], 2)
