"""Text completions: ``/v1/completions`` in OpenAI's and vLLM's dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tinkex.serve.answers import MODELS, event_stream, json_answer, patience, read_fields
from tinkex.serve.dialect.completions import CompletionFields, complete_text
from tinkex.serve.dialect.sampling import SamplingFields


async def completions(request: web.Request) -> web.StreamResponse:
    """Answer ``POST /v1/completions``."""
    asked = CompletionFields.read(await read_fields(request))
    model = await request.app[MODELS].get(asked.sampling.model)
    body = await complete_text(model, asked, patience(request))
    return event_stream(_events(body, asked.sampling)) if asked.sampling.stream else json_answer(body)


def _events(body: dict[str, Any], sampling: SamplingFields) -> Iterator[dict[str, Any]]:
    """Yield the events of a completion that streams: its text, why it ended, and the usage where it is wanted."""
    shared = {name: body[name] for name in ("id", "object", "created", "model")}
    usage = {"usage": None} if sampling.stream_usage else {}
    for choice in body["choices"]:
        whole = {**choice, "finish_reason": None}
        end = {"index": choice["index"], "text": "", "logprobs": None, "finish_reason": choice["finish_reason"]}
        for part in (whole, end):
            yield {**shared, "choices": [part], **usage}
    if sampling.stream_usage:
        yield {**shared, "choices": [], "usage": body["usage"]}
