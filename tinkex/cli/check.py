"""Command ``tinkex check``."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from tinkex.check import ALL_NAMES, CheckResult, Checkup
from tinkex.check.canary import read_canaries, write_canaries
from tinkex.cli._app import usage_error
from tinkex.cli._screen import console, harmless, print_json, print_text, working
from tinkex.cli.options.connect import Target, only_model, open_service, wrong_arguments
from tinkex.cli.options.seconds import Seconds
from tinkex.errors import extra
from tinkex.tokenizers import Tokenizer, get_tokenizer, tokenizer_at_hand

_STYLES: Final = {"ok": "green", "fault": "bold red", "absent": "yellow", "unknown": "dim", "skipped": "dim"}
_FILE: Final = click.Path(dir_okay=False, path_type=pathlib.Path)


@click.command()
@click.option("--local", is_flag=True, help="Check the small model on this machine.")
@click.option("--base-model", metavar="NAME", help="The model. Default: the only one that the server offers.")
@click.option(
    "--model-path",
    "model_paths",
    multiple=True,
    metavar="PATH",
    help="Saved weights, tinker://..., to compare with it; may be given several times.",
)
@click.option("--base-url", metavar="URL", help="The server. Default: TINKER_BASE_URL, else the official one.")
@click.option("--tokenizer", metavar="NAME|PATH", help="For stops as text. Default: the model's own, if it is here.")
@click.option("--end-token", "end_tokens", type=click.IntRange(0), multiple=True, metavar="ID", help="Ends an answer.")
@click.option("--context-length", type=click.IntRange(16), metavar="N", help="Fill a context of N tokens, once.")
@click.option("--only", type=click.Choice(ALL_NAMES), multiple=True, metavar="CHECK", help="Run this; several times.")
@click.option("--budget", type=click.IntRange(0), metavar="TOKENS", help="Leave out what would take more than this.")
@click.option("--canary", type=_FILE, help="Compare the weights with those of an earlier run, kept in this file.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, and send nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before samples are sent.")
@click.option(
    "--timeout",
    type=Seconds(),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up on a sample after this long.",
)
@click.option(
    "--limit",
    type=Seconds(zero=True, endless=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Sample nothing more after this long.",
)
@click.option("--html", type=_FILE, help="Write a page as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def command(
    *,
    local: bool,
    base_url: str | None,
    base_model: str | None,
    model_paths: tuple[str, ...],
    tokenizer: str | None,
    canary: pathlib.Path | None,
    dry_run: bool,
    yes: bool,
    html: pathlib.Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Find out whether a server samples as it is asked to.

    Samples for about a minute, says first how many tokens that takes, and reports each check with its evidence. Model
    and parameters are those of a user: temperature, top_k, top_p, seeds, stops, log-probabilities, saved weights, and
    the protocol.

    \b
      tinkex check --local --yes
      tinkex check --base-url http://127.0.0.1:8000 --base-model m --html check.html

    Exit code: 0 no fault, 1 some, 2 wrong usage.
    """  # noqa: D301 - click wants the character itself
    if local and (base_url or base_model or model_paths):
        usage_error("--local stands alone: leave out --base-url, --base-model and --model-path.")
    with wrong_arguments():
        before = None if canary is None else read_canaries(canary)
    target = Target(local=local, base_url=base_url)
    with open_service(target) as service, wrong_arguments():
        if base_model is None and not model_paths:
            base_model = service.local_model if local else only_model(service, options["timeout"])
        model = base_model or model_paths[0]
        decoder = _tokenizer(service, model, tokenizer, local=local)
        options["only"] = options["only"] or None
        options["end_tokens"] = options["end_tokens"] or _end_tokens(decoder)
        options["tokens"] = options.pop("budget")
        options["context"] = options.pop("context_length")
        checkup = Checkup(
            service, base_model=base_model, model_paths=model_paths, tokenizer=decoder, before=before, **options
        )
        _announce(checkup, f"{model} at {service.config.base_url}")
        if dry_run:
            return 0
        if not yes and sys.stdin.isatty():
            click.confirm("Go on?", default=True, abort=True, err=True)
        with working("Checking"):
            report = checkup.run((lambda _: None) if as_json else _print_result)
    if canary is not None:
        write_canaries(canary, {**checkup.canaries, **(before or {})})
    if as_json:
        print_json(report.to_dict())
    if html is not None:
        _write_page(html, report.to_dict())
    return 0 if report.ok else 1


def _tokenizer(service: Any, model: str, chosen: str | None, *, local: bool) -> Tokenizer | None:
    if chosen is not None:
        return get_tokenizer(chosen)
    if local:
        found: Tokenizer = service.create_sampling_client(base_model=model).get_tokenizer()
        return found
    return tokenizer_at_hand(model)


def _end_tokens(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer, as far as the tokenizer says it."""
    if (ids := getattr(tokenizer, "end_ids", None)) is not None:
        return tuple(ids)
    name = tokenizer.chat_files.special_tokens.get("eos_token") if hasattr(tokenizer, "chat_files") else None
    found = tokenizer.encode_rendered(name) if name else []
    return tuple(found) if len(found) == 1 else ()


def _announce(checkup: Checkup, where: str) -> None:
    cost = checkup.cost
    click.echo(
        f"Up to {cost.requests:,} requests, with {cost.prompt_tokens:,} tokens of prompts and {cost.sampled_tokens:,}"
        f" sampled, go to {harmless(where)}.",
        err=True,
    )


def _write_page(path: pathlib.Path, report: Mapping[str, Any]) -> None:
    with extra("report", "A page"):
        from tinkex.report import check_report

    path.write_text(check_report(report), encoding="utf-8")


def _print_result(result: CheckResult) -> None:
    lines = [("means", result.means), ("next", result.advice)]
    if not sys.stdout.isatty():
        print_text("\t".join([result.name, result.verdict, harmless(result.says).replace("\n", " ")]))
        for name, words in lines:
            if words:
                print_text(f"\t{name}\t{harmless(words)}")
        return
    from rich.table import Table
    from rich.text import Text

    drawn: Any = Table.grid(padding=(0, 2))
    drawn.add_column(width=max(map(len, ALL_NAMES)))
    drawn.add_column(width=max(map(len, _STYLES)))
    drawn.add_column(overflow="fold")
    drawn.add_row(result.name, Text(result.verdict, _STYLES[result.verdict]), Text(harmless(result.says)))
    for name, words in lines:
        if words:
            drawn.add_row("", Text(name, "dim"), Text(harmless(words)))
    console().print(drawn)
