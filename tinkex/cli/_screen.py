"""Terminal output: results on stdout, all else on stderr, colour and motion only on a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, TextIO

import click


def print_json(value: object) -> None:
    """Write one value as a line of JSON on stdout, in which what would steer a terminal is escaped."""
    text = json.dumps(value, ensure_ascii=not _writes_unicode(sys.stdout), allow_nan=False)
    click.echo(text if text.isprintable() else escape_unprintable(text))


def escape_unprintable(text: str) -> str:
    r"""Escape control and formatting characters in JSON, which leaves its value as it is.

    >>> escape_unprintable('"a\u009b\u202eb"\n')
    '"a\\u009b\\u202eb"\n'
    """
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


class PrintableWriter(io.RawIOBase):
    """Binary stream that writes lines of JSON to a terminal, with `escape_unprintable`; whole lines at a time."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self._raw = raw

    def writable(self) -> bool:
        """Whether it can be written to, as it can."""
        return True

    def write(self, data: Any) -> int:
        """Write lines."""
        text = bytes(data).decode("utf-8", "backslashreplace")
        rest = escape_unprintable(text).encode()
        while rest:
            rest = rest[self._raw.write(rest) :]
        return len(data)


def print_text(text: str) -> None:
    """Write text on stdout: as it is into a pipe or file, without control characters on a terminal."""
    sys.stdout.write((harmless(text) if sys.stdout.isatty() else text) + "\n")
    sys.stdout.flush()


def json_number(number: float | None) -> float | None:
    """Return a log-probability as JSON can hold it: -9999.0 for minus infinity, None for NaN.

    >>> [json_number(number) for number in (-1.5, float("-inf"), float("nan"))]
    [-1.5, -9999.0, None]
    """
    if number is None or number != number:
        return None
    return number if math.isfinite(number) else math.copysign(9999.0, number)


def note(text: str) -> None:
    """Write a remark for a person on stderr, where that is a terminal."""
    if sys.stderr.isatty():
        console(stderr=True).print(text, style="dim", markup=False)


def rule(title: str) -> None:
    """Draw a line that separates one result from the next on a terminal; a pipe gets the results alone."""
    if sys.stdout.isatty():
        from rich.text import Text

        console().rule(Text(harmless(title)), align="left", style="dim")


def harmless(text: str) -> str:
    r"""Replace control characters, which would steer the terminal.

    >>> harmless("red \x1b[31m")
    'red \ufffd[31m'
    """
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


@contextlib.contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner and the time taken, on a terminal; yields a function that changes its text."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda words: progress.update(task, description=words)


@contextlib.contextmanager
def downloading(text: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a download on stderr; yields a function that takes the bytes so far and the bytes in all."""
    if not sys.stderr.isatty():
        yield _announce_once(text)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def _announce_once(text: str) -> Callable[[int, int | None], None]:
    shown = False

    def show(done: int, total: int | None) -> None:
        nonlocal shown
        del done
        if not shown:
            click.echo(text + (f" ({total / 1e6:.0f} MB)" if total else ""), err=True)
        shown = True

    return show


def table(*columns: str, right: int = 0) -> Any:
    """Start a table for a terminal; its first `right` columns hold numbers and are right-aligned."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        made.add_column(name, justify="right" if number < right else "left", overflow="fold")
    return made


def console(*, stderr: bool = False) -> Any:
    """A rich console on stdout, or stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _writes_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")
