"""Lines of a chat: from a terminal, with editing and a history, or from a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

from tinkex.cli.options.prompt import decoded_input

_PROMPT: Final = "> "
_GOES_ON: Final = "... "


def is_interactive() -> bool:
    """Whether a person types, and reads the answers."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def read_messages() -> Iterator[str]:
    """Yield what the user says, which may be empty: a line each, and those that end with a backslash with the next."""
    said: list[str] = []
    for line in _typed() if is_interactive() else _piped():
        if line is None:
            said.clear()
            continue
        said.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            yield "\n".join(said)
            said.clear()
    yield "\n".join(said)


def _typed() -> Iterator[str | None]:
    """Yield lines as they are typed, and None where Ctrl-C drops what was."""
    with contextlib.suppress(ImportError):  # line editing, and what was typed before with the arrow keys
        import readline

        del readline
    prompt = _PROMPT
    while True:
        try:
            line = input(prompt)
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            prompt = _PROMPT
            yield None
            continue
        prompt = _GOES_ON if line.endswith("\\") else _PROMPT
        yield line


def _piped() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield decoded_input(line)
