"""Check messages and bring them into the one form that templates are given."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from tinkex._validation.values import shown
from tinkex.tokenizers._chat_template.plain import DROP_NULLS, SCHEMA_NULLS, PlainMapping, plain_copy, told

REASONING: Final = ("reasoning_content", "thinking", "reasoning")
"""What model families call the reasoning of a message, the usual name first."""
TOOL_ROLES: Final = ("tool", "ipython")
"""The roles of what tools have answered."""
_LIKE: Final = {
    "messages": '{"role": "user", "content": "..."}',
    "tools": '{"type": "function", "function": {"name": "...", "parameters": {...}}}',
}
_SENT_ALONG: Final = frozenset({"annotations", "cache_control", "id", "tool_call_id", "type"})
_PICTURE: Final = "picture"  # what stands in a part in place of a picture: templates look only whether there is one


@attrs.frozen
class PlacedPicture:
    """A picture of a message, and the name of its place in error messages."""

    place: str
    picture: Any


@attrs.frozen
class Conversation:
    """Messages as plain data, and the pictures in them, in their order."""

    messages: list[PlainMapping]
    pictures: list[PlacedPicture]


def read_conversation(messages: Any, picture_types: tuple[type, ...], calls: Any = None) -> Conversation:
    """Check and copy messages; *calls* are the tool calls that stand before them.

    A field that is None counts as absent, but for ``content``, which templates tell from an absent one; reasoning goes
    by every name that templates have for it. Results of tools stand in the order of their calls: many templates write
    no ids. An empty list of tool calls means that there are none.

    Raises:
        TypeError: Something has the wrong type; the message names it, as in ``messages[0].content``.
        ValueError: There are no messages, one has no role, or one is the result of a call that was not made.
    """
    pictures: list[PlacedPicture] = []
    placed = _in_order_of_calls(_mappings("messages", messages), calls)
    read = [_message(place, message, picture_types, pictures) for place, message in placed]
    if not read:
        raise ValueError("messages must not be empty")
    return Conversation(read, pictures)


def read_tools(tools: Any) -> list[Any] | None:
    """Check and copy the schemas of tools; None where there are none."""
    if tools is None:
        return None
    return [plain_copy(place, _tool(place, tool), SCHEMA_NULLS) for place, tool in _mappings("tools", tools)] or None


def _tool(place: str, tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse a function without a name, also where it stands alone, as some models have read it; other kinds may be."""
    function = tool.get("function", tool)
    if tool.get("type", "function") == "function" and not (isinstance(function, Mapping) and function.get("name")):
        raise ValueError(f"{place} must name a function, as {_LIKE['tools']} does, got {shown(tool)}")
    return tool


def _mappings(name: str, items: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise TypeError(f"{name} must be a list of dicts such as {_LIKE[name]}, got {shown(items)}")
    for index, item in enumerate(items):
        if not isinstance(item, (dict, Mapping)):
            raise TypeError(f"{name}[{index}] must be a dict such as {_LIKE[name]}, got {shown(item)}")
        yield f"{name}[{index}]", item


def _in_order_of_calls(
    placed: Iterable[tuple[str, Mapping[str, Any]]], calls: Any
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    ids = _call_ids(calls)
    known = [*ids]
    for are_results, group in itertools.groupby(placed, key=lambda each: each[1].get("role") in TOOL_ROLES):
        found = list(group)
        if are_results:
            for place, message in found:
                _check_call_id(f"{place}.tool_call_id", message.get("tool_call_id"), known)
            if all(message.get("tool_call_id") in ids for _, message in found):
                found.sort(key=lambda each: ids.index(each[1].get("tool_call_id")))
        ids = _call_ids(found[-1][1].get("tool_calls"))
        known += [each for _, message in found for each in _call_ids(message.get("tool_calls"))]
        yield from found


def _call_ids(calls: Any) -> list[Any]:
    return [call.get("id") for call in calls if isinstance(call, Mapping)] if isinstance(calls, list | tuple) else []


def _check_call_id(place: str, given: Any, known: list[Any]) -> None:
    """Refuse the id of a call that was not made. A call without an id may be the one that is meant."""
    if given and given not in known and None not in known:
        raise ValueError(f"{place} is {shown(given)}, and no tool call before it has that id")


def _message(
    place: str, message: Mapping[str, Any], picture_types: tuple[type, ...], pictures: list[PlacedPicture]
) -> PlainMapping:
    if message.get("role") is None:
        raise ValueError(f"{place} has no role, only {', '.join(map(str, message)) or 'nothing'}")
    if not isinstance(message["role"], str):
        raise TypeError(f"{place}.role must be text, got {shown(message['role'])}")
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        parts = [_part(f"{place}.content[{i}]", part, picture_types, pictures) for i, part in enumerate(content)]
        message = {**message, "content": parts}
    if content is None and "content" in message:
        message = {**message, "content": ""}  # keeps its place in the order, which templates that write JSON show
    copied: PlainMapping = plain_copy(place, message, DROP_NULLS)
    if content is None and "content" in message:
        copied["content"] = None
    if copied.get("tool_calls") == []:
        del copied["tool_calls"]
    _check_content(place, copied)
    _move_thinking(copied)
    if not copied.keys().isdisjoint(REASONING):
        reasoning = next(copied[name] for name in REASONING if name in copied)
        copied["reasoning_content"] = reasoning
        copied.setdefault("thinking", reasoning)
    return copied


def _part(place: str, part: Any, picture_types: tuple[type, ...], pictures: list[PlacedPicture]) -> Any:
    """Note the picture of a part of a message, and leave a word in its place."""
    if not isinstance(part, Mapping):
        raise TypeError(f"{place} must be a mapping, such as {{'type': 'text', 'text': ...}}, got {shown(part)}")
    found = [key for key, value in part.items() if isinstance(value, picture_types)]
    if not found and part.get("type") not in ("image", "image_url"):
        return part
    if len(found) != 1:
        raise ValueError(
            f"{place} needs one picture and has {len(found)}:"
            " give {'type': 'image', 'image': ImageChunk.from_path(...)}"
        )
    pictures.append(PlacedPicture(place, part[found[0]]))
    return {**part, found[0]: _PICTURE}


def _check_content(place: str, message: PlainMapping) -> None:
    content = message.get("content")
    if isinstance(content, str):
        return
    if isinstance(content, list):
        for index, part in enumerate(content):
            if is_text_part(part) and not isinstance(part["text"], str):
                raise TypeError(f"{place}.content[{index}].text must be text, got {shown(part['text'])}")
        return
    if content is None and _needs_content(message):
        raise TypeError(f"{place}.content must be text or a list of parts, got none")
    taken = str | Mapping if message["role"] in TOOL_ROLES else str  # results go to some templates as data
    if content is not None and not isinstance(content, taken):
        raise TypeError(f"{place}.content must be text or a list of parts, got {told(content)}")


def _needs_content(message: PlainMapping) -> bool:
    """Whether a message without content would be empty, as calls, reasoning or a template's own fields are not."""
    if "content" in message and message["role"] != "assistant":
        return True
    return not any(
        value and name != "role" and not says_nothing(name, message["role"]) for name, value in message.items()
    )


def says_nothing(name: str, role: str) -> bool:
    """Whether a field of a message is one that clients send along, and that no prompt needs."""
    return name in _SENT_ALONG or (name == "name" and role in TOOL_ROLES)


def is_text_part(part: Mapping[str, Any]) -> bool:
    """Whether a part of a message's content is text and nothing else."""
    return part.get("type", "text") == "text" and "text" in part


def further_fields(part: Mapping[str, Any]) -> list[str]:
    """Return the names of fields that a text part has besides, and that say something."""
    if not is_text_part(part):
        return []
    return [name for name, value in part.items() if value and name != "text" and name not in _SENT_ALONG]


def _move_thinking(message: PlainMapping) -> None:
    """Take thinking that stands as a part of the content for the message's reasoning."""
    content = message.get("content")
    if not isinstance(content, list):
        return
    thoughts = [part["thinking"] for part in content if part.get("type") == "thinking" and "thinking" in part]
    if thoughts and not any(name in message for name in REASONING):
        content[:] = [part for part in content if part.get("type") != "thinking"]
        message["reasoning_content"] = "".join(thoughts)
