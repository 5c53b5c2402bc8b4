"""Command ``tinkex serve``: a gateway for programs that speak OpenAI's API."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

import tinkex
from tinkex.cli._app import usage_error
from tinkex.cli._screen import note, print_text, working
from tinkex.cli.options.connect import Target, open_service, wrong_arguments
from tinkex.errors import MissingFeatureError, NotFoundError, extra

with extra("serve", "tinkex serve"):
    from tinkex.serve import Gateway

_SECONDS = 60.0


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL | NAME=PATH]...")
@click.option("--local", is_flag=True, help="Serve the small model on this machine: no key, no server.")
@click.option("--base-url", metavar="URL", help="The server. Default: TINKER_BASE_URL, else the official one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need --api-key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 is a free one.")
@click.option(
    "--api-key", multiple=True, envvar="TINKEX_SERVE_API_KEY", metavar="KEY",
    help="Key that clients must send; may be given several times. Better in TINKEX_SERVE_API_KEY, unseen by others.",
)  # fmt: skip
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
    help="Host name by which clients address it through a proxy in front; may be given several times.",
)  # fmt: skip
@click.option("--tokenizer", metavar="NAME|PATH", help="The tokenizer. Default: each model's own.")
@click.option("--max-tokens", type=click.IntRange(1), help="Most tokens of a chat's answer where a request says none.")
def command(*, models: tuple[str, ...], local: bool, base_url: str | None, **options: Any) -> None:
    """Serve models to programs that speak OpenAI's API, until Ctrl-C.

    Prints the URL that clients take. Without models, all that the server has are served, and saved weights by their
    tinker:// paths.

    \b
      tinkex serve --local
      tinkex serve Qwen/Qwen3-8B mine=tinker://run/sampler_weights/1
    """  # noqa: D301 - click wants the character itself
    if local and base_url:
        usage_error("--local stands alone: leave out --base-url.")
    signal.signal(signal.SIGTERM, _stop)
    with _service(base_url, local=local) as service:
        with wrong_arguments():
            gateway = Gateway(service, models or None, **{**options, "api_key": options["api_key"] or None})
        with working("Connecting"), contextlib.suppress(MissingFeatureError, NotFoundError):
            service.get_server_capabilities(timeout=_SECONDS)  # what is wrong is told now, not to the first client
        with _shown_requests(), gateway:
            print_text(f"{gateway.url}/v1")
            note(f"{gateway.url} in a browser is a playground. Ctrl-C stops the gateway.")
            while True:
                time.sleep(1.0)


def _service(base_url: str | None, *, local: bool) -> tinkex.ServiceClient:
    if local:
        service: tinkex.ServiceClient = open_service(Target(local=True))
        return service
    with wrong_arguments():
        return tinkex.ServiceClient(base_url=base_url)


class _RequestLines(logging.Handler):
    """Log handler that shows the requests; warnings are shown for all commands."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        if record.levelno < logging.WARNING:
            click.echo(record.getMessage(), err=True)


@contextlib.contextmanager
def _shown_requests() -> Iterator[None]:
    logger, handler = logging.getLogger("tinkex.serve"), _RequestLines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _stop(signum: int, frame: Any) -> None:
    del frame
    sys.exit(128 + signum)
