"""Server options: the server that a command asks, and the client for it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from tinkex.cli._app import with_options
from tinkex.cli._screen import working
from tinkex.cli.options.connect import Target, open_service, wrong_arguments
from tinkex.cli.options.seconds import Seconds

_DEFAULT_TIMEOUT: Final = 60.0
_OPTIONS: Final = (
    click.option("--base-url", metavar="URL", help="The server. Default: TINKER_BASE_URL, else the official one."),
    click.option(
        "--timeout", type=Seconds(), default=_DEFAULT_TIMEOUT, show_default=True,
        metavar="SECONDS", help="Give up on a request after this long.",
    ),
)  # fmt: skip


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which server to ask; they arrive as one ``target``."""

    @functools.wraps(command)
    def with_target(*, base_url: str | None, timeout: float, **options: Any) -> Any:
        target = Target(base_url=base_url, timeout=timeout, local=bool(options.pop("local", False)))
        return command(target=target, **options)

    return with_options(_OPTIONS, with_target)


@contextlib.contextmanager
def asking(target: Target, what: str) -> Iterator[tuple[Any, Callable[[str], None]]]:
    """Open a service client of the target, and a progress display to update; closed again at the end."""
    with open_service(target) as service, working(f"Fetching {what}") as show_progress, wrong_arguments():
        yield service, show_progress
