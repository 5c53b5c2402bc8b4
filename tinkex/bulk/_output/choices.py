"""Records of rows whose choices are scored, and of rows of which the best of several answers are kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import attrs

from tinkex.bulk._input.prepare import Prepared, Wanted
from tinkex.bulk._input.task import Task
from tinkex.bulk._output.record import Ended, Record, choice_columns, error_of, made_record
from tinkex.text.scores import last_logprobs, scored_response
from tinkex.types import SampledSequence, SampleResponse, Usage

_GIVEN = ("choices", "completion")


class Best:
    """The future of a sample that has ended, with the best of its sequences only, the best first."""

    def __init__(self, future: Ended, wanted: Wanted) -> None:
        self._future = future
        self._wanted = wanted
        self.request_id = future.request_id
        self.attempts = future.attempts

    def exception(self) -> BaseException | None:
        """Return the error that the sample ended with."""
        return self._future.exception()

    def result(self) -> SampleResponse:
        """Return the response with the sequences that are kept; its usage counts all."""
        response = self._future.result()
        ranked = sorted(response.sequences, key=lambda each: score(each, self._wanted.pick), reverse=True)
        return attrs.evolve(response, sequences=ranked[: self._wanted.kept])


@attrs.frozen
class WholeScores:
    """The future of a sample that failed only since the server scored all tokens of the prompt, not the last ones."""

    request_id: str | None
    attempts: int
    response: SampleResponse

    @classmethod
    def of(cls, future: Ended) -> Ended:
        """Return such a future, with the result that it came with, and any other as it is."""
        response = scored_response(error_of(future))
        return future if response is None else cls(future.request_id, future.attempts, response)

    def exception(self) -> None:
        """Return no error."""

    def result(self) -> SampleResponse:
        """Return the response."""
        return self.response


def score(sequence: SampledSequence, pick: str) -> float:
    """Return the log-probability of a sequence, or its mean per token; minus infinity where it is not known."""
    logprobs = sequence.logprobs
    if not logprobs or any(logprob is None or math.isnan(logprob) for logprob in logprobs):
        return -math.inf
    total = sum(logprobs)
    return total / len(logprobs) if pick == "mean_logprob" else total


def scored_record(
    task: Task, prepared: Prepared, futures: Sequence[Ended], started_at: float, finished_at: float,
    omit: Collection[str] = (),
) -> Record:  # fmt: skip
    """Build the output record of a row whose choices were scored; one that could not be makes it an error."""
    futures = [WholeScores.of(future) for future in futures]
    failed = next((future for future in futures if error_of(future) is not None), None)
    if failed is not None:
        return _own(task, made_record(task, prepared, failed, started_at, finished_at, omit))
    responses = [future.result() for future in futures]
    record = made_record(task, prepared, futures[0], started_at, finished_at, omit)
    scored = [
        (each.text, each.tokens, last_logprobs(response, len(each.tokens)))
        for each, response in zip(prepared.continuations, responses, strict=True)
    ]
    record.pop("prompt_logprobs", None)
    alternatives = record.pop("topk_prompt_logprobs", None) is not None and "logprobs" not in omit
    record |= {
        "sequences": [],
        "usage": _sum([response.usage for response in responses]),
        "attempts": max(future.attempts for future in futures),
        **choice_columns(scored, task.row.answer, omit),
    }
    if alternatives:
        for choice, each, response in zip(record["choices"], prepared.continuations, responses, strict=True):
            choice["topk_logprobs"] = response.to_dict()["topk_prompt_logprobs"][-len(each.tokens) :]
    return _own(task, record)


def _own(task: Task, record: Record) -> Record:
    """Leave the choices out of the columns that are carried along: they stand in one of their own."""
    extra = {name: value for name, value in task.row.extra.items() if name not in _GIVEN}
    made: Record = {**record, "extra": extra}
    if not extra:
        del made["extra"]
    return made


def _sum(usages: Sequence[Usage | None]) -> dict[str, Any] | None:
    known = [attrs.asdict(usage) for usage in usages if usage is not None]
    return {name: sum(usage[name] for usage in known) for name in known[0]} if known else None
