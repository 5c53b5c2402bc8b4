"""Models of llm that sample through tinkex: conversations in the model's chat format, or a text that is continued."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import llm
import pydantic
from llm.parts import AttachmentPart, ReasoningPart, StreamEvent, TextPart, ToolCallPart, ToolResultPart

from tinkex.errors import TinkexError
from tinkex.plugins.in_process import InProcessGateway, shared_gateway, wait_for
from tinkex.plugins.llm_names import PREFIX, remember
from tinkex.serve.errors import gateway_error


class TinkexOptions(llm.Options):
    """Options of a prompt: fields of the gateway under their names."""

    max_tokens: int | None = pydantic.Field(
        None, description="Most tokens of the answer; without it, what is left of the context."
    )
    temperature: float | None = pydantic.Field(None, description="0 for the likeliest token each time; 1 by default.")
    top_p: float | None = pydantic.Field(None, description="Draw from the likeliest tokens of this share.")
    top_k: int | None = pydantic.Field(None, description="Draw from so many of the likeliest tokens.")
    seed: int | None = pydantic.Field(None, description="The same seed gives the same answer, where the server can.")
    stop: str | list[str] | None = pydantic.Field(None, description="A text that ends the answer, or a JSON list.")
    top_logprobs: int | None = pydantic.Field(None, description="Log so many of the likeliest tokens in each place.")
    prompt_logprobs: int | None = pydantic.Field(
        None, description="Log the scores of the prompt, with so many of the likeliest tokens in each place."
    )
    reasoning_effort: str | None = pydantic.Field(None, description="What the chat template reads under this name.")
    chat_template_kwargs: dict[str, Any] | None = pydantic.Field(
        None, description='Variables of the chat template, as JSON: {"enable_thinking": false}'
    )
    completion: bool | None = pydantic.Field(
        None, description="Continue the prompt as a text, without a chat format: for base models."
    )
    tokenizer: str | None = pydantic.Field(None, description="A tokenizer instead of the model's: a name or a path.")
    timeout: float | None = pydantic.Field(None, description="Seconds that the answer may take.")

    @pydantic.field_validator("stop", "chat_template_kwargs", mode="before")
    @classmethod
    def _read_json(cls, value: Any) -> Any:
        """Read what the command line gives as a text."""
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                return json.loads(value)
            except ValueError:
                return value
        return value


class _Sampled:
    """What both models share: the way to the server, requests, and what an answer comes to."""

    model_id: str
    can_stream = False  # the Tinker API returns whole samples
    supports_tools = True
    attachment_types = frozenset({"image/png", "image/jpeg"})
    Options = TinkexOptions

    def __init__(self, name: str) -> None:
        self.model_id = PREFIX + name

    def __str__(self) -> str:
        return f"tinkex: {self.model_id}"

    def get_key(self, explicit_key: str | None = None) -> str | None:
        """Return the key of ``--key``, which may be a name that llm knows; None: where tinkex takes it from."""
        return explicit_key and llm.get_key(input=explicit_key)

    def _begin(self, prompt: Any, key: str | None) -> Any:
        """Begin to sample; a future of the answer as the gateway gives it."""
        body = request_body(self.model_id.removeprefix(PREFIX), prompt)
        gateway: InProcessGateway = shared_gateway(api_key=key, tokenizer=prompt.options.tokenizer)
        begin = gateway.complete if prompt.options.completion else gateway.chat
        return begin(body, timeout=prompt.options.timeout)

    def _events(self, answer: dict[str, Any], response: Any) -> Iterator[StreamEvent]:
        """Log an answer, and yield its parts."""
        remember(self.model_id.removeprefix(PREFIX))
        response.response_json = answer
        usage = dict(answer["usage"])
        response.set_usage(input=usage["prompt_tokens"], output=usage["completion_tokens"])
        (choice,) = answer["choices"]
        message = choice.get("message") or {"content": choice["text"]}
        if message.get("reasoning_content"):
            yield StreamEvent(type="reasoning", chunk=message["reasoning_content"])
        if message.get("content"):
            yield StreamEvent(type="text", chunk=message["content"])
        for call in message.get("tool_calls", ()):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            yield StreamEvent(type="tool_call_name", chunk=name, tool_call_id=call["id"])
            yield StreamEvent(type="tool_call_args", chunk=arguments, tool_call_id=call["id"])
            response.add_tool_call(
                llm.ToolCall(tool_call_id=call["id"], name=name, arguments=json.loads(arguments or "{}"))
            )


class TinkexModel(_Sampled, llm.KeyModel):
    """A model for llm, sampled through tinkex."""

    def execute(
        self, prompt: Any, stream: bool, response: Any, conversation: Any, key: str | None
    ) -> Iterator[StreamEvent]:
        """Sample an answer, and yield it whole."""
        try:
            answer = wait_for(self._begin(prompt, key))
        except Exception as error:
            raise _told(error) from error
        yield from self._events(answer, response)


class AsyncTinkexModel(_Sampled, llm.AsyncKeyModel):
    """The same for programs with an event loop."""

    async def execute(
        self, prompt: Any, stream: bool, response: Any, conversation: Any, key: str | None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Sample an answer, and yield it whole."""
        try:
            answer = await asyncio.wrap_future(self._begin(prompt, key))
        except Exception as error:
            raise _told(error) from error
        for event in self._events(answer, response):
            yield event


def _told(error: Exception) -> Exception:
    """Return the error for llm, which shows its text to the user."""
    return error if isinstance(error, TinkexError) else llm.ModelError(gateway_error(error).message)


def request_body(name: str, prompt: Any) -> dict[str, Any]:
    """Return the body of the request that a prompt of llm comes to: a chat, or a text to continue."""
    options = prompt.options.model_dump(exclude_none=True, exclude={"completion", "timeout", "tokenizer"})
    top, tools = options.pop("top_logprobs", 0), [_function(tool) for tool in prompt.tools]
    pictures = any(isinstance(part, AttachmentPart) for message in prompt.messages for part in message.parts)
    body = {"model": name, "return_token_ids": not pictures, **options}  # a prompt with pictures has no token ids
    if not prompt.options.completion:
        return {
            **body,
            "messages": [each for message in prompt.messages for each in openai_messages(message)],
            "tools": tools or None,
            "logprobs": True,
            "top_logprobs": top,
        }
    texts = [part.text for message in prompt.messages for part in message.parts if isinstance(part, TextPart)]
    parts = sum(len(message.parts) for message in prompt.messages)
    if tools or len(texts) != parts:
        raise ValueError("completion: a text that is continued has neither tools nor attachments")
    return {**body, "prompt": "".join(texts), "logprobs": top}


def _function(tool: Any) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema}
    return {"type": "function", "function": described}


def openai_messages(message: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a message of llm in OpenAI's form; of the results of tools each is a message."""
    content: list[dict[str, Any]] = []
    made: dict[str, Any] = {"role": message.role}
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, ReasoningPart) and part.text:
            made["reasoning_content"] = part.text
        elif isinstance(part, AttachmentPart):
            data = f"data:{part.attachment.resolve_type()};base64,{part.attachment.base64_content()}"
            content.append({"type": "image_url", "image_url": {"url": data}})
        elif isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": json.dumps(part.arguments)}
            call = {"type": "function", "id": part.tool_call_id, "function": function}
            made.setdefault("tool_calls", []).append(call)
        elif isinstance(part, ToolResultPart):
            yield {"role": "tool", "tool_call_id": part.tool_call_id, "name": part.name, "content": part.output}
    if all(part["type"] == "text" for part in content):
        made["content"] = "".join(part["text"] for part in content) or None
    else:
        made["content"] = content
    if len(made) > 2 or made["content"] is not None:
        yield made
