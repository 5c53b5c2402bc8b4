"""Tool calls as JSON without tags around each: Llama 3 and Mistral."""

from __future__ import annotations

import json
import re
from typing import Final

from tinkex.chat._marks import ControlMarks
from tinkex.chat._syntax.base import Calls, ParsedCall, ParsedTurn, ToolSchemas, checked_call, parse_json_call
from tinkex.chat.answer import UnparsedToolCall

PYTHON_TAG: Final = "<|python_tag|>"
TOOL_CALLS: Final = "[TOOL_CALLS]"
CALL_ID: Final = "[CALL_ID]"
ARGUMENTS: Final = "[ARGS]"
_LOOKS_LIKE_A_CALL: Final = re.compile(r'\{\s*("type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"[^"]*"\s*,\s*"parameters"')
_DECODER: Final = json.JSONDecoder()


class LlamaCalls:
    """Llama 3: the whole answer is ``{"name": ..., "parameters": {...}}``, several of them with ``;`` between."""

    control_tokens = (PYTHON_TAG,)
    turn_ends = ()

    def parse(self, text: str, marks: ControlMarks, tools: ToolSchemas) -> ParsedTurn:
        """Split a text with marks into content and calls."""
        before, tag, body = text.rpartition(marks[PYTHON_TAG])
        if not tag and not _LOOKS_LIKE_A_CALL.match(body.lstrip()):
            return ParsedTurn(text)
        return ParsedTurn(before, calls=_sequence(marks.restore(body)))


def _sequence(text: str) -> Calls:
    """Read JSON objects one after the other."""
    calls: Calls = []
    rest = text.strip()
    while rest:
        try:
            _, end = _DECODER.raw_decode(rest)
        except (ValueError, RecursionError) as error:
            return [*calls, UnparsedToolCall(rest, f"not JSON: {error}")]
        calls.append(parse_json_call(rest[:end], "parameters"))
        rest = rest[end:].lstrip("; \n")
    return calls


class MistralCalls:
    """Mistral: ``[TOOL_CALLS]`` and a JSON list, or, since late 2025, ``[TOOL_CALLS]name[ARGS]{...}`` for each call."""

    control_tokens = (TOOL_CALLS, CALL_ID, ARGUMENTS)
    turn_ends = ()

    def parse(self, text: str, marks: ControlMarks, tools: ToolSchemas) -> ParsedTurn:
        """Split a text with marks into content and calls."""
        content, *blocks = text.split(marks[TOOL_CALLS])
        calls: Calls = []
        for block in blocks:
            if block.lstrip().startswith("["):
                calls += _listed(marks.restore(block).strip())
            else:
                calls.append(_named(block, marks))
        return ParsedTurn(content, calls=calls)


def _listed(text: str) -> Calls:
    """Read a JSON list of calls, each in the letters it was written in."""
    calls: Calls = []
    position = 1
    while position < len(text) and text[position] != "]":
        try:
            _, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            return [*calls, UnparsedToolCall(text[position:], f"not JSON: {error}")]
        calls.append(parse_json_call(text[position:end]))
        position = end + len(text[end:]) - len(text[end:].lstrip(", \n"))
    if text[position:] != "]":
        calls.append(UnparsedToolCall(text[position:] or text, "not the end of a list"))
    return calls


def _named(block: str, marks: ControlMarks) -> ParsedCall | UnparsedToolCall:
    head, separator, arguments = block.partition(marks[ARGUMENTS])
    name, _, call_id = head.partition(marks[CALL_ID])
    text = marks.restore(block)
    if not separator:
        return UnparsedToolCall(text, f"no {ARGUMENTS}")
    return checked_call(text, name.strip(), marks.restore(arguments), call_id.strip() or None)
