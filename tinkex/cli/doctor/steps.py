"""Command ``tinkex doctor``: which steps there are, in which order, and how they are shown."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any, Final

import attrs
import click

from tinkex import ServiceClient
from tinkex.cli._app import usage_error
from tinkex.cli._screen import console, harmless, print_json, print_text, working
from tinkex.cli.doctor import here
from tinkex.cli.doctor.finding import FAILED, PASSED, Finding, Step, examined
from tinkex.cli.doctor.network import Way
from tinkex.cli.doctor.service import Visit, once
from tinkex.cli.options.connect import fetch_local_model, wrong_arguments
from tinkex.cli.options.seconds import Seconds
from tinkex.config import ClientConfig, config_from_env
from tinkex.credentials import COMMAND_TIMEOUT

_STYLES: Final = {"ok": "green", "warning": "yellow", FAILED: "bold red", "skipped": "dim", "not used": "dim"}
_PATIENCE: Final = 6  # a sample may take so many times as long as another step
_WIDTH: Final = max(map(len, ("client config", "environment")))


@click.command()
@click.option("--local", is_flag=True, help="Examine the small model on this machine.")
@click.option("--base-model", metavar="NAME", help="Sample the token from this model. Default: the server's first.")
@click.option(
    "--model-path", metavar="PATH", help="Sample the token from saved weights, tinker://..., of --base-model."
)
@click.option("--base-url", metavar="URL", help="The server. Default: TINKER_BASE_URL, else the official one.")
@click.option(
    "--timeout", type=Seconds(), default=10.0, show_default=True, metavar="SECONDS",
    help="Give up on a step after this long; the sample has six times as long.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def command(*, as_json: bool, timeout: float, local: bool, **where: str | None) -> int:
    """Find out what keeps sampling from working.

    Goes the way of a sample step by step, from the environment to a heartbeat. It says how long each step took, and
    where one fails, the likely cause and what to do next. One token is sampled, and billed as usual.
    """
    if local and any(where.values()):
        usage_error("--local stands alone: leave out --base-url, --base-model and --model-path.")
    with _quiet(), _examination(local, timeout, where) as (server, steps):
        findings: list[Finding] = []
        if not as_json:
            _print_heading(server)
        for step in steps:
            with working(f"{step.name} ..."):
                finding = examined(step, frozenset(each.name for each in findings if each.verdict in PASSED))
            findings.append(finding)
            if not as_json:
                _print_finding(finding)
    good = all(finding.verdict != FAILED for finding in findings)
    if as_json:
        print_json({"ok": good, "server": server, "steps": [attrs.asdict(finding) for finding in findings]})
    return 0 if good else 1


@contextlib.contextmanager
def _examination(local: bool, seconds: float, where: dict[str, str | None]) -> Iterator[tuple[str, list[Step]]]:
    """The server's URL and the steps to take; what they have opened is closed at the end."""
    with contextlib.ExitStack() as opened:
        model_server = _local_service() if local else None
        if model_server is not None:
            opened.callback(model_server.close, 0.0, cancel_pending=True)
        config, problem = (model_server.config, None) if model_server else _configured(where["base_url"])
        model = {name: value for name in ("base_model", "model_path") if (value := where[name])}
        visit = Visit(lambda: model_server or ServiceClient(config=once(config, seconds)), model, seconds, _PATIENCE)
        opened.callback(visit.close)
        way = Way(config, seconds)
        opened.callback(way.close)
        yield (
            config.base_url,
            [
                Step("environment", (), COMMAND_TIMEOUT, here.environment),
                Step("key", (), COMMAND_TIMEOUT, lambda: here.key(config, problem, local=local)),
                Step("DNS", (), seconds, way.dns),
                Step("TCP", ("DNS",), seconds, way.tcp),
                Step("proxy", ("TCP",), seconds, way.proxy),
                Step("TLS", ("proxy",), seconds, way.tls),
                Step("auth", ("key", "TLS"), 3 * seconds, visit.auth),
                Step("client config", ("auth",), seconds, visit.client_config),
                Step("session", ("client config",), seconds, visit.session),
                Step("sample", ("session",), 2 * _PATIENCE * seconds, visit.sample),
                Step("heartbeat", ("session",), seconds, visit.heartbeat),
            ],
        )


def _local_service() -> ServiceClient:
    fetch_local_model()
    with working("Starting the local model"):
        return ServiceClient.local()


def _configured(base_url: str | None) -> tuple[ClientConfig, str | None]:
    """The settings of a client made now; where the key keeps them from being made, those without it, and why."""
    try:
        return config_from_env(base_url=base_url), None
    except ValueError as error:
        keyless = {name: value for name, value in os.environ.items() if name != "TINKER_API_KEY"}
        with wrong_arguments():
            return config_from_env(keyless, base_url=base_url), str(error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client's log to itself: the findings say it all."""
    logger = logging.getLogger("tinkex")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.disabled = before


def _print_heading(server: str) -> None:
    if sys.stdout.isatty():
        console().print(harmless(server), style="bold", markup=False, soft_wrap=True)
    else:
        print_text(server)


def _print_finding(finding: Finding) -> None:
    time = f"{finding.seconds * 1000:.0f} ms" if finding.verdict != "skipped" else ""
    more = [("cause" if finding.verdict == FAILED else "note", finding.cause), ("next", finding.advice)]
    if not sys.stdout.isatty():
        print_text("\t".join([finding.name, finding.verdict, time, harmless(finding.says)]))
        for name, words in more:
            if words:
                print_text(f"\t{name}\t\t{harmless(words)}")
        return
    from rich.table import Table
    from rich.text import Text

    drawn: Any = Table.grid(padding=(0, 2))
    drawn.add_column(width=_WIDTH)
    drawn.add_column(width=len("not used"))
    drawn.add_column(width=len("12345 ms"), justify="right")
    drawn.add_column(overflow="fold")
    drawn.add_row(finding.name, Text(finding.verdict, _STYLES[finding.verdict]), time, Text(harmless(finding.says)))
    for name, words in more:
        if words:
            drawn.add_row("", Text(name, "dim"), "", Text(harmless(words)))
    console().print(drawn)
