"""Command ``tinkex logprobs``."""

from __future__ import annotations

import math
import pathlib

import click

from tinkex.cli._screen import json_number, note, print_json, working
from tinkex.cli.options.connect import Connected, Target, connected, target_options, wrong_arguments
from tinkex.cli.options.prompt import PromptSource, prompt_options
from tinkex.cli.output.rows import Form, form_options
from tinkex.cli.output.tokens import TokenRow, print_tokens, token_rows
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
    scored = [math.nan if row.logprob is None else row.logprob for row in rows[1:]]
    total = sum(scored)
    perplexity = math.exp(min(-total / len(scored), 700.0)) if scored and math.isfinite(total) else None
    if form.json:
        record = {"model": model.model, **source.as_data(), "tokens": [_record(row) for row in rows]}
        told = None if math.isnan(total) else sum(json_number(logprob) or 0.0 for logprob in scored)
        print_json({**record, "total": told, "perplexity": perplexity})
        return
    if form.jsonl:
        for row in rows:
            print_json(_record(row))
        return
    print_tokens(rows, colors=colors)
    note(
        f"{len(rows)} tokens, log-probability {total:.4f} in all"
        + ("" if perplexity is None else f", perplexity {perplexity:.2f}")
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
        prompt, response.prompt_logprobs, model.tokenizer, alternatives=response.topk_prompt_logprobs,
        model=model.model,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def _record(row: TokenRow) -> dict[str, object]:
    record: dict[str, object] = {"token": row.token, "text": row.text, "logprob": json_number(row.logprob)}
    if row.likeliest:
        record["likeliest"] = [{"text": text, "logprob": json_number(logprob)} for text, logprob in row.likeliest]
    return record
