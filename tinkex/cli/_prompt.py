"""Where a command's text comes from: the argument, a file or standard input."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final, cast

import click

from tinkex.cli._app import usage_error

_PARAMETERS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.argument("prompt", metavar="[TEXT|-]", required=False),
    click.option("-f", "--file", type=click.File("rb"), metavar="PATH", help="Read the text from a file."),
)


def prompt_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a text argument and ``--file``; what they name arrives as one ``text``."""

    @functools.wraps(command)
    def with_text(*, prompt: str | None, file: BinaryIO | None, **options: Any) -> None:
        command(text=_read(prompt, file), **options)

    decorated: Any = with_text
    for parameter in reversed(_PARAMETERS):
        decorated = parameter(decorated)
    return cast("Callable[..., None]", decorated)


def _read(prompt: str | None, file: BinaryIO | None) -> str:
    if prompt is not None and file is not None:
        usage_error("Give the text or --file, not both.")
    if prompt is not None and prompt != "-":
        text = prompt
    elif file is None and prompt is None and sys.stdin.isatty():
        usage_error("Give a text, --file, or - to read standard input.")
    else:
        text = _contents(file or sys.stdin.buffer)
    if not text:
        usage_error("The text is empty.")
    return text


def _contents(source: BinaryIO) -> str:
    try:
        return source.read().decode().removesuffix("\n")  # the end of the last line is the editor's, not the prompt's
    except UnicodeDecodeError as error:
        usage_error(f"The input is not UTF-8 text: {error.reason} at byte {error.start}.")
