"""``tinkex logprobs``."""

from __future__ import annotations

import math
import pathlib
import sys

import attrs
import click

from tinkex.cli._connect import Target, connected, target_options, wrong_arguments
from tinkex.cli._prompt import prompt_options
from tinkex.cli._screen import finite, harmless, note, print_json, print_text, show, table, working
from tinkex.types import ModelInput


@click.command()
@prompt_options
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Write a page, coloured, as well."
)
def command(*, text: str, target: Target, as_json: bool, html: pathlib.Path | None) -> None:
    """Show how likely a model finds each token of a text.

    Prints a natural logarithm for every token; the first has none, since nothing stands before it.

    \b
      tinkex logprobs --local "The capital of France is"
    """  # noqa: D301 - click wants the character itself
    with connected(target) as model:
        with wrong_arguments():
            prompt = ModelInput.from_text(text, model.tokenizer)
            future = model.client.compute_logprobs(prompt, timeout=target.timeout)
        with working(f"Asking {model.model}"):
            logprobs = finite(future.result())
        rows = [
            Row(token, model.tokenizer.decode([token]), logprob)
            for token, logprob in zip(prompt.to_ints(), logprobs or (), strict=True)
        ]
        if html is not None:
            from tinkex.report import logprobs_report

            page = logprobs_report(prompt.to_ints(), logprobs, model.tokenizer, model=model.model)
            html.write_text(page, encoding="utf-8")
    known = [row.logprob for row in rows if row.logprob is not None]
    total, perplexity = sum(known), math.exp(-sum(known) / len(known)) if known else None
    if as_json:
        tokens = [attrs.asdict(row) for row in rows]
        print_json({"model": model.model, "text": text, "tokens": tokens, "total": total, "perplexity": perplexity})
        return
    _show(rows)
    note(
        f"{len(rows)} tokens, log-probability {total:.4f} in all" + (f", perplexity {perplexity:.2f}" if known else "")
    )


@attrs.frozen
class Row:
    """One token of the text, and how likely it was where it stands."""

    token: int
    text: str
    logprob: float | None

    def cells(self) -> tuple[str, str, str]:
        """Return what to show: token id, log-probability, and text with its spaces visible."""
        return str(self.token), "-" if self.logprob is None else f"{self.logprob:.4f}", repr(self.text)


def _show(rows: list[Row]) -> None:
    if not sys.stdout.isatty():
        for row in rows:
            print_text("\t".join(row.cells()))
        return
    from rich.text import Text

    drawn = table("token", "logprob", "text")
    for row in rows:
        drawn.add_row(*(Text(harmless(cell)) for cell in row.cells()))
    show(drawn)
