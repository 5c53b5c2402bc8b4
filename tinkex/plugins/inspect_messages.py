"""Messages of inspect-ai in OpenAI's form, and answers in OpenAI's form as those of inspect-ai."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    Content,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    TopLogprob,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolFunction, ToolInfo

_SAME_NAMES = (
    "max_tokens", "temperature", "top_p", "top_k", "seed", "logprobs", "top_logprobs", "prompt_logprobs", "best_of",
    "frequency_penalty", "presence_penalty", "logit_bias", "reasoning_effort",
)  # fmt: skip
_OTHER_NAMES = {"stop_seqs": "stop", "num_choices": "n", "response_schema": "response_format"}


def request_body(
    model: str, messages: Sequence[ChatMessage], tools: Sequence[ToolInfo], tool_choice: ToolChoice,
    config: GenerateConfig,
) -> dict[str, Any]:  # fmt: skip
    """Return the body of the gateway's request for an answer.

    It always asks for token ids, unless there are pictures, which have none, and for log-probabilities, which cost
    nothing.
    """
    given = {name: getattr(config, name) for name in _SAME_NAMES}
    given |= {theirs: getattr(config, ours) for ours, theirs in _OTHER_NAMES.items()}
    plain = [openai_message(message) for message in messages]
    pictures = any(isinstance(each.get("content"), list) for each in plain)
    return {
        **{name: value for name, value in given.items() if value is not None},
        **(config.extra_body or {}),
        "model": model,
        "messages": plain,
        "logprobs": True,
        "return_token_ids": not pictures,
        **({"tools": [_function(tool) for tool in tools], "tool_choice": _choice(tool_choice)} if tools else {}),
    }


def _function(tool: ToolInfo) -> dict[str, Any]:
    parameters = tool.parameters.model_dump(exclude_none=True, by_alias=True)
    described = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": described}


def _choice(tool_choice: ToolChoice) -> Any:
    if isinstance(tool_choice, ToolFunction):
        return {"type": "function", "function": {"name": tool_choice.name}}
    return "required" if tool_choice == "any" else tool_choice


def openai_message(message: ChatMessage) -> dict[str, Any]:
    """Return a message in OpenAI's form, with thinking as ``reasoning_content``."""
    if isinstance(message, ChatMessageTool):
        text = f"Error: {message.error.message}" if message.error else message.text
        return {"role": "tool", "tool_call_id": message.tool_call_id, "name": message.function, "content": text}
    made: dict[str, Any] = {"role": message.role, "content": message.content}
    if not isinstance(message.content, str):
        parts = list(_parts(message.content))
        made["content"] = parts if any(part["type"] != "text" for part in parts) else "".join(p["text"] for p in parts)
        thought = "".join(part.reasoning for part in message.content if isinstance(part, ContentReasoning))
        if thought:
            made["reasoning_content"] = thought
    if isinstance(message, ChatMessageAssistant) and message.tool_calls:
        made["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.function, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
        made["content"] = made["content"] or None
    return made


def _parts(content: Sequence[Content]) -> Iterator[dict[str, Any]]:
    for part in content:
        if isinstance(part, ContentText):
            yield {"type": "text", "text": part.text}
        elif isinstance(part, ContentImage):
            yield {"type": "image_url", "image_url": {"url": part.image}}
        elif not isinstance(part, ContentReasoning):
            raise TypeError(f"messages: content of the type {part.type} is not offered")


def model_output(answer: dict[str, Any], config: GenerateConfig, context_length: int | None) -> ModelOutput:
    """Return an answer of the gateway; its ``metadata`` have the token ids, and a log-probability for each."""
    usage = answer["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    scored = [choice["logprobs"]["content"] for choice in answer["choices"]]
    return ModelOutput(
        model=answer["model"],
        choices=[_choice_of(answer, choice, config, context_length) for choice in answer["choices"]],
        usage=ModelUsage(
            input_tokens=usage["prompt_tokens"] - cached,
            input_tokens_cache_read=cached,
            output_tokens=usage["completion_tokens"],
            total_tokens=usage["total_tokens"],
        ),
        metadata={
            "prompt_token_ids": answer.get("prompt_token_ids"),
            "token_ids": [choice.get("token_ids") for choice in answer["choices"]],
            "logprobs": [[token["logprob"] for token in tokens] for tokens in scored],
        },
        response_id=answer["id"],
    )


def _choice_of(
    answer: dict[str, Any], choice: dict[str, Any], config: GenerateConfig, context_length: int | None
) -> ChatCompletionChoice:
    message, tokens = choice["message"], choice["logprobs"]["content"]
    reason = {"length": "max_tokens"}.get(choice["finish_reason"], choice["finish_reason"])
    if reason == "max_tokens" and context_length == answer["usage"]["prompt_tokens"] + len(tokens):
        reason = "model_length"
    content: list[Content] = []
    if message.get("reasoning_content"):
        content = [ContentReasoning(reasoning=message["reasoning_content"])]
        content += [ContentText(text=message["content"])] if message["content"] else []
    calls = [_call(call) for call in message.get("tool_calls", ())]
    return ChatCompletionChoice(
        message=ChatMessageAssistant(
            content=content or message["content"] or "",
            tool_calls=calls or None,
            model=answer["model"],
            source="generate",
        ),
        stop_reason=reason,
        logprobs=Logprobs(content=[_scored(token) for token in tokens]) if config.logprobs else None,
        prompt_logprobs=_prompt_logprobs(answer.get("prompt_logprobs")),
    )


def _call(call: dict[str, Any]) -> ToolCall:
    function, error = call["function"], None
    try:
        arguments = json.loads(function["arguments"] or "{}")
        if not isinstance(arguments, dict):
            raise TypeError("they are no object")
    except (ValueError, TypeError) as problem:
        arguments, error = {}, f"The arguments cannot be read: {problem}: {function['arguments']}"
    return ToolCall(id=call["id"], function=function["name"], arguments=arguments, parse_error=error)


def _scored(token: dict[str, Any]) -> Logprob:
    others = [TopLogprob(**other) for other in token["top_logprobs"]]
    return Logprob(**{**token, "top_logprobs": others or None})


def _prompt_logprobs(rows: list[dict[str, dict[str, Any]] | None] | None) -> Logprobs | None:
    """Return the scores of the prompt; the first of each row is the prompt's own token."""
    if rows is None:
        return None
    made = []
    for row in filter(None, rows):
        cells = [{"token": cell["decoded_token"], "logprob": cell["logprob"]} for cell in row.values()]
        made.append(Logprob(**cells[0], top_logprobs=[TopLogprob(**cell) for cell in cells] if cells[1:] else None))
    return Logprobs(content=made)
