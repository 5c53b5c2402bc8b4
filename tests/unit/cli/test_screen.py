from __future__ import annotations

import contextlib
import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("click")
pytest.importorskip("rich")

from tinkex.cli import _screen as screen


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Standard output and error on an 80-column terminal; what they show is read through it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    return capsys.readouterr


def test_text_cannot_steer_the_terminal(terminal):
    """On a terminal, control characters are shown as replaced; lines and tabs stay."""
    screen.print_text("a\tb\n\x1b[2J\x07")
    assert terminal().out == "a\tb\n\ufffd[2J\ufffd\n"


def test_text_goes_into_a_pipe_as_it_is(capsys):
    """A program that reads the output gets every character."""
    screen.print_text("\x1b[2J")
    assert capsys.readouterr().out == "\x1b[2J\n"


def test_notes_are_for_people(capsys):
    """Without a terminal there are no notes and no spinner."""
    screen.note("fast")
    with screen.working("busy") as say:
        say("still busy")
    assert capsys.readouterr() == ("", "")


def test_rule_separates_results(terminal):
    """Results are separated by a line as wide as the terminal."""
    screen.rule("1 of 2")
    assert terminal().out.startswith("1 of 2 ")


def test_table_aligns_numbers(terminal):
    """A table aligns its numbers to the right and the text to the left."""
    drawn = screen.table("token", "text", right=1)
    drawn.add_row("7", "a")
    screen.console().print(drawn)
    assert "    7  a" in terminal().out


def test_download_that_is_not_needed_shows_nothing(capsys):
    """Nothing is said unless something is downloaded."""
    with screen.downloading("Downloading it"):
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("encoding", "written"), [("utf-8", '"é"'), ("ascii", '"\\u00e9"')])
def test_json_fits_the_encoding(monkeypatch, capsys, encoding, written):
    """JSON is readable where the output can hold it, and escaped where it cannot."""
    monkeypatch.setattr(screen, "_writes_unicode", lambda _: encoding == "utf-8")
    screen.print_json("é")
    assert capsys.readouterr().out == f"{written}\n"


STEERING = "a\x1b[31m \x7f \x9b31m \u202egnp.exe \u2028 \u200d \U000e0001 z\u00fcrich \u6771 \ud83d"


@given(st.text() | st.just(STEERING))
def test_json_steers_no_terminal(text):
    """What is printed as JSON has no control or formatting characters, and is still the same value."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        screen.print_json({"text": text, text: [text]})
    line = printed.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert json.loads(line) == {"text": text, text: [text]}


def test_rows_on_a_terminal():
    """Rows that go to a terminal are the same values, in lines, without control or formatting characters."""
    raw = io.BytesIO()
    writer = screen.PrintableWriter(raw)
    rows = [{"text": STEERING.encode("utf-8", "replace").decode()}, {"text": "b"}]
    data = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    assert writer.write(memoryview(data)) == len(data)
    lines = raw.getvalue().decode().splitlines()
    assert all(line.isprintable() for line in lines)
    assert [json.loads(line) for line in lines] == rows
    assert "z\u00fcrich" in lines[0]
