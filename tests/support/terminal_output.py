"""Commands run as at a terminal, and what they show compared with what a page says they show."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

DURATION = re.compile(r"\d+:\d\d:\d\d|\d+(\.\d+)?( s\b| tokens/s)")
NUMBER = re.compile(r"-?\d+\.\d+")
ROUNDING = 0.3  # how far the log-probabilities of one model differ between its runtimes and processors


def shown(app: click.Command, arguments: list[str]) -> str:
    """What the command line shows at a terminal of 80 columns without colours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "dumb")  # without spinners and bars, which are gone in the end
        patch.setenv("COLUMNS", "80")
        patch.setattr(click.testing._NamedTextIOWrapper, "isatty", lambda _: True)
        return CliRunner().invoke(app, arguments, prog_name="tinkex").output


def run_program(arguments: list[str]) -> str:
    """What a Python program prints."""
    return subprocess.check_output([sys.executable, *arguments], text=True)


def alike(expected: str, got: str) -> bool:
    """Whether two outputs are the same but for durations, line breaks, and the rounding of log-probabilities."""
    texts = [DURATION.sub("duration", text) for text in (expected, got)]
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in texts]
    words = [NUMBER.sub("number", text) for text in texts]
    return doctest.OutputChecker().check_output(*words, doctest.NORMALIZE_WHITESPACE) and all(
        abs(one - other) < ROUNDING for one, other in zip(*numbers, strict=True)
    )
