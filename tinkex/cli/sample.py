"""``tinkex sample``."""

from __future__ import annotations

from typing import Any

import attrs
import click

from tinkex.cli._connect import Connected, Target, connected, target_options, wrong_arguments
from tinkex.cli._prompt import prompt_options
from tinkex.cli._screen import finite, note, print_json, print_text, rule, working
from tinkex.types import ModelInput, SampleResponse, SamplingParams


@click.command()
@prompt_options
@click.option("-m", "--max-tokens", type=int, default=64, show_default=True, help="Stop after this many tokens.")
@click.option("-t", "--temperature", type=float, default=1.0, show_default=True, help="0 always takes the likeliest.")
@click.option("-n", "--num-samples", type=int, default=1, show_default=True, help="How many texts to sample.")
@click.option("--seed", type=int, help="Repeat a result.")
@click.option("--top-k", type=int, default=-1, help="Choose among the likeliest K tokens. Default: all.")
@click.option("--top-p", type=float, default=1.0, help="Choose among the likeliest share P. Default: all.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Stop at this text; may be given several times.")
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def command(*, text: str, target: Target, num_samples: int, as_json: bool, **sampling: Any) -> None:
    """Generate text from a prompt.

    The prompt is the argument, a file, or standard input. It goes to the model as it is: no chat template is applied.

    \b
      tinkex sample --local "The capital of France is"
      tinkex sample --base-model Qwen/Qwen3-8B --json < prompt.txt
    """  # noqa: D301 - click wants the character itself
    with wrong_arguments():
        params = SamplingParams(**{**sampling, "stop": list(sampling["stop"]) or None})
    with connected(target) as model:
        with wrong_arguments():
            prompt = ModelInput.from_text(text, model.tokenizer)
            future = model.client.sample(prompt, params, num_samples=num_samples, timeout=target.timeout)
        with working(f"Sampling from {model.model}"):
            response = future.result()
        if as_json:
            print_json(_as_data(model, text, prompt, response))
        else:
            _show(model, response)


def _as_data(model: Connected, text: str, prompt: ModelInput, response: SampleResponse) -> dict[str, Any]:
    return {
        "model": model.model,
        "prompt": text,
        "prompt_tokens": prompt.to_ints(),
        "sequences": [
            {
                "text": model.plain_text(sequence.tokens),
                "tokens": sequence.tokens,
                "logprobs": finite(sequence.logprobs),
                "stop_reason": sequence.stop_reason,
            }
            for sequence in response.sequences
        ],
        "usage": response.usage and attrs.asdict(response.usage),
        "timing": response.timing and attrs.asdict(response.timing),
        "request_id": response.request_id,
    }


def _show(model: Connected, response: SampleResponse) -> None:
    count = len(response.sequences)
    for number, sequence in enumerate(response.sequences, 1):
        if count > 1:
            rule(f"{number} of {count}")
        print_text(model.plain_text(sequence.tokens))
    tokens = sum(sequence.length for sequence in response.sequences)
    reasons = " and ".join(sorted({sequence.stop_reason for sequence in response.sequences}))
    speed = f" in {response.timing.total:.1f} s" if response.timing else ""
    note(f"{tokens} tokens{speed}, ended by {reasons}")
