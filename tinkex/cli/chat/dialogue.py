"""Dialogue of a person with a model: what was said, and what was sampled."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import attrs

from tinkex.future import ClientFuture
from tinkex.text import ChatResponse, SampledAnswer

Message = dict[str, Any]


@attrs.define
class Dialogue:
    """A conversation that grows by a message and its answer at a time."""

    model: str
    sample: Callable[[list[Message]], ClientFuture[ChatResponse]] = attrs.field(repr=False)
    """Begins to sample the answer to messages."""
    system: str | None = None
    turns: list[tuple[str, SampledAnswer]] = attrs.field(factory=list)
    """What the user said, and what the model answered."""

    @property
    def messages(self) -> list[Message]:
        """All of it, as messages."""
        found: list[Message] = [] if self.system is None else [{"role": "system", "content": self.system}]
        for text, answer in self.turns:
            found += [{"role": "user", "content": text}, answer.message]
        return found

    def say(self, text: str) -> SampledAnswer:
        """Send what the user says, and wait for the answer; what ends the wait, ends the sample, and takes it back."""
        future = self.sample([*self.messages, {"role": "user", "content": text}])
        try:
            answer = future.result()[0]
        except BaseException:
            future.cancel()
            raise
        self.turns.append((text, answer))
        return answer

    def undo(self) -> str | None:
        """Take back the last message and its answer; return what the user had said, or None if nothing was."""
        return self.turns.pop()[0] if self.turns else None

    def save(self, path: str) -> None:
        """Append the conversation to a file of JSON lines, as a row that ``tinkex batch`` reads.

        Raises:
            OSError: The file cannot be written.
        """
        row = {"model": self.model, "messages": self.messages}
        with pathlib.Path(path).expanduser().open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
