"""OpenAI's harmony format, in which gpt-oss writes a turn as several messages on channels."""

from __future__ import annotations

import re
from typing import Final

from tinkex.chat._marks import ControlMarks
from tinkex.chat._syntax.base import Calls, ParsedCall, ParsedTurn, ToolSchemas, checked_call
from tinkex.chat.answer import UnparsedToolCall

START: Final = "<|start|>"
CHANNEL: Final = "<|channel|>"
CONSTRAIN: Final = "<|constrain|>"
MESSAGE: Final = "<|message|>"
END: Final = "<|end|>"
CALL: Final = "<|call|>"
_RECIPIENT: Final = re.compile(r"(?:^|\s)to=(\S+)")


class Harmony:
    """Thinking on the channel ``analysis``, calls to a recipient, what the user sees on the others."""

    control_tokens = (START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL)
    turn_ends = (END, CALL)

    def parse(self, text: str, marks: ControlMarks, tools: ToolSchemas) -> ParsedTurn:
        """Split a text with marks into thinking, content and calls."""
        thoughts: list[str] = []
        contents: list[str] = []
        calls: Calls = []
        for message in re.split(f"[{marks[END]}{marks[CALL]}]|(?={marks[START]})", text):
            header, begun, body = message.removeprefix(marks[START]).partition(marks[MESSAGE])
            role, on_channel, channel = header.partition(marks[CHANNEL])
            recipient = _RECIPIENT.search(role) or _RECIPIENT.search(channel)
            if recipient and begun:
                calls.append(_call(recipient[1], marks.restore(body)))
            elif recipient:
                calls.append(UnparsedToolCall(marks.restore(header), f"no {MESSAGE}"))
            elif begun and channel.strip().startswith("analysis"):
                thoughts.append(body)
            elif begun:
                contents.append(body)
            elif not on_channel and not message.startswith(marks[START]) and header:
                contents.append(header)  # not harmony at all
        return ParsedTurn("\n\n".join(contents), "\n\n".join(thoughts) if thoughts else None, calls)


def _call(recipient: str, text: str) -> ParsedCall | UnparsedToolCall:
    return checked_call(text, recipient.removeprefix("functions."), text.strip())
