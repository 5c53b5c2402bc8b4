"""Command ``tinkex sample``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import Any, Final

import click

from tinkex.cli._app import complain
from tinkex.cli._screen import working
from tinkex.cli.options.connect import Connected, Target, Unavailable, connected_models, target_options, wrong_arguments
from tinkex.cli.options.prompt import PromptSource, prompt_options
from tinkex.cli.output.rows import Form, form_options
from tinkex.cli.output.samples import Sampled, View, print_records, print_texts
from tinkex.errors import TinkexError
from tinkex.future import SampleFuture
from tinkex.types import SampleResponse, SamplingParams

_TELL_EVERY: Final = 0.5  # seconds


@click.command()
@prompt_options
@click.option("-m", "--max-tokens", type=int, default=64, show_default=True, help="Stop after this many tokens.")
@click.option("-t", "--temperature", type=float, default=1.0, show_default=True, help="0 always takes the likeliest.")
@click.option("-n", "--num-samples", type=int, default=1, show_default=True, help="How many texts to sample.")
@click.option("--seed", type=int, help="Repeat a result.")
@click.option("--top-k", type=int, default=-1, help="Choose among the likeliest K tokens. Default: all.")
@click.option("--top-p", type=float, default=1.0, help="Choose among the likeliest share P. Default: all.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Stop at this text; may be given several times.")
@click.option("--logprobs", is_flag=True, help="Show how likely each sampled token was.")
@click.option("--prompt-logprobs", is_flag=True, help="Show how likely each token of the prompt was.")
@click.option("--topk-logprobs", type=int, default=0, metavar="K", help="And the likeliest in its place.")
@click.option("--topk-prompt-logprobs", type=int, default=0, metavar="K", help="The same for the prompt.")
@click.option("--colors", is_flag=True, help="Colour each token by how likely it was.")
@functools.partial(target_options, several=True)
@form_options
def command(*, source: PromptSource, target: Target, form: Form, num_samples: int, **options: Any) -> int:
    """Generate text from a prompt.

    The prompt is the argument, a file, or standard input. It goes to the model as it is; with --chat as a message in
    the model's own chat format. --base-model and --model-path can be given several times, to compare models.

    \b
      tinkex sample --local -t 0 -m 2 "The capital of France is"
      tinkex sample --local -t 0 --chat "Where is the Eiffel Tower?"
      tinkex sample --base-model Qwen/Qwen3-8B --json < prompt.txt
    """  # noqa: D301 - click wants the character itself
    view = View(
        form=form,
        logprobs=options.pop("logprobs") or options["topk_logprobs"] > 0,
        prompt_logprobs=options.pop("prompt_logprobs") or options["topk_prompt_logprobs"] > 0,
        colors=options.pop("colors"),
    )
    keywords = {
        "num_samples": num_samples,
        "timeout": target.timeout,
        "include_prompt_logprobs": view.prompt_logprobs,
        "topk_prompt_logprobs": options.pop("topk_prompt_logprobs"),
        "topk_sample_logprobs": options.pop("topk_logprobs"),
    }
    with wrong_arguments():
        params = SamplingParams(**{**options, "stop": list(options["stop"]) or None})
    with connected_models(target, tokenizer=source.needs_tokenizer) as models:
        with wrong_arguments():
            begun = [_begin(model, source, params, keywords) for model in models]
        with working("Sampling") as show_progress:
            _watch([future for future in begun if future is not None], show_progress)
            samples = [_sampled(model, source, future) for model, future in zip(models, begun, strict=True)]
        if form.json or form.jsonl:
            print_records(samples, source, form)
        else:
            print_texts(samples, view)
        return _exit_code(samples)


def _begin(
    model: Connected | Unavailable, source: PromptSource, params: SamplingParams, keywords: dict[str, Any]
) -> SampleFuture[SampleResponse] | None:
    if isinstance(model, Unavailable):
        return None
    begun: SampleFuture[SampleResponse] = model.client.sample(source.model_input(model.tokenizer), params, **keywords)
    return begun


def _watch(futures: Sequence[SampleFuture[SampleResponse]], show_progress: Callable[[str], None]) -> None:
    """Show the progress of the samples until all have ended."""
    while left := wait(futures, _TELL_EVERY).not_done:
        states = {future.queue_state_reason or future.phase for future in futures if future in left}
        count = f"{len(futures) - len(left)} of {len(futures)} models, " if len(futures) > 1 else ""
        show_progress(f"Sampling: {count}{' and '.join(sorted(states))}")


def _sampled(
    model: Connected | Unavailable, source: PromptSource, future: SampleFuture[SampleResponse] | None
) -> Sampled:
    if isinstance(model, Unavailable):
        return Sampled(model.model, error=model.error)
    assert future is not None
    try:
        response = future.result()
    except TinkexError as error:
        return Sampled(model.model, error=error)
    prompt, chat = source.model_input(model.tokenizer), source.messages is not None
    return Sampled(model.model, connected=model, prompt=prompt, response=response, chat=chat)


def _exit_code(samples: list[Sampled]) -> int:
    """Print the failures; a single one ends the command as any error does."""
    failed = [sampled for sampled in samples if sampled.error is not None]
    if len(samples) == 1 and failed:
        assert failed[0].error is not None
        raise failed[0].error.with_traceback(None)
    for sampled in failed:
        complain(sampled.error, sampled.model)
    return 1 if failed else 0
