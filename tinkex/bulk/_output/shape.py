"""Output records in the format of OpenAI's Batch API, for rows that came in it and for `form="openai"`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tinkex.bulk._input.task import Task
from tinkex.bulk._models import Models
from tinkex.bulk._output.record import Record

FORMS: Final = ("native", "openai")
Decode = Callable[[list[int]], str | None]


def shaped(task: Task, record: Record, form: str | None, models: Models) -> Record:
    """Convert a record to the format it is written in: `form`, or if that is None that of its input row."""
    shape = task.row.shape
    if form == "native" or (form is None and shape == "native"):
        return record
    if shape == "native":
        shape = "completion" if isinstance(task.row.prompt, str) else "chat"
    error = record["error"]
    refused = error is not None and error["status"] is not None
    return {
        "id": f"batch_req_{record['fingerprint']}",
        "custom_id": record["id"],
        "model": record["model"],
        "fingerprint": record["fingerprint"],
        "status": record["status"],
        "response": _response(task, record, shape, models) if error is None or refused else None,
        "error": {"code": error["type"], "message": error["message"]} if error is not None and not refused else None,
    }


def _response(task: Task, record: Record, shape: str, models: Models) -> Record:
    error = record["error"]
    if error is None:
        wants = task.row.extra.get("logprobs") or "topk_sample_logprobs" in task.parameters
        decode = models.get(task.model).decode if wants else None
        body = _body(record, shape, decode)
    else:
        body = {"error": {"message": error["message"], "type": error["type"], "code": error["status"]}}
    status = 200 if error is None else error["status"]
    return {"status_code": status, "request_id": record["request_id"], "body": body}


def _body(record: Record, shape: str, decode: Decode | None) -> Record:
    chat = shape == "chat"
    choices = []
    for index, sequence in enumerate(record["sequences"]):
        choice: Record = {"index": index, "logprobs": None, "finish_reason": sequence["stop_reason"]}
        if chat:
            choice["message"] = {"role": "assistant", "content": sequence["text"]}
        else:
            choice["text"] = sequence["text"]
        if decode is not None and sequence["tokens"] is not None and sequence["logprobs"] is not None:
            choice["logprobs"] = (_chat_logprobs if chat else _completion_logprobs)(sequence, decode)
        choices.append(choice)
    prompt: Record = {name: record[name] for name in ("prompt_logprobs", "topk_prompt_logprobs") if name in record}
    return {
        "id": record["request_id"],
        "object": "chat.completion" if chat else "text_completion",
        "created": int(record["finished_at"]),
        "model": record["model"],
        "choices": choices,
        "usage": _usage(record["usage"]),
        **prompt,
    }


def _usage(usage: Mapping[str, int] | None) -> Record | None:
    return (
        None
        if usage is None
        else {
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": usage["sampled_tokens"],
            "total_tokens": usage["prompt_tokens"] + usage["sampled_tokens"],
            "prompt_tokens_details": {"cached_tokens": usage["prompt_cache_hit_tokens"]},
        }
    )


def _chat_logprobs(sequence: Record, decode: Decode) -> Record:
    rows = sequence.get("topk_logprobs") or [None] * len(sequence["tokens"])
    content = [
        {
            **_scored(token, logprob, decode),
            "top_logprobs": [_scored(token, score, decode) for token, score in row or ()],
        }
        for token, logprob, row in zip(sequence["tokens"], sequence["logprobs"], rows, strict=True)
    ]
    return {"content": content}


def _completion_logprobs(sequence: Record, decode: Decode) -> Record:
    rows = sequence.get("topk_logprobs")
    top: Any = rows and [{decode([token]): logprob for token, logprob in row or ()} for row in rows]
    words = [decode([token]) for token in sequence["tokens"]]
    return {"tokens": words, "token_logprobs": sequence["logprobs"], "top_logprobs": top}


def _scored(token: int, logprob: float | None, decode: Decode) -> Record:
    text = decode([token]) or ""
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}
