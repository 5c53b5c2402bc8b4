"""Dry run: checks rows and counts tokens without sending anything."""

from __future__ import annotations

import os
import pathlib
from typing import Any, cast

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex.bulk._input import fields
from tinkex.bulk._input.claims import NoOutput
from tinkex.bulk._input.prepare import Prepared, Preparer
from tinkex.bulk._input.read import Rows, Source
from tinkex.bulk._input.task import InvalidRowError, RowId, Task
from tinkex.bulk._limits import Limits
from tinkex.bulk._models import Models
from tinkex.bulk._output.ledger import ReadOnlyLedger
from tinkex.bulk._output.record import error_record
from tinkex.bulk._plan import TaskPlan
from tinkex.bulk._prices import Bill, Prices
from tinkex.bulk._progress import Tally
from tinkex.sampling_client import SamplingClient
from tinkex.tokenizers import Tokenizer, model_tokenizer
from tinkex.types import SampleRequest


@with_field_docs
@attrs.frozen(kw_only=True)
class Estimate:
    """Result of a dry run; of rows that cannot be sampled nothing is counted but their number."""

    rows: int
    tasks: int
    """Rows times models."""
    skipped: int
    """Tasks that the output has results of."""
    invalid: int
    """Tasks that would fail before anything is sent, those that are too long not counted."""
    too_long: int
    """Tasks over the context window."""
    window_known: bool
    """Whether the context window of every model was known."""
    prompt_tokens: int
    """Tokens of all prompts."""
    most_sampled_tokens: int
    """Tokens that may be sampled, at most."""
    longest: tuple[int, RowId] | None
    """The most tokens of prompt and answer, and the row that needs them."""
    cost: float | None
    """The most it may cost by the price table, without what is `unpriced`; None without a table, or without any price.
    """
    unpriced: tuple[str, ...]
    """Models whose tokens are not in the cost, since the price table does not know them."""
    seconds: float | None
    """What it takes by the limits and the speed in the price table, if all answers are as long as they may be; None
    where there is neither."""
    problems: tuple[tuple[str, int], ...]
    """The commonest problems and how often each came."""


def estimate(
    rows: Rows, models: Models, *, output: str | os.PathLike[str] | None = None, limits: Limits | None = None,
    prices: Prices | None = None, context_window: int | None = None, input_format: str | None = None,
    **parameters: Any,
) -> Estimate:  # fmt: skip
    """Check every row and count its tokens; sends nothing. See `run` for the arguments.

    Rows that `output` has results of are only counted. `context_window` is for all models; None goes by the price
    table's `context`. Made for `Models` whose clients need no server, such as `Models(names, tokenizer_only)`.
    """
    tally, found = Tally(prices), _Findings(prices, context_window)
    plan = TaskPlan(Source(rows, input_format), models.names, fields.parameters(parameters), "redo", tally)
    preparer = Preparer(models)
    for task in plan.tasks(ReadOnlyLedger(pathlib.Path(output)) if output else NoOutput()):
        try:
            found.add(task, preparer.prepare(task))
        except Exception as error:  # noqa: BLE001 - the faults of rows are what a dry run looks for
            found.invalid += not isinstance(error, TooLongRowError)
            tally.add(task, {"error": error_record(error), "usage": None})
    return found.estimate(plan.read, plan.claimed, limits or Limits(), tally)


class TooLongRowError(InvalidRowError):
    """A row that is longer than the model's context."""


class _Findings:
    """Running totals of a dry run."""

    def __init__(self, prices: Prices | None, window: int | None) -> None:
        self._prices = prices
        self._window = window
        self._window_known = True
        self.invalid = self._too_long = self._sent = 0
        self._prompt_tokens = self._sampled_tokens = 0
        self._bill, self._seconds = Bill(prices), 0.0
        self._longest: tuple[int, RowId] | None = None

    def add(self, task: Task, prepared: Prepared) -> None:
        """Count a task; raises what is wrong with it."""
        wanted = prepared.wanted
        prompts = [each.prompt for each in prepared.continuations] or [prepared.prompt]
        for prompt in prompts:
            SampleRequest(prompt, wanted.params, **wanted.options)
        lengths = [prompt.known_length or 0 for prompt in prompts]
        one = max(lengths) + (wanted.params.max_tokens or 0)
        if self._longest is None or one > self._longest[0]:
            self._longest = (one, task.row.id)
        price = self._prices and self._prices.of(task.model)
        window = self._window or (price.context if price else None)
        self._window_known &= window is not None
        if window is not None and one > window:
            self._too_long += 1
            raise TooLongRowError(
                f"A prompt of {max(lengths)} tokens and max_tokens exceed the context of {window} tokens."
            )
        sampled = wanted.most_tokens * len(prompts)
        self._sent += len(prompts)
        self._prompt_tokens += sum(lengths)
        self._sampled_tokens += sampled
        self._bill.add(task.model, {"prompt_tokens": sum(lengths), "sampled_tokens": sampled})
        if price and price.tokens_per_second:
            self._seconds += sampled / price.tokens_per_second

    def estimate(self, rows: int, tasks: int, limits: Limits, tally: Tally) -> Estimate:
        """Return the totals as an `Estimate`."""
        tokens = self._prompt_tokens + self._sampled_tokens
        amounts = ((self._sent, limits.requests_per_minute), (tokens, limits.tokens_per_minute))
        seconds = max([self._seconds, *(60 * amount / limit for amount, limit in amounts if limit is not None)])
        return Estimate(
            rows=rows, tasks=tasks, skipped=tally.skipped, invalid=self.invalid, too_long=self._too_long,
            window_known=self._window_known,
            prompt_tokens=self._prompt_tokens, most_sampled_tokens=self._sampled_tokens, longest=self._longest,
            cost=self._bill.cost, unpriced=self._bill.unpriced, seconds=seconds or None,
            problems=tally.commonest(),
        )  # fmt: skip


@attrs.frozen
class _NameOnly:
    model: str

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer of the model of that name."""
        return model_tokenizer(self.model)


def tokenizer_only(name: str) -> SamplingClient:
    """A client that knows its tokenizer and nothing else: for `estimate`."""
    return cast("SamplingClient", _NameOnly(name))
