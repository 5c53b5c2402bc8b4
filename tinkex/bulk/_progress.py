"""Progress reports and the summary of a run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex.bulk._engine import FlowState
from tinkex.bulk._input.task import Task
from tinkex.bulk._prices import Bill, Prices
from tinkex.bulk._results.accuracy import Accuracy

_MOST_KINDS: Final = 1000
_MOST_TEXT: Final = 300
_NUMBERS: Final = re.compile(r"[0-9a-f]*\d[0-9a-f-]*")


@with_field_docs
@attrs.frozen(kw_only=True)
class Progress:
    """Progress of a run at one moment: counts, tokens, cost, concurrency."""

    done: int = 0
    """Rows with a result, those that were there before not counted."""
    failed: int = 0
    """Rows that ended with an error."""
    skipped: int = 0
    """Rows whose results were there before."""
    fraction: float | None = None
    """Of the input, what has ended, from 0 to 1; None where the length of the input is not known."""
    seconds: float = 0.0
    """Since the beginning."""
    remaining: float | None = None
    """Seconds to go, at the speed so far; None where that cannot be told."""
    prompt_tokens: int = 0
    """Tokens of the prompts so far."""
    sampled_tokens: int = 0
    """Tokens sampled so far."""
    cost: float | None = None
    """By the price table, without what is `unpriced`; None without a table, or without any price."""
    unpriced: tuple[str, ...] = ()
    """Models whose tokens are not in the cost, since the price table does not know them."""
    flow: FlowState = attrs.field(factory=FlowState)
    """What is under way, and what holds it back."""
    retrying: int = 0
    """Samples that wait to try again."""
    paused_for: float = 0.0
    """Seconds until the server may be asked again; 0 when nothing is paused."""
    paused_reason: str | None = None
    """Why the server has asked for a pause; None where there is none."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens of prompts and answers, on average."""
        return (self.prompt_tokens + self.sampled_tokens) / self.seconds if self.seconds > 0 else 0.0


@with_field_docs
@attrs.frozen(kw_only=True)
class Summary:
    """Result of a run: counts, tokens, cost and errors."""

    done: int
    """Rows with a result, those that were there before not counted."""
    failed: int
    """Rows that ended with an error."""
    skipped: int
    """Rows whose results were there before."""
    kept: int
    """Of those, rows made with other parameters, and kept as they are."""
    interrupted: bool
    """Whether it was stopped before all rows had ended: by `halt`, or because too many failed."""
    seconds: float
    """How long the run took."""
    prompt_tokens: int
    """Tokens of the prompts."""
    sampled_tokens: int
    """Tokens sampled."""
    cost: float | None
    """By the price table, an estimate without what is `unpriced`; None without a table, or without any price."""
    unpriced: tuple[str, ...] = ()
    """Models whose tokens are not in the cost, since the price table does not know them."""
    errors: tuple[tuple[str, int], ...] = ()
    """The commonest errors and how often each came."""
    notes: tuple[str, ...] = ()
    """What else is worth knowing."""
    accuracy: Accuracy | None = None
    """Of this run's rows that score choices; None if none of them tells which choice is right."""


class Tally:
    """Counters of a run; used by one thread, but for `skipped` and `kept`, which the feeder thread counts."""

    def __init__(self, prices: Prices | None) -> None:
        self.bill = Bill(prices)
        self.done = self.failed = self.skipped = self.kept = 0
        self.prompt_tokens = self.sampled_tokens = 0
        self.accuracy = Accuracy()
        self._errors: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, task: Task, record: Mapping[str, Any]) -> None:
        """Count one row."""
        error, usage = record["error"], record["usage"]
        if usage is not None:  # also of an answer that was refused
            self.prompt_tokens += usage["prompt_tokens"]
            self.sampled_tokens += usage["sampled_tokens"]
            self.bill.add(task.model, usage)
        if error is not None:
            self.failed += 1
            self._count_error(f"{error['type']}: {error['message']}", error["type"])
            return
        self.done += 1
        self.accuracy.add(record)

    def commonest(self, count: int = 10) -> tuple[tuple[str, int], ...]:
        """The commonest errors, each in the words of its first; numbers do not tell them apart."""
        return tuple((self._examples[kind], times) for kind, times in self._errors.most_common(count))

    def _count_error(self, text: str, kind: str) -> None:
        alike = _NUMBERS.sub("0", text[:_MOST_TEXT])
        if alike not in self._examples:
            if len(self._examples) < _MOST_KINDS:
                self._examples[alike] = text[:_MOST_TEXT]
            else:
                alike, self._examples[kind] = kind, kind
        self._errors[alike] += 1
