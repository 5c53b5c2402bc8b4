"""``tinkex batch``: the commands for batch inference on files."""

from __future__ import annotations

from typing import ClassVar

import click

from tinkex.cli._app import App


class BatchCommands(App):
    """The commands under ``batch``, each in a module of its own as well."""

    table: ClassVar[dict[str, str]] = {
        "run": "Sample every row of a file, and go on where an earlier run stopped.",
        "report": "Make a page to look at the results.",
    }
    package = "tinkex.cli.batch"


@click.group(cls=BatchCommands)
def command() -> None:
    """Sample whole files of prompts, and look at the results."""
