"""Results: the rows of an output as typed objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex.bulk._results.logprobs import sum_logprobs, undefined_logprobs
from tinkex.types import Timing, Usage


@with_field_docs
@attrs.frozen(kw_only=True)
class ResultSequence:
    """A sampled sequence, or a scored choice, of a row. None stands for what was left out of the output."""

    text: str | None = None
    """The text; None where it was left out, or there was no tokenizer."""
    tokens: Sequence[int] | None = None
    """The token ids; None where they were left out."""
    logprobs: Sequence[float] | None = None
    """Natural, one a token: minus infinity for one of probability zero, NaN for one that the server did not tell."""
    logprob: float | None = None
    """Their sum."""
    mean_logprob: float | None = None
    """Their mean; None for a sequence without tokens."""
    length: int | None = None
    """Number of tokens."""
    stop_reason: str | None = None
    """Why it ended: "stop", or "length" at `max_tokens`; None for a choice."""
    topk_logprobs: Sequence[Sequence[tuple[int, float]] | None] | None = None
    """The likeliest tokens at each position, if asked for."""
    message: Mapping[str, Any] | None = None
    """The answer to a conversation, to go on with: its role and content."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ResultSequence:
        """Read a sequence or a choice of a record."""
        tokens, logprobs = record.get("tokens"), record.get("logprobs")
        known = tokens if tokens is not None else logprobs
        length = None if known is None else len(known)
        total = record["logprob"] if "logprob" in record else sum_logprobs(logprobs)
        mean = record["mean_logprob"] if "mean_logprob" in record else total / length if total and length else total
        return cls(
            text=record.get("text"), tokens=tokens, logprobs=logprobs, logprob=total, length=length,
            mean_logprob=mean if length != 0 else None, stop_reason=record.get("stop_reason"),
            topk_logprobs=record.get("topk_logprobs"), message=record.get("message"),
        )  # fmt: skip


@with_field_docs
@attrs.frozen(kw_only=True)
class Result:
    """A row of an output: what `run` wrote about a row of the input and a model. None: the file does not tell it."""

    id: str | int
    """As in the input; text in tables."""
    model: str
    line: int | None = None
    """Of a row without an id, its line."""
    status: str
    """"ok" or "error"."""
    sequences: Sequence[ResultSequence] = ()
    """What was sampled."""
    error: Mapping[str, Any] | None = None
    """With "type" and "message"; None for a row that went well."""
    prompt: str | None = None
    """The text of the prompt, if it was text."""
    messages: Sequence[Mapping[str, Any]] | None = None
    """The conversation, if it was one."""
    prompt_tokens: Sequence[int] | None = None
    """The prompt in token ids; None where it was left out."""
    prompt_logprobs: Sequence[float | None] | None = None
    """One a token of the prompt, None where undefined, as for the first; minus infinity for an impossible one."""
    prompt_logprob: float | None = None
    """Their sum, without those that are undefined by nature: the first, and those that were not asked for."""
    mean_prompt_logprob: float | None = None
    """Their mean; None in CSV."""
    topk_prompt_logprobs: Sequence[Sequence[tuple[int, float]] | None] | None = None
    """The likeliest tokens at each position of the prompt, if asked for."""
    choices: Sequence[ResultSequence] = ()
    """The continuations that the row had scored."""
    best: int | None = None
    """The index of the likeliest choice, by the sum of its log-probabilities."""
    best_by_mean: int | None = None
    """The same by their mean."""
    answer: int | None = None
    """The index of the right choice, if the row told it."""
    correct: bool | None = None
    """Whether the best choice is the right one."""
    correct_by_mean: bool | None = None
    """Whether the likeliest choice by the mean of its tokens is the right one; None where none is named."""
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    """The row's own columns."""
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    """What it was sampled with."""
    fingerprint: str | None = None
    """What the prompt and the parameters are told from others by."""
    date: str | None = None
    """The day that the chat template was told, if it reads the date; a later run tells it the same."""
    usage: Usage | None = None
    """Tokens read and sampled; None where it was left out."""
    timing: Timing | None = None
    """Where the time went; None where it was left out."""
    request_id: str | None = None
    """The server's id of the request."""
    started_at: float | None = None
    """Seconds since 1970, as `finished_at`."""
    finished_at: float | None = None
    """When the row ended, in seconds since 1970."""
    attempts: int | None = None
    """How many times it was submitted; of a row with choices, the choice that took the most."""

    @property
    def ok(self) -> bool:
        """Whether the row went well."""
        return self.status == "ok"

    def likeliest(self, by: str = "mean_logprob") -> ResultSequence | None:
        """Return the likeliest sequence, by "mean_logprob" or "logprob"; None without any.

        One whose log-probability is not known is returned only where there is no other.
        """
        if by not in {"mean_logprob", "logprob"}:
            raise ValueError(f"by must be mean_logprob or logprob, not {by!r}")

        def rank(sequence: ResultSequence) -> tuple[bool, float]:
            value = getattr(sequence, by)
            return (True, value) if value is not None and value == value else (False, 0.0)

        return max(self.sequences, key=rank, default=None)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Result:
        """Read a record of tinkex's own format, restored by `restore_record`."""
        usage, timing, scores = record.get("usage"), record.get("timing"), record.get("prompt_logprobs")
        undefined = 0 if scores is None else undefined_logprobs(record)
        prompt_logprob = sum_logprobs(scores, undefined)
        made = {
            "sequences": [ResultSequence.from_record(each) for each in record["sequences"]],
            "choices": [ResultSequence.from_record(each) for each in record.get("choices") or ()],
            "prompt_logprob": prompt_logprob,
            "mean_prompt_logprob": prompt_logprob and prompt_logprob / (len(scores or ()) - undefined),
            "usage": usage and Usage(**usage),
            "timing": timing and Timing(**timing),
            "extra": record.get("extra") or {},
            "parameters": record.get("parameters") or {},
        }
        return cls(**{name: record[name] for name in _NAMES if name in record} | made)


_NAMES = tuple(field.name for field in attrs.fields(Result))
