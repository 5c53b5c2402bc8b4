"""What the syntaxes of tool calls have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from tinkex._validation.strict_json import strict_json
from tinkex._validation.values import shown
from tinkex.chat._marks import ControlMarks
from tinkex.chat.answer import UnparsedToolCall


@attrs.frozen
class ParsedCall:
    """A tool call that was read: its arguments are the text of a JSON object."""

    name: str
    arguments: str
    id: str | None = None
    """None where the model writes none."""


Calls = list[ParsedCall | UnparsedToolCall]


@attrs.frozen
class ParsedTurn:
    """The parts of a turn, its marks not yet restored."""

    content: str
    reasoning: str | None = None
    calls: Calls = attrs.field(factory=list)


class Syntax(Protocol):
    """How a family of models writes tool calls."""

    @property
    def control_tokens(self) -> Sequence[str]:
        """What it is made of."""

    @property
    def turn_ends(self) -> Sequence[str]:
        """Those of its control tokens that end a turn."""

    def parse(self, text: str, marks: ControlMarks, tools: ToolSchemas) -> ParsedTurn:
        """Split a text with marks, its thinking taken off already, into content and calls."""


class ToolSchemas:
    """The types that schemas of tools give for the arguments."""

    def __init__(self, tools: Sequence[Mapping[str, Any]] | None = None) -> None:
        self._properties: dict[str, Mapping[str, Any]] = {}
        for index, tool in enumerate(tools or ()):
            if not isinstance(tool, Mapping):
                raise TypeError(f"tools[{index}] must be a mapping, got {shown(tool)}")
            function = tool.get("function", tool)
            parameters = function.get("parameters") if isinstance(function, Mapping) else None
            properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
            if isinstance(properties, Mapping):
                self._properties[str(function.get("name"))] = properties

    def types(self, function: str, argument: str) -> frozenset[str]:
        """Return the types of an argument, as JSON schemas call them; none where they are not known."""
        schema = self._properties.get(function, {}).get(argument)
        if not isinstance(schema, Mapping):
            return frozenset()
        schemas = [schema, *(part for key in ("anyOf", "oneOf") for part in schema.get(key) or ())]
        found = [part.get("type") for part in schemas if isinstance(part, Mapping)]
        return frozenset(name for given in found for name in ([given] if isinstance(given, str) else given or ()))


def parse_json_call(text: str, arguments_key: str = "arguments") -> ParsedCall | UnparsedToolCall:
    """Read ``{"name": ..., "arguments": {...}}``; the text of the arguments is kept to the letter."""
    try:
        found = strict_json(text)
    except ValueError as error:
        return UnparsedToolCall(text, f"not JSON: {error}")
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return UnparsedToolCall(text, "not a JSON object with a name")
    arguments = found.get(arguments_key, {})
    if isinstance(arguments, str):
        return checked_call(text, found["name"], arguments)
    if not isinstance(arguments, dict):
        return UnparsedToolCall(text, f"{arguments_key} is not a JSON object")
    written_id = found.get("id")
    exact = _exact(text, arguments_key, arguments)
    return ParsedCall(found["name"], exact, written_id if isinstance(written_id, str) else None)


def checked_call(text: str, name: str, arguments: str, id: str | None = None) -> ParsedCall | UnparsedToolCall:
    """Make a call of a name and the text of its arguments, which must be a JSON object."""
    if not name:
        return UnparsedToolCall(text, "no name")
    try:
        found = strict_json(arguments)
    except ValueError as error:
        return UnparsedToolCall(text, f"the arguments are not JSON: {error}")
    if not isinstance(found, dict):
        return UnparsedToolCall(text, "the arguments are not a JSON object")
    return ParsedCall(name, arguments, id)


def _exact(text: str, key: str, value: dict[str, Any]) -> str:
    """Return how a member of a JSON object was written."""
    decoder = json.JSONDecoder()
    start = -1
    while (start := text.find(f'"{key}"', start + 1)) >= 0:
        begin = text.find("{", start)
        try:
            found, end = decoder.raw_decode(text, begin)
        except ValueError:
            continue
        if begin >= 0 and found == value and text[start + len(key) + 2 : begin].strip() == ":":
            return text[begin:end]
    return json.dumps(value, ensure_ascii=False)
