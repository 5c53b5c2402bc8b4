"""Find what a template leaves out of a prompt: what is given reaches the model, or an error names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from tinkex.tokenizers._chat_template.messages import REASONING, further_fields, is_text_part, says_nothing
from tinkex.tokenizers._chat_template.plain import PlainList, PlainMapping, place_of, replaced
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.tokenizers._chat_template.traits import PROBE

Messages = list[PlainMapping]
Render = Callable[[Messages], str | None]
"""Renders messages; None where the template refuses them."""

_CHECKED_OTHERWISE: Final = frozenset({"role", "content", "tool_calls"})
_READS_REASONING: Final = re.compile(rf"[.'\"]({'|'.join(REASONING)})\b|</think>|\[/THINK\]")


def left_out(template: ChatTemplate, messages: Messages, text: str, render: Render, count: int) -> Iterator[str]:
    """Yield the places in messages of what is not in their rendered text.

    Reasoning and content that a template takes out of history on purpose are not meant. Texts and tool calls are
    looked for in the first *count* messages.
    """
    if not _are_plainly_there(messages[:count], text):
        yield from texts_left_out(messages, render, count, writes_texts="content" in template.source)
    yield from _fields(template, messages, text, render, count)
    for place, others in _odd_contents(messages):
        if render(others) == text:
            yield place


def texts_left_out(messages: Messages, render: Render, count: int, *, writes_texts: bool = True) -> Iterator[str]:
    """Yield the places of texts, where the template writes any, and calls that are not rendered, by names of their own.

    Texts and tool calls are looked for in the first *count* messages.
    """
    names: dict[str, tuple[str, int]] = {}
    named = [_named(message, index, names) for index, message in enumerate(messages[:count])] + messages[count:]
    written = render(named)
    for name, (place, index) in names.items():
        if _has(written, name):
            continue
        is_text = ".tool_calls[" not in place
        if is_text and messages[index]["role"] == "assistant" and _has(render(named[: index + 1]), name):
            continue  # taken out of history: gpt-oss takes what stands before a call for thinking
        if writes_texts or not is_text:
            yield place


def _has(text: str | None, name: str) -> bool:
    return text is None or name in text.lower()


def _are_plainly_there(messages: Messages, text: str) -> bool:
    if any("tool_calls" in each or each["role"] not in ("user", "assistant") for each in messages[1:]):
        return False
    if not messages or "tool_calls" in messages[0] or isinstance(messages[0].get("content"), PlainMapping):
        return False
    first, *others = (_texts(message) for message in messages)
    if _are_in_order(chain(first, *others), text):
        return True
    # Some templates write the system message further down: then it must be there besides what is in other messages.
    return _are_in_order(chain(*others), text) and all(
        text.count(said) > sum(other.count(said) for other in chain(*others)) for said in first if said
    )


def _texts(message: PlainMapping) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content.strip()]
    return [part["text"].strip() for part in content if is_text_part(part)] if isinstance(content, list) else []


def _are_in_order(texts: Iterable[str], text: str) -> bool:
    position = 0
    for said in texts:
        found = text.find(said, position)
        if found < 0:
            return False
        position = found + len(said)
    return True


def _named(message: PlainMapping, index: int, names: dict[str, tuple[str, int]]) -> PlainMapping:
    """Return the message with a name in place of each text, and as the name of each tool that it calls."""

    def name_of(place: str) -> str:
        name = f"{PROBE}{len(names)}end"
        names[name] = place, index
        return name

    changed: dict[str, Any] = {}
    content = message.get("content")
    if isinstance(content, str) and content.strip():
        changed["content"] = name_of(f"{place_of(message)}.content")
    if isinstance(content, PlainMapping):
        items = {key: name_of(f"{place_of(content)}.{key}") for key in content}
        changed["content"] = PlainMapping(place_of(content), items)
    if isinstance(content, list):
        changed["content"] = PlainList(
            f"{place_of(message)}.content",
            [
                replaced(part, text=name_of(place_of(part))) if is_text_part(part) and part["text"].strip() else part
                for part in content
            ],
        )
    if message.get("tool_calls"):
        calls = message["tool_calls"]
        changed["tool_calls"] = PlainList(place_of(calls), [_renamed(call, name_of(place_of(call))) for call in calls])
    return replaced(message, **changed)


def _renamed(call: PlainMapping, name: str) -> PlainMapping:
    if isinstance(call.get("function"), dict):
        return replaced(call, function=replaced(call["function"], name=name))
    return replaced(call, name=name)


def _fields(template: ChatTemplate, messages: Messages, text: str, render: Render, count: int) -> Iterator[str]:
    """Yield the first of each kind of field without which the text is the same."""
    fields: dict[tuple[str, str], str] = {}
    for index, message in enumerate(messages):
        if message.keys() <= _CHECKED_OTHERWISE:
            continue
        for name, value in message.items():
            if value and name not in _CHECKED_OTHERWISE and not says_nothing(name, message["role"]):
                kind = "reasoning" if name in REASONING else name
                if kind != "reasoning" or index >= count or not _READS_REASONING.search(template.source):
                    fields.setdefault((message["role"], kind), f"{place_of(message)}.{name}")
    for (role, kind), place in fields.items():
        names = REASONING if kind == "reasoning" else (kind,)
        if render([_without(message, names) if message["role"] == role else message for message in messages]) == text:
            yield place


def _without(message: PlainMapping, names: Sequence[str]) -> PlainMapping:
    return PlainMapping(place_of(message), {name: value for name, value in message.items() if name not in names})


def _odd_contents(messages: Messages) -> Iterator[tuple[str, Messages]]:
    """Yield content that templates may overlook, with the messages as they would be without it."""
    for index, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(content, PlainList):
            continue
        for at, part in enumerate(content):
            if not is_text_part(part) and not _is_picture(part):
                rest = [*content[:at], *content[at + 1 :]]
                yield place_of(part), [*messages[:index], replaced(message, content=rest), *messages[index + 1 :]]
            for name in further_fields(part):
                rest = [*content[:at], _without(part, [name]), *content[at + 1 :]]
                others = [*messages[:index], replaced(message, content=rest), *messages[index + 1 :]]
                yield f"{place_of(part)}.{name}", others


def _is_picture(part: Mapping[str, Any]) -> bool:
    return part.get("type") in ("image", "image_url")
