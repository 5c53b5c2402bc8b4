"""Prompts that end inside the last message, for the model to continue it."""

from __future__ import annotations

from typing import Any, Final

from tinkex.tokenizers._chat_template.messages import REASONING, is_text_part
from tinkex.tokenizers._chat_template.plain import PlainList, PlainMapping, place_of, replaced
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.tokenizers.errors import ChatTemplateError

_MARK: Final = "TINKEXCONTINUESHERE "  # its space tells whether the template trims the message
_THINKING: Final = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))


class Prefill:
    """The beginning of an answer: marks its end in the messages, and cuts the rendered text there."""

    def __init__(self, template: ChatTemplate, messages: list[PlainMapping], field: bool | str) -> None:
        self._template = template
        self._field = field if isinstance(field, str) else "content"
        self._place = place_of(messages[-1])
        self._before = messages[-2].get("content") if len(messages) > 1 else None
        self._final = messages[-1]
        self._beginning = self._text()

    def _text(self) -> str:
        if self._final.get("tool_calls"):
            raise ChatTemplateError(f"{self._place} has tool_calls: what stands before them cannot be continued")
        found = self._final.get(self._field)
        if isinstance(found, list):
            found = next((part["text"] for part in reversed(found) if is_text_part(part)), None)
        if not isinstance(found, str) or not found:
            raise ChatTemplateError(f"{self._place} has no text in {self._field} for the answer to begin with")
        return found

    def marked(self, messages: list[PlainMapping]) -> list[PlainMapping]:
        """Return the messages with a mark at the end of the text to continue."""
        marked = self._beginning + _MARK
        names = REASONING if self._field in REASONING else (self._field,)
        changed: dict[str, Any] = {
            name: marked for name in names if self._final.get(name) == self._beginning and self._beginning
        }
        content = self._final.get("content")
        if self._field == "content" and isinstance(content, list):
            last = max(index for index, part in enumerate(content) if is_text_part(part))
            parts = [{**part, "text": marked} if index == last else part for index, part in enumerate(content)]
            changed["content"] = PlainList(f"{self._place}.content", parts[: last + 1])
        return [*messages[:-1], replaced(self._final, **changed)]

    def cut(self, text: str) -> str:
        """Return the rendered text up to the mark.

        Raises:
            ChatTemplateError: The template leaves the beginning out, changes it, or puts it into its thinking.
        """
        kept, found, after = text.rpartition(_MARK.strip())
        if not after.startswith(" "):
            kept = kept.rstrip()
        if not found or not kept.rstrip().endswith(self._beginning.strip()):
            raise ChatTemplateError(
                f"{self._place}.{self._field} cannot be continued: the chat template of {self._template.tokenizer}"
                " leaves it out or changes it"
            )
        if self._field not in REASONING:
            self._check_thinking(kept)
        return kept

    def _check_thinking(self, kept: str) -> None:
        header = kept.rstrip()[: -len(self._beginning.strip())]
        if isinstance(self._before, str):
            header = header.rpartition(self._before)[2]
        for begin, end in _THINKING:
            if header.rfind(begin) > header.rfind(end):
                problem = "puts it where the model thinks"
            elif end in header and self._beginning.rfind(begin) > self._beginning.rfind(end):
                problem = "has ended the thinking before it"
            else:
                continue
            raise ChatTemplateError(
                f"{self._place}.{self._field} cannot be continued: the chat template of {self._template.tokenizer}"
                f" {problem}. Continue reasoning_content instead, or turn thinking off"
            )
