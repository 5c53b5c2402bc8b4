"""Output of ``tinkex sample``: JSON, or texts, of several models side by side where there is room."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import attrs

from tinkex.cli._screen import console, harmless, note, print_json, print_text, rule
from tinkex.cli.options.connect import Connected
from tinkex.cli.options.prompt import PromptSource
from tinkex.cli.output.rows import Form
from tinkex.cli.output.tokens import TokenRow, coloured, legend, print_tokens, token_rows
from tinkex.errors import TinkexError
from tinkex.types import ModelInput, SampledSequence, SampleResponse

_NARROWEST: Final = 36  # characters of a column in which text can be read


@attrs.frozen
class View:
    """View options: what to print of each sample."""

    form: Form
    logprobs: bool
    prompt_logprobs: bool
    colors: bool


@attrs.frozen
class Sampled:
    """Outcome of sampling from one model: a response or an error."""

    model: str
    connected: Connected | None = None
    prompt: ModelInput | None = None
    response: SampleResponse | None = None
    error: TinkexError | None = None
    chat: bool = False


def print_records(samples: Sequence[Sampled], source: PromptSource, form: Form) -> None:
    """Print JSON: one object, or a line for each sequence."""
    if form.json:
        print_json({**source.as_data(), "results": [_result(sampled) for sampled in samples]})
        return
    for sampled in samples:
        result = _result(sampled)
        common = {"model": result["model"], "request_id": result.get("request_id"), "error": result["error"]}
        for index, sequence in enumerate(result["sequences"]):
            print_json({"model": sampled.model, "index": index, **sequence, **common})
        if not result["sequences"]:
            print_json(common)


def _result(sampled: Sampled) -> dict[str, Any]:
    response, connected = sampled.response, sampled.connected
    if response is None or connected is None or sampled.prompt is None:
        error = {"type": type(sampled.error).__name__, "message": str(sampled.error)}
        return {"model": sampled.model, "sequences": [], "error": error}
    plain = response.to_dict()
    return {
        "model": sampled.model,
        "prompt_tokens": sampled.prompt.to_ints(),
        **{name: plain[name] for name in ("prompt_logprobs", "topk_prompt_logprobs") if name in plain},
        "sequences": [_sequence(connected, sequence, chat=sampled.chat) for sequence in response.sequences],
        "usage": response.usage and attrs.asdict(response.usage),
        "timing": response.timing and attrs.asdict(response.timing),
        "request_id": response.request_id,
        "error": None,
    }


def _sequence(model: Connected, sequence: SampledSequence, *, chat: bool) -> dict[str, Any]:
    plain = sequence.to_dict()
    return {
        "text": model.sampled_text(sequence.tokens, chat=chat),
        "tokens": sequence.tokens,
        "logprobs": plain.get("logprobs"),
        **{name: plain[name] for name in ("topk_logprobs",) if name in plain},
        "stop_reason": sequence.stop_reason,
    }


def print_texts(samples: Sequence[Sampled], view: View) -> None:
    """Print the sampled texts, for a person; `complain` prints failures."""
    good = [sampled for sampled in samples if sampled.response is not None]
    tables = view.logprobs or view.prompt_logprobs
    wide = sys.stdout.isatty() and console().width >= _NARROWEST * len(good)
    if len(good) > 1 and wide and not tables:
        _print_columns(good, view)
    else:
        for sampled in good:
            if len(samples) > 1:
                rule(sampled.model)
            _print_one(sampled, view)
    if view.colors and good:
        _print_legend()
    for sampled in good:
        note((f"{sampled.model}: " if len(samples) > 1 else "") + _summary(sampled.response))


def _print_one(sampled: Sampled, view: View) -> None:
    response, model = sampled.response, sampled.connected
    assert response is not None
    assert model is not None
    if view.prompt_logprobs and sampled.prompt is not None:
        ids, topk = sampled.prompt.to_ints(), response.topk_prompt_logprobs
        print_tokens(token_rows(model.tokenizer, ids, response.prompt_logprobs, topk), colors=view.colors)
    for number, sequence in enumerate(response.sequences, 1):
        if len(response.sequences) > 1:
            rule(f"{number} of {len(response.sequences)}")
        if view.logprobs:
            print_tokens(_token_rows(model, sequence), colors=view.colors)
        elif view.colors and sys.stdout.isatty():
            console().print(coloured(_token_rows(model, sequence)), soft_wrap=True)
        else:
            print_text(model.plain_text(sequence.tokens))


def _token_rows(model: Connected, sequence: SampledSequence) -> list[TokenRow]:
    return token_rows(model.tokenizer, sequence.tokens, sequence.logprobs, sequence.topk_logprobs)


def _print_columns(samples: Sequence[Sampled], view: View) -> None:
    """Print the sequences as a table: a column a model, a row a sequence."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, expand=True, padding=(0, 2, 1, 0))
    for sampled in samples:
        drawn.add_column(Text(harmless(sampled.model), style="dim"), ratio=1, overflow="fold")
    for number in range(max(len(_sequences(sampled)) for sampled in samples)):
        drawn.add_row(*(_cell(sampled, number, view) for sampled in samples))
    console().print(drawn)


def _cell(sampled: Sampled, number: int, view: View) -> Any:
    from rich.text import Text

    sequences = _sequences(sampled)
    if number >= len(sequences) or sampled.connected is None:
        return ""
    if view.colors:
        return coloured(_token_rows(sampled.connected, sequences[number]))
    return Text(harmless(sampled.connected.plain_text(sequences[number].tokens)))


def _sequences(sampled: Sampled) -> Sequence[SampledSequence]:
    return () if sampled.response is None else sampled.response.sequences


def _print_legend() -> None:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        note("There are no colours: they need a terminal, and NO_COLOR not to be set.")
    elif sys.stderr.isatty():
        console(stderr=True).print(legend())


def _summary(response: SampleResponse | None) -> str:
    assert response is not None
    tokens = sum(sequence.length for sequence in response.sequences)
    reasons = " and ".join(sorted({sequence.stop_reason for sequence in response.sequences}))
    speed = f" in {response.timing.total:.1f} s" if response.timing else ""
    return f"{tokens} tokens{speed}, ended by {reasons}"
