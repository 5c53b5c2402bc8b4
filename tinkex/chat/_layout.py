"""Find out how a chat template lays out a turn, by rendering small conversations with it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import attrs

from tinkex.chat._syntax import NoCalls, syntax_of
from tinkex.chat._syntax.bare_json import LlamaCalls
from tinkex.chat._syntax.base import Syntax
from tinkex.tokenizers import ChatTemplateError
from tinkex.tokenizers._adapters import CONTROL_TOKEN
from tinkex.tokenizers._chat_template.conversation import RenderOptions, render_conversation
from tinkex.tokenizers._chat_template.messages import read_conversation, read_tools
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.tokenizers._chat_template.role_colon import ROLE_COLON_STOP
from tinkex.tokenizers._chat_template.traits import CALL_ID, call_message

ASKS: Final = "tinkexasks"
THINKS: Final = "tinkexthinks"
SAYS: Final = "tinkexsays"
_TOOL: Final = {"type": "function", "function": {"name": "f", "description": "", "parameters": {"type": "object"}}}
_THINKING_TAGS: Final = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
_ENDS_OF_TEXT: Final = ("<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "<eos>")
"""What ends a text in the families, also where the tokenizer names what ends a turn instead."""
_END_OF_MESSAGE: Final = "<|eom_id|>"
"""What ends a tool call of Llama 3 where results are expected, which not all of its templates name."""


@attrs.frozen
class TurnLayout:
    """What stands around and inside an answer."""

    syntax: Syntax
    thinking: tuple[str, str] | None
    """The control tokens around thinking; None where the template knows none."""
    thinking_trim: tuple[str, str, str]
    """What the template writes behind the first of them, and before and behind the second."""
    call_separator: str
    """What it writes between content and the first tool call."""
    role_name: str
    """What it writes behind the last control token before an answer, such as ``assistant`` and a line break."""
    begun: str
    """What it writes of the answer itself, such as ``<think>``."""
    boundaries: frozenset[str]
    """Control tokens that stand before an answer; what follows them in the prompt is the beginning of the answer."""
    turn_ends: tuple[str, ...]
    """The control tokens that end a turn when the model writes it."""
    history_ends: tuple[str, ...]
    """The control tokens that end a turn when another message follows it."""
    text_ends: tuple[str, ...]
    """The control tokens that end a text."""
    ends_with_next: bool = False
    """Whether a turn ends with the control token that the next message begins with, as GLM's ``<|user|>``."""
    stop_text: str | None = None
    """The text that ends a turn, where no control token does."""

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """What has to be found in an answer to parse it."""
        return (*self.syntax.control_tokens, *(self.thinking or ()))


class LayoutProbe:
    """Renders the small conversations; *is_token* tells whether a text is one token of the vocabulary."""

    def __init__(self, template: ChatTemplate, variables: Mapping[str, Any], is_token: Any) -> None:
        self._template = template
        self._variables = variables
        self._is_token = is_token
        self._syntax = syntax_of(template.source)
        self._thinking_tags = {tag for pair in _THINKING_TAGS for tag in pair}
        self._inside = {*self._syntax.control_tokens, *self._thinking_tags} - {*self._syntax.turn_ends}

    def layout(self) -> TurnLayout:
        """Return the layout of a turn."""
        asked, answered = _message("user", ASKS), _message("assistant", SAYS)
        called = call_message(arguments={"x": SAYS})
        result = {**_message("tool", ASKS), "tool_call_id": CALL_ID, "name": "f"}
        header = self._after(ASKS, [asked], header=True)
        header_of_result = self._after(ASKS, [asked, called, result], header=True)
        last = [self._after(SAYS, [asked, answered]), self._after(SAYS, [asked, called])]
        followed = [
            self._after(SAYS, [asked, answered, asked], header=True),
            self._after(SAYS, [asked, called, result], header=True),
        ]
        ends = [self._first(last[0]), self._last(last[1])]
        history_ends = [self._first(followed[0]), self._first(followed[1]) if ends[1] or not ends[0] else None]
        if isinstance(self._syntax, LlamaCalls) and self._is_token(_END_OF_MESSAGE):
            ends.append(_END_OF_MESSAGE)
        ends_with_next = not any(ends)
        if ends_with_next:
            ends = history_ends
        eos = dict(self._template.special_tokens).get("eos_token")
        role_name, begun = self._divided(header)
        return TurnLayout(
            syntax=self._syntax,
            thinking=next((pair for pair in _THINKING_TAGS if pair[1] in self._template.source), None),
            thinking_trim=self._thinking_trim(asked, begun),
            call_separator=self._call_separator(asked),
            role_name=role_name,
            begun=begun,
            boundaries=frozenset(_unique([*ends, *history_ends, self._lead(header), self._lead(header_of_result)])),
            turn_ends=_unique(ends),
            history_ends=_unique([*history_ends, *ends]),
            text_ends=_unique([eos, *filter(self._is_token, _ENDS_OF_TEXT)]),
            ends_with_next=ends_with_next,
        )

    def _divided(self, header: str) -> tuple[str, str]:
        lead = self._lead(header)
        if lead is None:
            return "", ""
        name = header.rpartition(lead)[2]
        start = min((name.find(tag) for tag in self._thinking_tags if tag in name), default=len(name))
        return name[:start], name[start:]

    def _thinking_trim(self, asked: dict[str, Any], begun: str) -> tuple[str, str, str]:
        pair = next((pair for pair in _THINKING_TAGS if pair[1] in self._template.source), None)
        text = self._after(ASKS, [asked, {**_message("assistant", SAYS), "reasoning_content": THINKS}])
        if pair is None or THINKS not in text or pair[1] not in text:
            closed = pair is not None and pair[1] in begun
            return "\n", "\n", begun.rpartition(pair[1])[2] if pair and closed else "\n\n"
        before, _, rest = text.partition(THINKS)
        between = rest.partition(SAYS)[0]
        before_close, _, after_close = between.partition(pair[1])
        return before.rpartition(pair[0])[2], before_close, after_close

    def _call_separator(self, asked: dict[str, Any]) -> str:
        text = self._after(SAYS, [asked, call_message(arguments={"x": "y"}, content=SAYS)])
        begin = next((token for token in CONTROL_TOKEN.findall(text) if token in self._syntax.control_tokens), None)
        return text.partition(begin)[0] if begin else ""

    def _after(self, mark: str, messages: list[dict[str, Any]], *, header: bool = False) -> str:
        """Return what stands behind a text in a conversation; nothing where the template refuses that."""
        plain = read_conversation(messages, ()).messages
        for tools in (None, read_tools([_TOOL])):  # some templates are for conversations with tools only
            options = RenderOptions(tools=tools, variables=self._variables, add_generation_prompt=header)
            with contextlib.suppress(ChatTemplateError):
                text = render_conversation(self._template, plain, options)
                break
        else:
            return ""
        if mark == SAYS or not header:
            return text.partition(mark)[2]
        return text.rpartition(mark)[2]

    def _controls(self, text: str) -> list[str]:
        return [token for token in CONTROL_TOKEN.findall(text) if token not in self._inside and self._is_token(token)]

    def _lead(self, header: str) -> str | None:
        """Return the last control token of a header, thinking aside."""
        found = (token for token in CONTROL_TOKEN.findall(header) if token not in self._thinking_tags)
        return next(reversed([token for token in found if self._is_token(token)]), None)

    def _first(self, text: str) -> str | None:
        return next(iter(self._controls(text)), None)

    def _last(self, text: str) -> str | None:
        """Return the last control token that is not the end of something begun inside the turn."""
        ends = [name for name in self._controls(text) if name == "</s>" or not name.startswith("</")]
        return next(reversed(ends), None)


def role_colon_layout(eos: str | None) -> TurnLayout:
    """Return the layout of the format ``role_colon``, which has no control tokens."""
    return TurnLayout(
        NoCalls(), None, ("", "", ""), "", "", "", frozenset(), (), (), (eos,) if eos else (), stop_text=ROLE_COLON_STOP
    )


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _unique(names: list[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
