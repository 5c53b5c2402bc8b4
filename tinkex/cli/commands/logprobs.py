"""Command ``tinkex logprobs``."""

from __future__ import annotations

import math
import pathlib

import click

from tinkex.cli._screen import finite, note, print_json, working
from tinkex.cli.options.connect import Connected, Target, connected, target_options, wrong_arguments
from tinkex.cli.options.prompt import PromptSource, prompt_options
from tinkex.cli.output.rows import Form, form_options
from tinkex.cli.output.tokens import TokenRow, finite_or_none, print_tokens, token_rows
from tinkex.errors import extra
from tinkex.types import SampleResponse, SamplingParams


@click.command()
@prompt_options
@click.option("--topk", type=int, default=0, metavar="K", help="Show the likeliest in each place too.")
@click.option("--colors", is_flag=True, help="Colour each token by how likely it was.")
@target_options
@form_options
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Write a page, coloured, as well."
)
def command(
    *, source: PromptSource, target: Target, topk: int, colors: bool, form: Form, html: pathlib.Path | None
) -> None:
    """Show how likely a model finds each token of a text.

    Prints a natural logarithm for every token; the first has none, since nothing stands before it.

    \b
      tinkex logprobs --local "The capital of France is"
    """  # noqa: D301 - click wants the character itself
    with connected(target, tokenizer=source.needs_tokenizer or html is not None) as model:
        prompt, response = _score(model, source, topk, target.timeout)
        rows = token_rows(model.tokenizer, prompt, response.prompt_logprobs, response.topk_prompt_logprobs)
        if html is not None:
            _write_page(html, prompt, response, model)
    known = [row.logprob for row in rows if row.logprob is not None]
    total, perplexity = sum(known), math.exp(-sum(known) / len(known)) if known else None
    if form.json:
        record = {"model": model.model, **source.as_data(), "tokens": [_record(row) for row in rows]}
        print_json({**record, "total": total, "perplexity": perplexity})
        return
    if form.jsonl:
        for row in rows:
            print_json(_record(row))
        return
    print_tokens(rows, colors=colors)
    note(
        f"{len(rows)} tokens, log-probability {total:.4f} in all" + (f", perplexity {perplexity:.2f}" if known else "")
    )


def _score(
    model: Connected, source: PromptSource, topk: int, timeout: float | None
) -> tuple[list[int], SampleResponse]:
    with wrong_arguments():
        prompt = source.model_input(model.tokenizer, reply=False)
        future = model.client.sample(
            prompt, SamplingParams(max_tokens=1), include_prompt_logprobs=True, topk_prompt_logprobs=topk,
            timeout=timeout,
        )  # fmt: skip
    with working(f"Asking {model.model}"):
        response: SampleResponse = future.result()
    return prompt.to_ints(), response


def _write_page(path: pathlib.Path, prompt: list[int], response: SampleResponse, model: Connected) -> None:
    with extra("report", "A page"):
        from tinkex.report import logprobs_report

    page = logprobs_report(
        prompt, finite(response.prompt_logprobs), model.tokenizer, alternatives=response.topk_prompt_logprobs,
        model=model.model,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def _record(row: TokenRow) -> dict[str, object]:
    record: dict[str, object] = {"token": row.token, "text": row.text, "logprob": row.logprob}
    if row.likeliest:
        record["likeliest"] = [{"text": text, "logprob": finite_or_none(logprob)} for text, logprob in row.likeliest]
    return record
