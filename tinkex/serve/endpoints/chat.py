"""Chat completions: ``/v1/chat/completions``, in the model's own chat format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tinkex.serve.answers import MODELS, MOST_TOKENS, event_stream, json_answer, patience, read_fields
from tinkex.serve.dialect.chat import ChatFields, complete_chat
from tinkex.serve.dialect.sampling import SamplingFields


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Answer ``POST /v1/chat/completions``."""
    asked = ChatFields.read(await read_fields(request))
    model = await request.app[MODELS].get(asked.sampling.model)
    body = await complete_chat(model, asked, request.app[MOST_TOKENS], patience(request))
    return event_stream(_events(body, asked.sampling)) if asked.sampling.stream else json_answer(body)


def _events(body: dict[str, Any], sampling: SamplingFields) -> Iterator[dict[str, Any]]:
    """Yield the events of an answer that streams: role, content, why it ended, and the usage where it is wanted."""
    shared = {"id": body["id"], "object": "chat.completion.chunk", "created": body["created"], "model": body["model"]}
    usage = {"usage": None} if sampling.stream_usage else {}
    first: dict[str, Any] = {name: body[name] for name in ("prompt_logprobs", "prompt_token_ids") if name in body}
    for choice in body["choices"]:
        message = {**choice["message"]}
        role = {"role": message.pop("role"), "content": ""}
        if "tool_calls" in message:
            message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(message["tool_calls"])]
        extra = {"token_ids": choice["token_ids"]} if "token_ids" in choice else {}
        for delta, logprobs, reason, more in (
            (role, None, None, {}),
            (message, choice["logprobs"], None, extra),
            ({}, None, choice["finish_reason"], {}),
        ):
            part = {"index": choice["index"], "delta": delta, "logprobs": logprobs, "finish_reason": reason, **more}
            yield {**shared, "choices": [part], **usage, **first}
            first = {}
    if sampling.stream_usage:
        yield {**shared, "choices": [], "usage": body["usage"]}
