"""``tinkex batch run``."""

from __future__ import annotations

import functools
import importlib.util
import io
import pathlib
import sys
import threading
from typing import Any, BinaryIO, cast

import click

from tinkex.cli._app import usage_error
from tinkex.cli._screen import PrintableWriter
from tinkex.cli.batch.interrupt import how_to_go_on, interrupts
from tinkex.cli.batch.models import offline_models, online_models
from tinkex.cli.batch.progress import shown, tell_estimate, tell_summary
from tinkex.cli.options.connect import Target, open_service, target_options, wrong_arguments
from tinkex.cli.options.seconds import Seconds

_FORMATS = click.Choice(["jsonl", "csv", "tsv", "parquet"])


@click.command()
@click.argument("input", metavar="INPUT|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("-o", "--output", metavar="PATH|-", default="-", help="Where results go, and where a later run goes on.")
@click.option("-m", "--max-tokens", type=int, metavar="N", help="Most tokens of an answer, for rows that do not say.")
@click.option("-t", "--temperature", type=float, help="0 always takes the likeliest. Default: 1.")
@click.option("-n", "--num-samples", type=int, metavar="N", help="How many answers to each row. Default: 1.")
@click.option("--seed", type=int, help="Repeat a result.")
@click.option("--top-k", type=int, help="Choose among the likeliest K tokens. Default: all.")
@click.option("--top-p", type=float, help="Choose among the likeliest share P. Default: all.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Stop at this text; may be given several times.")
@click.option("--best-of", type=int, metavar="N", help="Sample N answers to each row, and keep the best of them.")
@click.option("--best-by", "best_of_by", type=click.Choice(["mean_logprob", "logprob"]),
              help="What the best is picked by. Default: mean_logprob, the log-probability a token.")  # fmt: skip
@click.option(
    "--score/--no-score",
    default=None,
    help="Only find out how likely each token of the prompts \
is; or sample rows with choices, too.",
)
@click.option("--prompt-logprobs", is_flag=True, help="Find that out as well.")
@click.option("--topk-logprobs", type=int, metavar="K", help="Name the likeliest K at each place of an answer.")
@click.option("--topk-prompt-logprobs", type=int, metavar="K", help="The same for the prompt.")
@click.option("--max-in-flight", type=click.IntRange(1), metavar="N", help="Most rows at once. Default: 1000.")
@click.option("--no-adapt", is_flag=True, help="Have as many as that at once, whether it helps or not.")
@click.option("--requests-per-minute", type=float, metavar="N", help="Send no more than this.")
@click.option("--tokens-per-minute", type=float, metavar="N", help="Use no more than this, prompts included.")
@click.option("--engine", type=click.Choice(["threads", "ray"]), default="threads", show_default=True,
              help="Where to work: this process, or the actors of a Ray cluster.")  # fmt: skip
@click.option("--actors", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="For --engine ray.")
@click.option("--changed", type=click.Choice(["stop", "redo", "keep"]), default="stop", show_default=True,
              help="When the output has a row made with other parameters.")  # fmt: skip
@click.option("--max-failures", type=click.IntRange(0), metavar="N", help="Stop when more rows than this have failed.")
@click.option("--input-format", type=_FORMATS, help="Default: by the name, else jsonl.")
@click.option("--format", "form", type=click.Choice(["native", "openai"]), help="Default: as each row came.")
@click.option("--omit", multiple=True, type=click.Choice(["text", "tokens", "logprobs", "prompt", "prompt_tokens"]),
              help="Leave this out of the output; may be given several times.")  # fmt: skip
@click.option("--as-completed", is_flag=True, help="Do not bring the output into the order of the input at the end.")
@click.option("--escape-formulas", is_flag=True, help="In a .csv output, keep spreadsheets from computing texts.")
@click.option("--no-canary", is_flag=True, help="Do not look whether a later run meets the same weights.")
@click.option("--sync", "sync_seconds", type=Seconds(zero=True), default=1.0, show_default=True, metavar="SECONDS",
              help="How long a row may be where a power cut takes it.")  # fmt: skip
@click.option("--prices", type=click.Path(exists=True, dir_okay=False), help="A table of prices: TOML or JSON.")
@click.option("--dry-run", is_flag=True, help="Check every row and count tokens; send nothing.")
@click.option("--context-window", type=click.IntRange(1), metavar="N", help="For --dry-run: most tokens of a row.")
@functools.partial(target_options, several=True)
def command(
    *, input: str, output: str, target: Target, dry_run: bool, context_window: int | None, **options: Any
) -> int:
    """Sample every row of a file, and go on where an earlier run stopped.

    INPUT holds JSON lines, a JSON array, CSV, TSV or Parquet, packed or not: rows with a prompt, prompt_tokens or
    messages, an id, and parameters of their own where they need any; or lines of an OpenAI batch. Rows with choices or
    a completion have these scored. Every row goes to each model given, or to the one it names.

    \b
      tinkex batch run prompts.jsonl -o answers.jsonl --local --max-tokens 64
      tinkex batch run prompts.jsonl --dry-run --base-model Qwen/Qwen3-8B --max-tokens 64

    Exit code: 0 all rows have results, 1 some failed, 130 interrupted.
    """  # noqa: D301 - click wants the character itself
    from tinkex import bulk

    settings = _settings(options)
    options["engine"] = _engine(options.pop("engine"), options.pop("actors"))
    with wrong_arguments():
        limits = bulk.Limits(
            max_in_flight=options.pop("max_in_flight"), adaptive=not options.pop("no_adapt"),
            requests_per_minute=options.pop("requests_per_minute"), tokens_per_minute=options.pop("tokens_per_minute"),
        )  # fmt: skip
        prices_file = options.pop("prices")
        prices = bulk.Prices.read(prices_file) if prices_file else None
    _check_files(input, output)
    if dry_run:
        with wrong_arguments():
            estimate = bulk.estimate(
                input, offline_models(target), output=None if output == "-" else output, limits=limits, prices=prices,
                context_window=context_window, input_format=options["input_format"], **settings,
            )  # fmt: skip
        tell_estimate(estimate)
        return 1 if estimate.invalid or estimate.too_long else 0
    halt = threading.Event()
    with open_service(target) as service:
        models = online_models(service, target, text="text" not in options["omit"])
        try:
            with interrupts(halt) as interrupted, shown(results_here=output == "-") as show, wrong_arguments():
                summary = bulk.run(
                    input, _results() if output == "-" else output, models, limits=limits, prices=prices,
                    timeout=target.timeout, in_order=not options.pop("as_completed"),
                    canary=not options.pop("no_canary"), halt=halt, on_progress=show,
                    **options, **settings,
                )  # fmt: skip
        except KeyboardInterrupt:
            interrupted.set()
            summary = None
    if summary is not None:
        tell_summary(summary)
    if interrupted.is_set():
        click.echo(f"tinkex: interrupted; {how_to_go_on(results_here=output == '-')}", err=True)
        return 130
    return 1 if summary is None or summary.failed or summary.interrupted else 0


def _engine(name: str, actors: int) -> Any:
    from tinkex import bulk

    if name == "threads":
        return bulk.perform
    if importlib.util.find_spec("ray") is None:
        usage_error("--engine ray needs Ray. Run: pip install 'tinkex[ray]'")
    from tinkex.ray import RayEngine

    return RayEngine(actors=actors)


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Take the parameters of the rows out of the options: those that were given."""
    names = ("max_tokens", "temperature", "num_samples", "seed", "top_k", "top_p", "best_of", "best_of_by", "score")
    settings = {name: options.pop(name) for name in names}
    settings["topk_sample_logprobs"] = options.pop("topk_logprobs")
    settings["topk_prompt_logprobs"] = options.pop("topk_prompt_logprobs")
    settings["include_prompt_logprobs"] = options.pop("prompt_logprobs") or None
    settings["stop"] = list(options.pop("stop")) or None
    return {name: value for name, value in settings.items() if value is not None}


def _check_files(input: str, output: str) -> None:
    if output == "-" or input == "-":
        return
    if pathlib.Path(output).exists() and pathlib.Path(input).samefile(output):
        usage_error("The output would be written into the input: give another path with -o.")
    if not pathlib.Path(output).resolve().parent.is_dir():
        usage_error(f"There is no folder {pathlib.Path(output).parent} for the output.")


def _results() -> BinaryIO:
    """Standard output without a buffer: a row is out when it is written."""
    sys.stdout.flush()
    raw = io.FileIO(sys.stdout.fileno(), "wb", closefd=False)
    return cast("BinaryIO", PrintableWriter(raw)) if sys.stdout.isatty() else cast("BinaryIO", raw)
