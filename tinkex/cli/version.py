"""Command ``tinkex version``."""

from __future__ import annotations

import platform

import click

from tinkex import __version__
from tinkex.cli._screen import print_json, print_text


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """Show the version."""
    facts = {"tinkex": __version__, "python": platform.python_version(), "platform": platform.platform()}
    if as_json:
        print_json(facts)
    else:
        print_text(f"tinkex {__version__} (Python {facts['python']}, {facts['platform']})")
