"""The ``role_colon`` format, in which tinker-cookbook writes conversations for base models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tinkex.tokenizers._chat_template.messages import is_text_part, says_nothing
from tinkex.tokenizers._chat_template.plain import PlainMapping, place_of
from tinkex.tokenizers.errors import ChatTemplateError

ROLE_COLON: Final = "role_colon"
"""What the format is called where the name of a template is given."""
ROLE_COLON_STOP: Final = "\n\nUser:"


def role_colon_pieces(
    messages: list[PlainMapping], *, bos_token: str, add_generation_prompt: bool, continue_final_message: bool
) -> Iterator[str]:
    """Yield the text of a conversation in the pieces that are encoded one by one, as the cookbook does.

    Raises:
        ChatTemplateError: A message has something besides text.
    """
    yield bos_token
    for index, message in enumerate(messages):
        yield f"{message['role'].capitalize()}:"
        end = "" if continue_final_message and index == len(messages) - 1 else "\n\n"
        yield f" {_content_text(message)}{end}"
    if add_generation_prompt:
        yield "Assistant:"


def _content_text(message: PlainMapping) -> str:
    place = place_of(message)
    for name, value in message.items():
        if value and name not in ("role", "content") and not says_nothing(name, message["role"]):
            raise ChatTemplateError(f"{place}.{name}: {ROLE_COLON} has no form for it")
    content: Any = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    if not all(is_text_part(part) and isinstance(part["text"], str) for part in parts):
        raise ChatTemplateError(f"{place}.content: {ROLE_COLON} takes text only")
    return "".join(part["text"] for part in parts)
