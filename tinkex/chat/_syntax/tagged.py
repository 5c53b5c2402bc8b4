"""Tool calls between tags: in JSON (Qwen 2.5 and 3, Hermes) or in XML (Qwen 3.5, Nemotron 3, GLM)."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from tinkex._validation.strict_json import strict_json
from tinkex.chat._marks import ControlMarks
from tinkex.chat._syntax.base import Calls, ParsedCall, ParsedTurn, ToolSchemas, parse_json_call
from tinkex.chat.answer import UnparsedToolCall

BEGIN: Final = "<tool_call>"
END: Final = "</tool_call>"
_FUNCTION: Final = re.compile(r"\s*<function=([^>\n]+)>\s*(.*?)\s*</function>\s*", re.DOTALL)
_PARAMETER: Final = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)

_KEY_AND_VALUE: Final = re.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)


class TaggedCalls:
    """Calls between ``<tool_call>`` and ``</tool_call>``, in JSON."""

    control_tokens = (BEGIN, END)
    turn_ends = ()

    def parse(self, text: str, marks: ControlMarks, tools: ToolSchemas) -> ParsedTurn:
        """Split a text with marks into content and calls."""
        content, *blocks = text.split(marks[BEGIN])
        calls: Calls = []
        for block in blocks:
            body, end, after = block.partition(marks[END])
            inside = marks.restore(body)
            calls.append(self._call(inside, tools) if end else UnparsedToolCall(BEGIN + inside, f"no {END}"))
            content += after.strip() and after
        return ParsedTurn(content, calls=calls)

    def _call(self, text: str, tools: ToolSchemas) -> ParsedCall | UnparsedToolCall:
        return parse_json_call(text.strip())


class XmlCalls(TaggedCalls):
    """Calls between ``<tool_call>`` and ``</tool_call>``, as ``<function=name><parameter=key>value</parameter>``."""

    def _call(self, text: str, tools: ToolSchemas) -> ParsedCall | UnparsedToolCall:
        found = _FUNCTION.fullmatch(text)
        if not found:
            return UnparsedToolCall(text, "not <function=name>...</function>")
        name, body = found.groups()
        rest = _PARAMETER.sub("", body)
        if rest.strip():
            return UnparsedToolCall(text, f"not a parameter: {rest.strip()[:60]}")
        return _typed_call(text, name, _PARAMETER.findall(body), tools)


class GlmCalls(TaggedCalls):
    """GLM: between ``<tool_call>`` and ``</tool_call>`` the name, and ``<arg_key>`` and ``<arg_value>`` by turns."""

    def _call(self, text: str, tools: ToolSchemas) -> ParsedCall | UnparsedToolCall:
        name, _, _ = text.partition("<arg_key>")
        rest = _KEY_AND_VALUE.sub("", text[len(name) :])
        if not name.strip() or rest.strip():
            return UnparsedToolCall(text, "not a name and <arg_key>...</arg_key> <arg_value>...</arg_value>")
        return _typed_call(text, name.strip(), _KEY_AND_VALUE.findall(text), tools)


def _typed_call(
    text: str, name: str, given: list[tuple[str, str]], tools: ToolSchemas
) -> ParsedCall | UnparsedToolCall:
    keys = [key for key, _ in given]
    for key in keys:
        if keys.count(key) > 1:
            return UnparsedToolCall(text, f"{key!r} is given twice")
    arguments = {key: _value(value, tools.types(name, key)) for key, value in given}
    return ParsedCall(name, json.dumps(arguments, ensure_ascii=False))


def _value(text: str, types: frozenset[str]) -> Any:
    """Return an argument as the schema has it; without one, what JSON would write in the same letters."""
    spelled = {"True": "true", "False": "false", "None": "null"}.get(text, text)  # templates write Python's
    try:
        value = strict_json(spelled)
    except ValueError:
        return text
    if types:
        return value if types & _types_of(value) else text
    return value if json.dumps(value, ensure_ascii=False) == text and not isinstance(value, str) else text


def _types_of(value: Any) -> frozenset[str]:
    if isinstance(value, bool):
        return frozenset(("boolean",))
    if isinstance(value, int):
        return frozenset(("integer", "number"))
    names = {float: "number", str: "", list: "array", dict: "object", type(None): "null"}
    return frozenset((names[type(value)],))
