"""Chat completions in the model's own chat format: requests, and answers as JSON has them."""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve, frozen

from tinkex.chat import ChatFormat, unread_variables
from tinkex.chat.openai_format import chat_logprobs
from tinkex.serve.dialect.fields import BodyFields, refused
from tinkex.serve.dialect.logprobs import ScoredTokens
from tinkex.serve.dialect.sampling import SamplingFields, room_for, sample_prompts, total_usage
from tinkex.serve.errors import GatewayError
from tinkex.serve.models import ModelVocabulary, ServedModel, background
from tinkex.types import ImageChunk, ModelInput, SampledSequence, SampleResponse

_OF_A_PROMPT: Final = frozenset({
    "messages", "tokenizer", "tools", "add_generation_prompt", "continue_final_message", "chat_template",
})  # fmt: skip
_UNKNOWN_ROOM: Final = 2048  # tokens of an answer where the server does not tell how many fit


@frozen(kw_only=True)
class MessageFields:
    """The fields of a request that make the prompt, as ``/tokenize`` takes them too."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    variables: dict[str, Any]
    effort: str | None
    add_generation_prompt: bool | None
    continue_final_message: bool

    @classmethod
    def read(cls, fields: BodyFields) -> MessageFields:
        """Take the fields out of a body."""
        messages = fields.objects("messages")
        if not messages:
            raise refused("messages", "must be a list of messages, and not be empty")
        tools, choice = fields.objects("tools"), fields.any("tool_choice")
        if not all(map(_is_function, tools or ())):
            raise refused("tools", "must be functions with a name: no others are offered", code="unsupported_value")
        if choice not in (None, "auto", "none"):
            raise refused("tool_choice", "must be auto or none: a call cannot be enforced", code="unsupported_value")
        fields.any("parallel_tool_calls")
        if fields.flag("add_special_tokens"):
            raise refused("add_special_tokens", "must be false: the chat template writes them")
        continued = fields.flag("continue_final_message")
        header = fields.any("add_generation_prompt")
        if header is not None and not isinstance(header, bool):
            raise refused("add_generation_prompt", "must be true or false")
        variables = fields.mapping("chat_template_kwargs")
        if own := _OF_A_PROMPT.intersection(variables):
            raise refused("chat_template_kwargs", f"must not have {min(own)}, which is no variable of a template")
        return cls(
            messages=[_with_pictures(place, message) for place, message in enumerate(messages)],
            tools=None if choice == "none" else tools or None,
            variables=variables,
            effort=fields.text("reasoning_effort"),
            add_generation_prompt=header,
            continue_final_message=continued,
        )

    async def prompt(self, vocabulary: ModelVocabulary) -> tuple[ChatFormat, ModelInput]:
        """Return the chat format with the request's variables, and the prompt."""
        size = sum(len(str(message.get("content"))) for message in self.messages)
        return await background(self._prompt, vocabulary, size=size)

    def _prompt(self, vocabulary: ModelVocabulary) -> tuple[ChatFormat, ModelInput]:
        variables = self.variables
        if self.effort is not None:
            if unread_variables(["reasoning_effort"], vocabulary.tokenizer):
                raise refused("reasoning_effort", "is nothing that the model's chat template reads")
            variables = {"reasoning_effort": self.effort, **variables}
        chat = vocabulary.chat_format(variables)
        options: dict[str, Any] = {"continue_final_message": self.continue_final_message}
        if self.add_generation_prompt is not None and not (self.add_generation_prompt and self.continue_final_message):
            options["add_generation_prompt"] = self.add_generation_prompt
        return chat, chat.prompt(self.messages, self.tools, **options)


def _is_function(tool: dict[str, Any]) -> bool:
    function = tool.get("function")
    return tool.get("type") == "function" and isinstance(function, dict) and isinstance(function.get("name"), str)


def _with_pictures(place: int, message: dict[str, Any]) -> dict[str, Any]:
    """Return a message in which the pictures of data: URLs stand as chunks."""
    if not isinstance(message.get("role"), str):
        raise GatewayError(400, f"messages[{place}].role must be a text.", "messages")
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_part(f"messages[{place}].content[{at}]", each) for at, each in enumerate(content)]}


def _part(place: str, part: Any) -> Any:
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return part
    link = part.get("image_url")
    url = link.get("url") if isinstance(link, dict) else link
    if not isinstance(url, str) or not url.startswith("data:"):
        raise GatewayError(400, f"{place}.image_url: pictures are taken as data: URLs only.", "messages")
    head, _, data = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("it is not in base64")
        return {"type": "image", "image": ImageChunk.from_bytes(base64.b64decode(data, validate=True))}
    except (binascii.Error, ValueError) as error:
        raise GatewayError(400, f"{place}.image_url: {error}", "messages") from None


@frozen(kw_only=True)
class ChatFields:
    """The fields of a request for chat completions."""

    sampling: SamplingFields
    prompt: MessageFields
    max_tokens: int | None
    logprobs: bool
    top_logprobs: int

    @classmethod
    def read(cls, fields: BodyFields) -> ChatFields:
        """Take the fields out of a body, and refuse what is left."""
        older, newer = fields.count("max_tokens", least=1), fields.count("max_completion_tokens", least=1)
        read = cls(
            sampling=SamplingFields.read(fields),
            prompt=MessageFields.read(fields),
            max_tokens=older if newer is None else newer,
            logprobs=fields.flag("logprobs"),
            top_logprobs=fields.count("top_logprobs") or 0,
        )
        if read.top_logprobs and not read.logprobs:
            raise refused("top_logprobs", "needs logprobs to be true")
        if fields.flag("echo"):
            raise refused("echo", "is not offered for chats")
        fields.close()
        return read

    def options(self) -> dict[str, Any]:
        """Return the arguments of `SamplingClient.sample` that these fields come to."""
        return {
            "num_samples": self.sampling.num_samples,
            "include_prompt_logprobs": self.sampling.prompt_logprobs is not None,
            "topk_prompt_logprobs": self.sampling.prompt_logprobs or 0,
            "topk_sample_logprobs": self.top_logprobs,
        }


async def complete_chat(model: ServedModel, asked: ChatFields, most: int, seconds: float | None) -> dict[str, Any]:
    """Sample the answer to a conversation, and return it as JSON has it.

    Args:
        model: Where to sample.
        asked: What is asked for.
        most: Most tokens of the answer where that does not say; 0 for what is left of the context.
        seconds: The deadline; None for the deadline that the service is configured with.

    Raises:
        GatewayError, TinkexError, ValueError: It cannot be had; `gateway_error` tells what that comes to.
    """
    vocabulary = await model.vocabulary()
    chat, prompt = await asked.prompt.prompt(vocabulary)
    room = room_for(model, [prompt], asked.max_tokens)
    max_tokens = asked.max_tokens or min(room or most or _UNKNOWN_ROOM, most or room or _UNKNOWN_ROOM)
    params = asked.sampling.params(max_tokens, _stops(chat, asked.sampling))
    (response,) = await sample_prompts(model, [prompt], params, seconds, **asked.options())
    return ChatAnswer(asked, model, vocabulary, chat, prompt).body(response)


def _stops(chat: ChatFormat, sampling: SamplingFields) -> Sequence[Any]:
    """Return what ends an answer: the end of a turn, and the stops of the request."""
    try:
        return chat.stop_with(sampling.stops or sampling.stop_tokens)
    except ValueError:
        raise refused("stop_token_ids", "cannot be had: this model's chat format ends turns with a text") from None


@frozen
class ChatAnswer:
    """The answer to a request for chat completions, in the making."""

    asked: ChatFields
    model: ServedModel
    vocabulary: ModelVocabulary
    chat: ChatFormat
    prompt: ModelInput

    def body(self, response: SampleResponse) -> dict[str, Any]:
        """Return the answer as JSON has it."""
        sampling = self.asked.sampling
        body = {
            "id": f"chatcmpl-{os.urandom(16).hex()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model.name,
            "choices": [{"index": at, **self._choice(sequence)} for at, sequence in enumerate(response.sequences)],
            "usage": total_usage([response]),
        }
        if sampling.prompt_logprobs is not None:
            plain = response.to_dict()
            scored = ScoredTokens(self._prompt_ids(), plain["prompt_logprobs"], plain.get("topk_prompt_logprobs"))
            body["prompt_logprobs"] = scored.by_position(self.vocabulary.pieces, sampling.prompt_logprobs)
        if sampling.token_ids:
            body["prompt_token_ids"] = self._prompt_ids()
        return body

    def _prompt_ids(self) -> list[int]:
        try:
            return self.prompt.to_ints()
        except ValueError:
            raise GatewayError(400, "messages: a prompt with pictures has no token ids.", "messages") from None

    def _choice(self, sequence: SampledSequence) -> dict[str, Any]:
        sampling, tools = self.asked.sampling, self.asked.prompt.tools
        answer = self.chat.parse(sequence, self.prompt, tools, stop=sampling.stop_tokens)
        unread = "".join(call.text for call in answer.unparsed_tool_calls)
        answer = evolve(answer, content=answer.content + unread).before_stop(sampling.stops)
        message = answer.message
        reason = sequence.stop_reason if answer.ended == "cut_off" else "stop"
        return {
            "message": message,
            "logprobs": self._logprobs(sequence) if self.asked.logprobs else None,
            "finish_reason": "tool_calls" if "tool_calls" in message and reason == "stop" else reason,
            **({"token_ids": sequence.tokens} if sampling.token_ids else {}),
        }

    def _logprobs(self, sequence: SampledSequence) -> dict[str, Any]:
        scored, by_id = ScoredTokens.of(sequence), self.asked.sampling.tokens_by_id
        return chat_logprobs(scored.spelled(self.vocabulary.pieces, self.asked.top_logprobs, by_id=by_id))
