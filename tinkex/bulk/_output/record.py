"""Output records: a finished task as a JSON object in tinkex's own format, with the same keys for errors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from tinkex.bulk._input.prepare import Prepared
from tinkex.bulk._input.task import Task
from tinkex.future import SampleFuture
from tinkex.types import ModelInput, SampledSequence, SampleResponse

Record = dict[str, Any]
OMITTABLE: Final = ("text", "tokens", "logprobs", "prompt_tokens")
"""Columns that may be left out of the output, to keep it small; they are null then."""


def made_record(
    task: Task, prepared: Prepared | None, future: SampleFuture[SampleResponse], started_at: float, finished_at: float,
    omit: Collection[str] = (),
) -> Record:  # fmt: skip
    """Build the output record of a task whose future has ended."""
    error = future.exception()
    response = None if error is not None else future.result()
    record: Record = {
        "id": task.row.id,
        "model": task.model,
        "fingerprint": task.fingerprint,
        "status": "ok" if error is None else "error",
        "parameters": task.parameters,
    }
    if task.row.extra:
        record["extra"] = task.row.extra
    record["prompt_tokens"] = None if prepared is None or "prompt_tokens" in omit else _tokens(prepared.prompt)
    if response is not None:
        _add_prompt_columns(record, response)
    record |= {
        "sequences": [] if response is None or task.parameters.get("score") else _sequences(response, prepared, omit),
        "usage": None if response is None else _usage(response),
        "timing": None if response is None else _timing(response),
        "request_id": future.request_id,
        "started_at": round(started_at, 3),
        "finished_at": round(finished_at, 3),
        "attempts": future.attempts,
        "error": None if error is None else error_record(error),
    }
    return record


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


def _add_prompt_columns(record: Record, response: SampleResponse) -> None:
    if response.prompt_logprobs is not None:
        record["prompt_logprobs"] = response.prompt_logprobs
    if response.topk_prompt_logprobs is not None:
        record["topk_prompt_logprobs"] = list(response.topk_prompt_logprobs)


def _sequences(response: SampleResponse, prepared: Prepared | None, omit: Collection[str]) -> list[Record]:
    decode = None if "text" in omit or prepared is None else prepared.model.decode
    return [_sequence(sequence, decode, omit) for sequence in response.sequences]


def _sequence(
    sequence: SampledSequence, decode: Callable[[list[int]], str | None] | None, omit: Collection[str]
) -> Record:
    made: Record = {
        "text": None if decode is None else decode(sequence.tokens),
        "tokens": None if "tokens" in omit else sequence.tokens,
        "logprobs": None if "logprobs" in omit else sequence.logprobs,
        "stop_reason": sequence.stop_reason,
    }
    if sequence.topk_logprobs is not None and "logprobs" not in omit:
        made["topk_logprobs"] = list(sequence.topk_logprobs)
    return made


def _usage(response: SampleResponse) -> Record | None:
    usage = response.usage
    return (
        None
        if usage is None
        else {
            "prompt_tokens": usage.prompt_tokens,
            "sampled_tokens": usage.sampled_tokens,
            "prompt_cache_hit_tokens": usage.prompt_cache_hit_tokens,
        }
    )


def _timing(response: SampleResponse) -> Record | None:
    timing = response.timing
    return (
        None
        if timing is None
        else {
            "queued": round(timing.queued, 4),
            "submit": round(timing.submit, 4),
            "wait": round(timing.wait, 4),
            "fetch": round(timing.fetch, 4),
        }
    )


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode a record as a line of JSON; values that JSON has no type for become text."""
    if _orjson is not None:
        try:
            return _orjson.dumps(record, default=str, option=_orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # lone surrogates, whole numbers of more than 64 bits
            pass
    try:
        return json.dumps(record, separators=(",", ":"), allow_nan=False, default=str).encode() + b"\n"
    except ValueError:
        return json.dumps(_finite(record), separators=(",", ":"), default=str).encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


try:
    import orjson as _orjson
except ModuleNotFoundError:
    _orjson = None  # type: ignore[assignment]
