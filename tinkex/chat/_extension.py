"""Find what stands between an answer and the next one, so that tokens can be extended instead of rendered anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinkex.chat._layout import ASKS, SAYS
from tinkex.tokenizers import ChatTemplateError
from tinkex.tokenizers._chat_template.role_colon import ROLE_COLON_STOP


def turn_before(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a short conversation to render new messages behind, with an answer that makes these tool calls.

    Templates look at the calls that the results of tools belong to, by name or id. Thinking and content, which many
    templates treat differently in history, are left out.
    """
    answered: dict[str, Any] = {"role": "assistant", "content": SAYS}
    if calls:
        named = [{**call, "function": {**call["function"], "arguments": {"x": SAYS}}} for call in calls]
        answered = {"role": "assistant", "content": "", "tool_calls": named}
    return [{"role": "user", "content": ASKS}, answered]


def text_behind_turn(text: str, ends: Sequence[str], tokenizer: str) -> tuple[str, str]:
    """Return the end token of the last answer of a rendered `turn_before`, and the text behind it.

    Raises:
        ChatTemplateError: The template writes no end token there.
    """
    behind = text.rpartition(SAYS)[2]
    found = [(behind.find(end), end) for end in ends if end in behind]
    if not found or SAYS not in text:
        raise ChatTemplateError(
            f"tokenizer: the chat template of {tokenizer} writes no control token behind an answer, so where the next"
            " message begins cannot be told"
        )
    start, end = min(found)
    return end, behind[start + len(end) :]


def role_colon_continuation(pieces: list[str], said: str) -> list[str]:
    """Return the pieces of a conversation in the format ``role_colon`` that follow what was said in its last turn."""
    start = max(index for index, piece in enumerate(pieces) if piece.startswith(f" {SAYS}"))
    new = pieces[start + 1 :]
    if said.endswith(ROLE_COLON_STOP):  # the stop text is the header of the user's next message
        return new[1:] if new[0] == ROLE_COLON_STOP.lstrip() else new
    return ["\n\n", *new]
