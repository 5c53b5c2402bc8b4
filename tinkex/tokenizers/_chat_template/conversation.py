"""Render a conversation to the text of a prompt, or say why the template cannot."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from tinkex._validation.strict_json import strict_json
from tinkex.tokenizers._chat_template.left_out import Messages, left_out
from tinkex.tokenizers._chat_template.messages import further_fields, is_text_part
from tinkex.tokenizers._chat_template.plain import PlainList, PlainMapping, place_of, plain_copy, replaced, told
from tinkex.tokenizers._chat_template.prefill import Prefill
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.tokenizers._chat_template.traits import arguments_form, knows_role, takes_parts, writes_role
from tinkex.tokenizers.errors import ChatTemplateError

_MARKING: Final = 8  # characters of a text that is not met by chance
_KNOWN_BY_ALL = ("user", "assistant", "system", "tool")  # known to every template, or refused by it


@attrs.frozen
class RenderOptions:
    """How to render a conversation, besides its messages."""

    tools: list[Any] | None = None
    variables: Mapping[str, Any] = attrs.field(factory=dict)
    add_generation_prompt: bool = True
    continue_final_message: bool | str = False
    """True to continue ``content``, or the name of the field to continue."""

    def given(self, messages: Messages) -> dict[str, Any]:
        """Return the template's variables."""
        own = {"messages": messages, "tools": self.tools, "add_generation_prompt": self.add_generation_prompt}
        return {"documents": None, **self.variables, **own}


def render_conversation(template: ChatTemplate, messages: Messages, options: RenderOptions) -> str:
    """Return the text of a conversation, as the template has it.

    Messages are fitted to what the template takes: texts in parts are joined where it takes text only, arguments of
    tool calls become text or a mapping, and ``content`` that is None becomes an empty text where it is not taken.
    Beside tool calls, content that is None, empty or absent is whichever of these the template takes.

    Raises:
        ChatTemplateError: The template refuses the messages, or would leave out something given.
    """
    messages = [_fitted(template, message) for message in messages]
    try:
        return _checked_text(template, messages, options)
    except ChatTemplateError:
        for nothing in (None, ""):
            tried = [replaced(each, content=nothing) if _only_calls(each) else each for each in messages]
            if tried != messages:
                with contextlib.suppress(ChatTemplateError):
                    return _checked_text(template, tried, options)
        raise


def _only_calls(message: PlainMapping) -> bool:
    return bool(message.get("tool_calls")) and not message.get("content")


def _checked_text(template: ChatTemplate, messages: Messages, options: RenderOptions) -> str:
    prefill = None
    if options.continue_final_message:
        prefill = Prefill(template, messages, options.continue_final_message)
        messages = prefill.marked(messages)
        options = attrs.evolve(options, add_generation_prompt=False)
    messages = _with_content(template, messages, options)
    try:
        text = template.render(options.given(messages))
    except ChatTemplateError:
        _check_each_tool(template, messages, options)
        _check_each_mapping(template, messages, options)
        raise
    _check_tools(template, messages, options, text)

    def render(tried: Messages) -> str | None:
        return template.try_render(options.given(tried))

    for place in left_out(template, messages, text, render, len(messages) - bool(prefill)):
        calling = {f"{place_of(each)}.content" for each in messages if each.get("tool_calls")}
        advice = " beside tool calls; give it as a message of its own before them" if place in calling else ""
        raise ChatTemplateError(f"{place}: the chat template of {template.tokenizer} leaves it out{advice}")
    return prefill.cut(text) if prefill else text


def _fitted(template: ChatTemplate, message: PlainMapping) -> PlainMapping:
    """Return the message in the form that the template takes."""
    place, role = place_of(message), message["role"]
    if role not in _KNOWN_BY_ALL and not (writes_role(template, role) and knows_role(template, role)):
        does = "does not know" if writes_role(template, role) else "leaves out messages of"
        raise ChatTemplateError(
            f"{place}: the chat template of {template.tokenizer} {does} the role {role!r}."
            " Give it another role, such as 'system' or 'user'."
        )
    changed: dict[str, Any] = {}
    content = message.get("content")
    if isinstance(content, list) and not takes_parts(template, role):
        changed["content"] = _joined(template, f"{place}.content", content)
    if "tool_calls" in message:
        changed["tool_calls"] = _fitted_calls(template, f"{place}.tool_calls", message["tool_calls"])
    return replaced(message, **changed)


def _joined(template: ChatTemplate, place: str, parts: list[Any]) -> str:
    """Return the texts of parts one after the other, as templates that take parts write them."""
    for index, part in enumerate(parts):
        if not is_text_part(part):
            raise ChatTemplateError(
                f"{place}[{index}] is not text, and the chat template of {template.tokenizer} takes text only"
            )
        for name in further_fields(part):
            raise ChatTemplateError(f"{place}[{index}].{name}: the chat template of {template.tokenizer} leaves it out")
    return "".join(part["text"] for part in parts)


def _fitted_calls(template: ChatTemplate, place: str, calls: Any) -> PlainList:
    if not isinstance(calls, PlainList) or not all(isinstance(call, PlainMapping) for call in calls):
        raise TypeError(f"{place} must be a list of mappings, got {told(calls)}")
    return PlainList(place, [_fitted_call(template, call) for call in calls])


def _fitted_call(template: ChatTemplate, call: PlainMapping) -> PlainMapping:
    function = call.get("function")
    if isinstance(function, PlainMapping):
        return replaced(call, function=_fitted_function(template, function))
    return _fitted_function(template, call)


def _fitted_function(template: ChatTemplate, function: PlainMapping) -> PlainMapping:
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise ValueError(f"{place_of(function)} has no name of a function, only {', '.join(function) or 'nothing'}")
    place, form = f"{place_of(function)}.arguments", arguments_form(template)
    arguments = function.get("arguments", {})
    if not isinstance(arguments, str | dict):
        raise TypeError(f"{place} must be a mapping or JSON text, got {told(arguments)}")
    if isinstance(arguments, str) and (form == "mapping" or not arguments.strip()):
        arguments = _parsed(template, place, arguments.strip())
    if isinstance(arguments, dict) and form == "text":
        arguments = json.dumps(arguments, ensure_ascii=False)
    return replaced(function, arguments=arguments)


def _parsed(template: ChatTemplate, place: str, arguments: str) -> Any:
    try:
        parsed = strict_json(arguments or "{}")
    except ValueError as error:
        problem = f"is not JSON ({error})"
    else:
        if isinstance(parsed, dict):
            return plain_copy(place, parsed)
        problem = "is not a JSON object"
    raise ChatTemplateError(f"{place} {problem}, and the chat template of {template.tokenizer} takes a mapping")


def _with_content(template: ChatTemplate, messages: Messages, options: RenderOptions) -> Messages:
    """Return the messages with empty text for content that is None, where the template takes no None or writes it."""
    if not any(map(_has_null, messages)):
        return messages
    empty = [replaced(message, content="") if _has_null(message) else message for message in messages]
    with_null, with_text = (template.try_render(options.given(tried)) for tried in (messages, empty))
    if with_text is None:
        return messages
    return empty if with_null is None or with_null.count("None") > with_text.count("None") else messages


def _has_null(message: PlainMapping) -> bool:
    return "content" in message and message["content"] is None


def _check_each_tool(template: ChatTemplate, messages: Messages, options: RenderOptions) -> None:
    """Raise for the tool on which the template fails, if it is one."""
    if not options.tools or template.try_render(attrs.evolve(options, tools=None).given(messages)) is None:
        return
    for index, tool in enumerate(options.tools):
        try:
            template.render(attrs.evolve(options, tools=[tool]).given(messages))
        except ChatTemplateError as error:
            schema = tool.get("function") if isinstance(tool.get("function"), PlainMapping) else tool
            lacks = [f"no {name}" for name in ("name", "description", "parameters") if name not in schema]
            has = f", which has {' and '.join(lacks)}" if lacks else ""
            raise ChatTemplateError(
                f"tools[{index}]: the chat template of {template.tokenizer} cannot write it{has}: {error}"
            ) from error


def _check_each_mapping(template: ChatTemplate, messages: Messages, options: RenderOptions) -> None:
    """Raise for the result of a tool that is a mapping, if the template fails on it."""
    for index, message in enumerate(messages):
        if isinstance(message.get("content"), PlainMapping):
            others = [*messages[:index], replaced(message, content=""), *messages[index + 1 :]]
            if template.try_render(options.given(others)) is not None:
                raise ChatTemplateError(
                    f"{place_of(message)}.content is a mapping, which the chat template of {template.tokenizer} does"
                    " not take"
                )


def _check_tools(template: ChatTemplate, messages: Messages, options: RenderOptions, text: str) -> None:
    if not options.tools or _is_from_tools(template, messages, options, text):
        return
    if template.try_render(attrs.evolve(options, tools=None).given(messages)) == text:
        raise ChatTemplateError(
            f"tools: the chat template of {template.tokenizer} leaves them out, so the model would not know of them"
        )


def _is_from_tools(template: ChatTemplate, messages: Messages, options: RenderOptions, text: str) -> bool:
    """Whether a text tells of the tools: it has the longest text in them, which it can have from nowhere else.

    Where this cannot be told, the template is rendered again without them, which costs as much as the first time.
    """
    mark = max(_texts(options.tools), key=len, default="")
    written = json.dumps(mark, ensure_ascii=False)
    if len(mark) < _MARKING or len(written) > len(mark) + 2 or mark not in text or mark in template.source:
        return False
    return mark not in json.dumps([messages, options.variables], ensure_ascii=False, default=str)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)
