"""Tool calls in a section of control tokens of their own: DeepSeek and Kimi K2."""

from __future__ import annotations

import re
from typing import ClassVar, Final

import attrs

from tinkex.chat._marks import ControlMarks
from tinkex.chat._syntax.base import ParsedCall, ParsedTurn, ToolSchemas, checked_call
from tinkex.chat.answer import UnparsedToolCall

_FENCED: Final = re.compile(r"([^\n]*)\n```json\n(.*?)\n```", re.DOTALL)
_NUMBERED: Final = re.compile(r"\s*(?:functions\.)?(.+?)(?::\d+)?\s*", re.DOTALL)


@attrs.frozen
class SectionCalls:
    """Calls in a section, each of two fields."""

    begin: str
    end: str
    call_begin: str
    separator: str
    call_end: str

    turn_ends: ClassVar[tuple[str, ...]] = ()

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """What it is made of."""
        return self.begin, self.end, self.call_begin, self.separator, self.call_end

    def parse(self, text: str, marks: ControlMarks, tools: ToolSchemas) -> ParsedTurn:
        """Split a text with marks into content and calls."""
        content, begun, section = text.partition(marks[self.begin])
        section, _, after = section.partition(marks[self.end])
        blocks = section.split(marks[self.call_begin])
        calls = [self._block(block, marks) for block in blocks[1:]]
        if begun and (blocks[0].strip() or len(blocks) == 1):
            calls.append(UnparsedToolCall(marks.restore(blocks[0]), f"no {self.call_begin}"))
        return ParsedTurn(content + after, calls=calls)

    def _block(self, block: str, marks: ControlMarks) -> ParsedCall | UnparsedToolCall:
        body, end, _ = block.partition(marks[self.call_end])
        left, separator, right = body.partition(marks[self.separator])
        text = marks.restore(body)
        if not end or not separator:
            return UnparsedToolCall(text, f"no {self.call_end if separator else self.separator}")
        return self._call(text, marks.restore(left), marks.restore(right))

    def _call(self, text: str, left: str, right: str) -> ParsedCall | UnparsedToolCall:
        raise NotImplementedError


class DeepSeekCalls(SectionCalls):
    """DeepSeek: V3 and R1 write the kind, the name and a fenced block; V3.1 the name and bare JSON."""

    def _call(self, text: str, left: str, right: str) -> ParsedCall | UnparsedToolCall:
        fenced = _FENCED.fullmatch(right.strip())
        name, arguments = fenced.groups() if fenced else (left, right)
        return checked_call(text, name.strip(), arguments)


class KimiCalls(SectionCalls):
    """Kimi K2: the id, which has the name in it as in ``functions.name:0``, and JSON."""

    def _call(self, text: str, left: str, right: str) -> ParsedCall | UnparsedToolCall:
        name = _NUMBERED.fullmatch(left)
        return checked_call(text, name[1] if name else "", right, left.strip())


DEEPSEEK: Final = DeepSeekCalls(
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
)
KIMI: Final = KimiCalls(
    "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>", "<|tool_call_end|>",
)  # fmt: skip
