"""Command ``tinkex config``."""

from __future__ import annotations

import attrs
import click

from tinkex.cli._app import Commands
from tinkex.cli.options.connect import wrong_arguments
from tinkex.cli.options.settings import Setting, settings
from tinkex.cli.output.rows import Form, form_options, print_list


@click.group(cls=Commands)
def command() -> None:
    """Show the settings and where they come from."""


@command.command()
@click.option("--base-url", metavar="URL", help="Show the settings for another server.")
@click.option("-a", "--all", "everything", is_flag=True, help="Show also those that are at their default.")
@form_options
def show(*, base_url: str | None, everything: bool, form: Form) -> None:
    """Show each setting, its value, and where it comes from: argument, environment, file or default.

    Keys, passwords and header values are masked. Without --all, settings at their default are left out, but for the
    few that matter most.
    """
    with wrong_arguments():
        found = settings(base_url)
    shown = found if everything or form.json else [each for each in found if _matters(each)]
    print_list("settings", shown, lambda each: {**attrs.asdict(each), "value": _value(each)}, form)


def _matters(setting: Setting) -> bool:
    return setting.source != "default" or setting.name in ("base_url", "api_key", "timeout", "verify", "telemetry")


def _value(setting: Setting) -> str:
    value = setting.value
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
