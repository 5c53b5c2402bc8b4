"""Command ``tinkex completion``: shell completion of commands and options."""

from __future__ import annotations

import os
import pathlib

import click
from click.shell_completion import get_completion_class

from tinkex.cli._app import usage_error

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.pass_context
def command(context: click.Context, *, shell: str | None) -> None:
    """Print the lines that make a shell complete commands.

    Without a name the lines are for the shell that SHELL names. To have them in every new shell:

    \b
      bash   echo 'eval "$(tinkex completion bash)"' >> ~/.bashrc
      zsh    echo 'eval "$(tinkex completion zsh)"' >> ~/.zshrc
      fish   tinkex completion fish > ~/.config/fish/completions/tinkex.fish
    """  # noqa: D301 - click wants the character itself
    name = shell or pathlib.Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in _SHELLS else None
    if kind is None:
        usage_error("Say for which shell: bash, zsh or fish.")
    click.echo(kind(context.find_root().command, {}, "tinkex", "_TINKEX_COMPLETE").source())
