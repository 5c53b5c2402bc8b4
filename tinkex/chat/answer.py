"""Answer: what a sampled sequence says, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex.chat.openai_format import text_before_stop

Ended = Literal["turn_end", "end_of_text", "stop", "cut_off"]


@with_field_docs
@attrs.frozen
class UnparsedToolCall:
    """A tool call that cannot be read: its text as sampled, and what is wrong with it."""

    text: str
    reason: str
    """Why it cannot be read."""


@with_field_docs
@attrs.frozen
class Answer:
    """One sampled sequence as a message. Immutable; safe to share between threads.

    Only what was sampled is in it: neither what the prompt has begun (see ``continue_final_message``) nor the token
    that ended the turn.
    """

    content: str
    """What the model says; empty where it only thinks or calls tools."""
    ended: Ended
    """``turn_end`` at the token that ends a turn, ``end_of_text`` at the token that ends a text, ``stop`` at a stop of
    the caller's own, ``cut_off`` at ``max_tokens``."""
    num_tokens: int
    """How many of the sampled tokens are the answer, its end token included; fewer than all if nothing stopped it."""
    reasoning_content: str | None = None
    """What the model has thought; None where it has not."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """Tool calls in OpenAI's form; ``arguments`` is the JSON text as sampled where the model writes JSON."""
    unparsed_tool_calls: tuple[UnparsedToolCall, ...] = ()
    """Tool calls that cannot be read."""

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a message in OpenAI's form, to append to the conversation; a new mapping each time."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning_content is not None:
            message["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            message["content"] = self.content or None
            message["tool_calls"] = [{**call, "function": {**call["function"]}} for call in self.tool_calls]
        return message

    @property
    def is_complete(self) -> bool:
        """Whether the model ended its turn itself, and every tool call in it can be read."""
        return self.ended in ("turn_end", "end_of_text") and not self.unparsed_tool_calls

    def tool_results(self, functions: Mapping[str, Callable[..., object]]) -> list[dict[str, Any]]:
        """Run the tools that the answer calls, and return what comes of it as messages, in the order of the calls.

        A function gets the arguments that the model has written as keywords, unchecked. What it returns is told as
        text, or as JSON if it is none. What it raises is told to the model, which may try again, and so is a call that
        no function is there for.

        Args:
            functions: The tools by name.
        """
        return [_tool_message(call, functions) for call in self.tool_calls]

    def before_stop(self, stops: Iterable[object]) -> Answer:
        """Return the answer as it is in front of the first of these texts, in its thinking or its content."""
        stops = list(stops)
        thought, stopped = text_before_stop(self.reasoning_content or "", stops)
        if stopped:
            return attrs.evolve(self, reasoning_content=thought, content="", ended="stop")
        said, stopped = text_before_stop(self.content, stops)
        return attrs.evolve(self, content=said, ended="stop") if stopped else self


def _tool_message(call: Mapping[str, Any], functions: Mapping[str, Callable[..., object]]) -> dict[str, Any]:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    try:
        if name not in functions:
            raise LookupError(f"there is no tool {name}, but {', '.join(functions)}")
        found = functions[name](**json.loads(arguments))
        content = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    except Exception as error:  # noqa: BLE001 - the model has written the arguments, and is told
        content = f"error: {type(error).__name__}: {error}"
    return {"role": "tool", "tool_call_id": call["id"], "name": name, "content": content}
