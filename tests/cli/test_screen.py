from __future__ import annotations

import sys

import pytest

from tinkex.cli import _screen as screen

pytest.importorskip("click")


pytest.importorskip("rich")


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Standard output and error on an 80-column terminal; what they show is read through it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    return capsys.readouterr


def test_notes_and_work_on_stderr(terminal):
    """On a terminal notes and spinner go to stderr alone, words in brackets untouched by markup."""
    screen.note("about [red]42[/red] tokens")
    with screen.working("busy [bold]") as say:
        say("done [bold]")
    shown = terminal()
    assert shown.out == ""
    assert "about [red]42[/red] tokens" in shown.err
    assert "[bold]" in shown.err


def test_no_color(terminal, monkeypatch):
    """NO_COLOR keeps the spinner without colour."""
    monkeypatch.setenv("NO_COLOR", "1")
    with screen.working("busy"):
        pass
    assert "\x1b[32m" not in terminal().err


def test_download_is_shown(terminal):
    """A download shows a bar with what has come."""
    with screen.downloading("Downloading it") as progress:
        progress(40_000_000, 80_000_000)
    assert "Downloading it" in terminal().err
