"""Command ``tinkex local``: the small model that runs on this machine."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

import click

from tinkex.cli._app import Commands
from tinkex.cli._screen import note, print_text, working
from tinkex.cli.options.connect import fetch_local_model
from tinkex.errors import TinkexError, extra

with extra("local", "The local model"):
    import tinkex.local


@click.group(cls=Commands)
def command() -> None:
    """Fetch and serve the small model that runs on this machine."""


@command.command()
def fetch() -> None:
    """Download the model unless it is there, and print where it is."""
    print_text(str(fetch_local_model()))


@command.command()
def path() -> None:
    """Print where the model is; fails when it is not there."""
    with extra("local", "The local model"):
        found = tinkex.local.find_model()
    if found is None:
        raise TinkexError("the local model is not on this machine yet. Run: tinkex local fetch")
    print_text(str(found))


@command.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on. Default: a free one.")
@click.option("--gguf", type=click.Path(exists=True, dir_okay=False), help="Serve this model file instead.")
def serve(*, port: int, gguf: str | None) -> None:
    """Serve the model to programs on this machine until Ctrl-C.

    Prints the server's URL: set TINKER_BASE_URL to it, or pass it as --base-url.
    """
    signal.signal(signal.SIGTERM, _stop)
    if gguf is None:
        fetch_local_model()
    server = tinkex.local.LocalServer(gguf, port=port, on_sample=lambda report: note(str(report)))
    with working("Starting the server"):
        server.start()
    with server:
        note(f"{server.base_model}, computed by {server.runtime}.")
        print_text(server.url)
        note("Ctrl-C stops the server.")
        wait_while_running(server)


def wait_while_running(server: tinkex.local.LocalServer) -> None:
    """Sleep until a signal ends the command, or the server ends by itself, which is an error."""
    while server.url:
        time.sleep(1.0)


def _stop(signum: int, frame: Any) -> None:
    del frame
    sys.exit(128 + signum)
