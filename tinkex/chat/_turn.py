"""Split the text of a turn into thinking, content and tool calls."""

from __future__ import annotations

import attrs

from tinkex.chat._layout import TurnLayout
from tinkex.chat._marks import ControlMarks
from tinkex.chat._syntax.base import ParsedCall, ParsedTurn, ToolSchemas


def parse_turn(text: str, layout: TurnLayout, marks: ControlMarks, tools: ToolSchemas) -> ParsedTurn:
    """Split the text of a turn, control tokens as marks in it; the parts come with the names of control tokens."""
    reasoning, rest = _split_thinking(text, layout, marks)
    turn = layout.syntax.parse(rest, marks, tools)
    if layout.stop_text:
        return ParsedTurn(turn.content.removeprefix(" ").removesuffix("\n\n"))
    content = turn.content.removesuffix(marks.mark(layout.call_separator)) if turn.calls else turn.content
    thought = turn.reasoning if reasoning is None else reasoning
    return ParsedTurn(marks.restore(content), None if thought is None else marks.restore(thought), turn.calls)


def without_beginning(turn: ParsedTurn, beginning: ParsedTurn) -> ParsedTurn:
    """Return a turn without what the prompt has begun of it."""
    content = turn.content.removeprefix(beginning.content)
    reasoning = (turn.reasoning or "").removeprefix(beginning.reasoning or "")
    return attrs.evolve(turn, content=content, reasoning=reasoning or None)


def openai_call(call: ParsedCall, id: str) -> dict[str, object]:
    """Return a call in OpenAI's form; *id* stands in where the model has written none."""
    return {"id": call.id or id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _split_thinking(text: str, layout: TurnLayout, marks: ControlMarks) -> tuple[str | None, str]:
    if layout.thinking is None:
        return None, text
    begin, end = (marks[name] for name in layout.thinking)
    after_begin, before_end, after_end = map(marks.mark, layout.thinking_trim)
    thought, ended, rest = text.partition(end)
    if not ended and begin not in thought:
        return None, text
    before, begun, inside = thought.rpartition(begin)
    if begun:
        rest_before = before if before.strip() else ""
    else:
        rest_before, inside = "", thought
    if not ended:
        return inside.removeprefix(after_begin), rest_before
    if after_end:
        rest = rest.removeprefix(after_end) if rest.startswith(after_end) else rest.lstrip("\n")
    return inside.removeprefix(after_begin).removesuffix(before_end), rest_before + rest
