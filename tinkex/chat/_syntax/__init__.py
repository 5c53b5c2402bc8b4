"""The syntaxes in which families of models write tool calls, and which of them a chat template teaches."""

from __future__ import annotations

from tinkex.chat._marks import ControlMarks
from tinkex.chat._syntax.bare_json import PYTHON_TAG, TOOL_CALLS, LlamaCalls, MistralCalls
from tinkex.chat._syntax.base import ParsedTurn, Syntax, ToolSchemas
from tinkex.chat._syntax.harmony import CHANNEL, MESSAGE, Harmony
from tinkex.chat._syntax.sections import DEEPSEEK, KIMI
from tinkex.chat._syntax.tagged import BEGIN, GlmCalls, TaggedCalls, XmlCalls


class NoCalls:
    """Text only: for models whose template knows no tool calls, or writes them in a syntax that is not known here."""

    control_tokens = ()
    turn_ends = ()

    def parse(self, text: str, marks: ControlMarks, tools: ToolSchemas) -> ParsedTurn:
        """Return all of the text as content."""
        return ParsedTurn(text)


def syntax_of(template: str) -> Syntax:
    """Return the syntax that a chat template writes tool calls in, recognised by its control tokens."""
    if CHANNEL in template and MESSAGE in template:
        return Harmony()
    for section in (DEEPSEEK, KIMI):
        if section.begin in template:
            return section
    if TOOL_CALLS in template:
        return MistralCalls()
    if BEGIN in template:
        return GlmCalls() if "<arg_key>" in template else XmlCalls() if "<function=" in template else TaggedCalls()
    if PYTHON_TAG in template or ("<|start_header_id|>" in template and '"parameters": ' in template):
        return LlamaCalls()
    return NoCalls()
