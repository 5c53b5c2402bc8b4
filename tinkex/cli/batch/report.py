"""``tinkex batch report``."""

from __future__ import annotations

import pathlib

import click

from tinkex.cli._app import usage_error
from tinkex.cli._screen import print_text, working


@click.command()
@click.argument("output", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path))
@click.option("-o", "--page", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Default: OUTPUT, .html.")
@click.option(
    "--tokenizer", metavar="NAME|PATH", help="What shows tokens as text. Default: the model's own, if it is here."
)
@click.option("--samples", type=click.IntRange(0, 1000), default=12, show_default=True, help="Rows drawn at random.")
@click.option(
    "--where", multiple=True, metavar="NAME=VALUE",
    help="Only rows with this value in a column of their own, or in model, id or status; may be given several times.",
)  # fmt: skip
def command(
    *, output: pathlib.Path, page: pathlib.Path | None, tokenizer: str | None, samples: int, where: tuple[str, ...]
) -> None:
    """Make a page of HTML to look at the results of a batch, finished or not.

    The page is one file, without scripts, and asks the network for nothing. Its path is printed.

    \b
      tinkex batch report answers.jsonl && open answers.html
    """  # noqa: D301 - click wants the character itself
    from tinkex.report import batch_report

    wanted: dict[str, list[str]] = {}
    for text in where:
        name, equals, value = text.partition("=")
        if not name or not equals:
            usage_error(f"--where takes NAME=VALUE, not {text!r}.")
        wanted.setdefault(name, []).append(value)
    page = page or output.with_suffix(".html")
    if page.resolve() == output.resolve():
        usage_error(f"The page would replace {output}: give another path with -o.")
    with working(f"Reading {output}"):
        try:
            html = batch_report(output, tokenizer=tokenizer, samples=samples, where=wanted)
        except ModuleNotFoundError as error:
            usage_error(f"The report needs {error.name}. Run: pip install 'tinkex[report]'")
    page.write_text(html, encoding="utf-8")
    print_text(str(page))
