"""Output records: a finished task as a JSON object in tinkex's own format, with the same keys for errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Final, Protocol

from tinkex.bulk._input.prepare import Prepared
from tinkex.bulk._input.task import LineId, Row, Task
from tinkex.text.scores import likeliest
from tinkex.types import ModelInput, SampledSequence, SampleResponse

Record = dict[str, Any]
_NOTHING: Final[Record] = {}
FROM_CALLER: Final = ("parameters", "extra", "messages", "prompt")
"""Columns that repeat what the caller gave."""
OMITTABLE: Final = ("text", "tokens", "logprobs", "prompt", "prompt_tokens")
"""Columns that may be left out of the output, to keep it small: null, or absent like the text of a prompt."""


class Ended(Protocol):
    """What a record is made of: a sample's future that has ended, or something like it."""

    @property
    def request_id(self) -> str | None:
        """The server's id of the request."""

    @property
    def attempts(self) -> int:
        """How often it was sent."""

    def exception(self) -> BaseException | None:
        """Return the error that it ended with; None where there is a result."""

    def result(self) -> SampleResponse:
        """Return the result."""


def error_of(future: Ended | Future[Any]) -> BaseException | None:
    """Return the error that a future has ended with, which may be that it was cancelled; None where it has a result."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def made_record(
    task: Task, prepared: Prepared | None, future: Ended, started_at: float, finished_at: float,
    omit: Collection[str] = (),
) -> Record:  # fmt: skip
    """Build the output record of a task whose future has ended; its numbers are those that JSON has.

    Where the server's answer was refused, the record has the error and what came.
    """
    error, row = error_of(future), task.row
    response: SampleResponse | None = future.result() if error is None else getattr(error, "response", None)
    messages = row.messages
    scored = response is None or task.parameters.get("score")
    return {
        "id": row.id,
        **({"line": row.number} if type(row.id) is LineId else _NOTHING),
        "model": task.model,
        "fingerprint": task.fingerprint,
        "status": "ok" if error is None else "error",
        **({"date": prepared.date} if prepared is not None and prepared.date is not None else _NOTHING),
        "parameters": task.parameters,
        **({"extra": row.extra} if row.extra else _NOTHING),
        **(_NOTHING if "prompt" in omit else _prompt_column(row, messages)),
        "prompt_tokens": None if prepared is None or "prompt_tokens" in omit else _tokens(prepared.prompt),
        **(_NOTHING if response is None else _prompt_logprobs(response)),
        "sequences": [] if response is None or scored else _sequences(response, prepared, omit, messages is not None),
        "usage": _usage(response),
        "timing": _timing(response),
        "request_id": future.request_id,
        "started_at": round(started_at, 3),
        "finished_at": round(finished_at, 3),
        "attempts": future.attempts,
        "error": None if error is None else error_record(error),
    }


def _usage(response: SampleResponse | None) -> Record | None:
    usage = None if response is None else response.usage
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "sampled_tokens": usage.sampled_tokens,
        "prompt_cache_hit_tokens": usage.prompt_cache_hit_tokens,
    }


def _timing(response: SampleResponse | None) -> Record | None:
    timing = None if response is None else response.timing
    if timing is None:
        return None
    return {
        "queued": round(timing.queued, 4),
        "submit": round(timing.submit, 4),
        "wait": round(timing.wait, 4),
        "fetch": round(timing.fetch, 4),
    }


def error_record(error: BaseException) -> Record:
    """Convert an error to its JSON form in a record."""
    return {
        "type": type(error).__name__,
        "message": str(error) or type(error).__name__,
        "status": getattr(error, "status", None),
        "request_id": getattr(error, "request_id", None),
        "phase": getattr(error, "phase", None),
        "retryable": bool(getattr(error, "retryable", False)),
        "may_have_run": bool(getattr(error, "may_have_run", False)),
    }


def _tokens(prompt: ModelInput) -> list[int] | None:
    try:
        return prompt.to_ints()
    except ValueError:  # pictures
        return None


def _prompt_column(row: Row, messages: Sequence[Any] | None) -> Record:
    """Return the column of a prompt that was text or messages; token ids have one of their own."""
    if messages is not None:
        return {"messages": messages}
    return {"prompt": row.prompt} if isinstance(row.prompt, str) else _NOTHING


def _prompt_logprobs(response: SampleResponse) -> Record:
    if response.prompt_logprobs is None and response.topk_prompt_logprobs is None:
        return _NOTHING
    plain = response.to_dict()
    return {name: plain[name] for name in ("prompt_logprobs", "topk_prompt_logprobs") if name in plain}


def _sequences(response: SampleResponse, prepared: Prepared | None, omit: Collection[str], chat: bool) -> list[Record]:
    decode = None if "text" in omit or prepared is None else functools.partial(prepared.model.decode, chat=chat)
    return [_sequence(each.to_dict(), decode, omit, chat=chat) for each in response.sequences]


def _sequence(
    plain: Record, decode: Callable[[list[int]], str | None] | None, omit: Collection[str], *, chat: bool
) -> Record:
    text = None if decode is None else decode(plain["tokens"])
    made: Record = {
        "text": text,
        "tokens": None if "tokens" in omit else plain["tokens"],
        "logprobs": None if "logprobs" in omit else plain.get("logprobs"),
        "stop_reason": plain["stop_reason"],
    }
    if "topk_logprobs" in plain and "logprobs" not in omit:
        made["topk_logprobs"] = plain["topk_logprobs"]
    if chat and text is not None:
        made["message"] = {"role": "assistant", "content": text}
    return made


def choice_columns(
    choices: Iterable[tuple[str | None, Sequence[int], Sequence[float | None]]], answer: int | None = None,
    omit: Collection[str] = (),
) -> Record:  # fmt: skip
    """Build the columns of a row that scores continuations of its prompt; its `sequences` are empty.

    - ``choices``: for each, its ``text``, ``tokens`` and ``logprobs``, their sum ``logprob`` and their mean
      ``mean_logprob``; where the server did not tell a token's log-probability, it is null, and so are sum and mean.
    - ``best`` and ``best_by_mean``: the index of the likeliest choice, by sum and by mean; the first of equals. Null
      where not all are known, and where all are impossible.
    - ``answer``: the index of the right choice, null where the row does not tell it.
    - ``correct`` and ``correct_by_mean``: whether the best one is the right one, or has its tokens; null where that is
      not known.

    Args:
        choices: Text, token ids and log-probabilities of each continuation; the text may be None. None is empty.
        answer: The index of the right one; None where the row does not tell it.
        omit: Which of "text", "tokens" and "logprobs" are to be null.
    """
    made, sums, every = [], [], []
    for text, tokens, logprobs in choices:
        scored = SampledSequence(tokens, logprobs)
        numbers = scored.to_dict()["logprobs"]
        total = None if None in numbers else sum(numbers)
        made.append({
            "text": None if "text" in omit else text,
            "tokens": None if "tokens" in omit else list(tokens),
            "logprobs": None if "logprobs" in omit else numbers,
            "logprob": total,
            "mean_logprob": None if total is None else total / len(numbers),
        })  # fmt: skip
        sums.append((sum(scored.logprobs or ()), scored.length))
        every.append(list(tokens))
    best = likeliest([total for total, _ in sums])
    best_by_mean = likeliest([total / length for total, length in sums])
    unknown = answer is None or any(total != total for total, _ in sums)

    def is_right(index: int | None) -> bool:
        return index is not None and answer is not None and every[index] == every[answer]

    return {
        "choices": made,
        "best": best,
        "best_by_mean": best_by_mean,
        "answer": answer,
        "correct": None if unknown else is_right(best),
        "correct_by_mean": None if unknown else is_right(best_by_mean),
    }
