"""Output records in the format of OpenAI's Batch API, for rows that came in it and for `form="openai"`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from tinkex.bulk._input.task import Task
from tinkex.bulk._models import Model, Models
from tinkex.bulk._output.record import FROM_CALLER, Record
from tinkex.chat.openai_format import (
    SpelledToken,
    chat_logprobs,
    completion_logprobs,
    spell_token,
    text_before_stop,
    usage_object,
)
from tinkex.tokenizers import TokenPieces

FORMS: Final = ("native", "openai")


def shaped(task: Task, record: Record, form: str | None, models: Models) -> Record:
    """Convert a record to the format it is written in: `form`, or if that is None that of its input row.

    What the row itself held stands beside OpenAI's columns. Scored choices have no place in OpenAI's format and stay in
    tinkex's own.
    """
    native = task.row.shape == "native"
    if form == "native" or (form is None and native) or task.row.choices:
        return record
    shape = ("completion" if isinstance(task.row.prompt, str) else "chat") if native else task.row.shape
    error = record["error"]
    refused = error is not None and error["status"] is not None
    return {
        "id": f"batch_req_{record['fingerprint']}",
        "custom_id": record["id"],
        **({"line": record["line"]} if "line" in record else {}),
        "model": record["model"],
        "fingerprint": record["fingerprint"],
        "status": record["status"],
        **({"date": record["date"]} if "date" in record else {}),
        "response": _response(task, record, shape, models) if error is None or refused else None,
        "error": {"code": error["type"], "message": error["message"]} if error is not None and not refused else None,
        **{name: record[name] for name in FROM_CALLER if name in record},
    }


def _response(task: Task, record: Record, shape: str, models: Models) -> Record:
    error = record["error"]
    if error is None:
        body = _body(task, record, models.get(task.model), chat=shape == "chat")
    else:
        body = {"error": {"message": error["message"], "type": error["type"], "code": error["status"]}}
    status = 200 if error is None else error["status"]
    return {"status_code": status, "request_id": record["request_id"], "body": body}


def _body(task: Task, record: Record, model: Model, *, chat: bool) -> Record:
    choices = [_choice(task, each, model, chat=chat) for each in record["sequences"]]
    prompt: Record = {name: record[name] for name in ("prompt_logprobs", "topk_prompt_logprobs") if name in record}
    return {
        "id": record["request_id"],
        "object": "chat.completion" if chat else "text_completion",
        "created": int(record["finished_at"]),
        "model": record["model"],
        "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
        "usage": _usage(record["usage"]),
        **prompt,
    }


def _choice(task: Task, sequence: Record, model: Model, *, chat: bool) -> Record:
    text, stopped = _before_stop(sequence, task.parameters.get("stop"), model, chat=chat)
    logprobs = None
    if task.row.logprobs or "topk_sample_logprobs" in task.parameters:
        pieces = model.pieces()
        if pieces is not None and sequence["tokens"] is not None and sequence["logprobs"] is not None:
            tokens = list(_tokens(sequence, pieces, text if stopped else None, chat=chat))
            logprobs = chat_logprobs(tokens) if chat else completion_logprobs(tokens)
    return {
        "logprobs": logprobs,
        "finish_reason": "stop" if stopped else sequence["stop_reason"],
        **({"message": {"role": "assistant", "content": text}} if chat else {"text": text}),
    }


def _before_stop(sequence: Record, stop: Any, model: Model, *, chat: bool) -> tuple[str | None, bool]:
    """Return the text in front of the first stop text or token, which OpenAI's answers end before, and if one came."""
    text, tokens = sequence["text"], sequence["tokens"]
    if text is None:
        return None, False
    stops = [stop] if isinstance(stop, str) else stop or ()
    before, stopped = text_before_stop(text, stops)
    if not stopped and tokens and tokens[-1] in stops:
        return model.decode(tokens[:-1], chat=chat), True
    return before, stopped


def _usage(usage: Mapping[str, int] | None) -> Record | None:
    if usage is None:
        return None
    return usage_object(usage["prompt_tokens"], usage["sampled_tokens"], usage["prompt_cache_hit_tokens"])


def _tokens(sequence: Record, pieces: TokenPieces, text: str | None, *, chat: bool) -> Iterator[SpelledToken]:
    """Spell the tokens of a sequence; with a `text` those of it only, and not the ones of the stop text behind it."""
    rows = sequence.get("topk_logprobs") or [None] * len(sequence["tokens"])
    place, begun, end = 0, not chat, None if text is None else len(text.encode("utf-8", "replace"))
    for token, logprob, row in zip(sequence["tokens"], sequence["logprobs"], rows, strict=True):
        if end is not None and place >= end:
            return
        first = not begun  # a token that is only the space that decoding leaves out begins the text, too
        begun = begun or pieces.bytes_of(token) != b""
        others = tuple(spell_token(pieces, *cell, first=first) for cell in row or ())
        spelled = spell_token(pieces, token, logprob, first=first)
        yield attrs.evolve(spelled, alternatives=others if "topk_logprobs" in sequence else None)
        place += len(spelled.text.encode("utf-8", "replace") if spelled.piece is None else spelled.piece)
