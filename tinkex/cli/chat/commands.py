"""Commands of a chat: lines that begin with a slash."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Final

from tinkex.cli._screen import console, note, print_text
from tinkex.cli.chat.dialogue import Dialogue
from tinkex.cli.output.tokens import coloured, legend, print_tokens, token_rows
from tinkex.errors import TinkexError
from tinkex.tokenizers import Tokenizer

_COMMAND: Final = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)  # a path has more slashes


class ChatCommands:
    """What a line with a slash does to a dialogue."""

    def __init__(self, dialogue: Dialogue, tokenizer: Tokenizer | None) -> None:
        self._dialogue = dialogue
        self._tokenizer = tokenizer
        self._known: dict[str, Callable[[str], None]] = {
            "help": self._help, "system": self._system, "undo": self._undo, "tokens": self._tokens,
            "history": self._history, "clear": self._clear, "save": self._save,
        }  # fmt: skip

    def run(self, line: str) -> bool:
        """Do what a line says, if it is a command; False for a message.

        Raises:
            TinkexError: It cannot be done, or there is no such command.
            EOFError: The command is to leave.
        """
        found = _COMMAND.fullmatch(line.strip())
        if found is None:
            return False
        name, argument = found[1], (found[2] or "").strip()
        if name in ("quit", "exit"):
            raise EOFError
        if name not in self._known:
            near = difflib.get_close_matches(name, [*self._known, "quit"], 1)
            meant = f"did you mean /{near[0]}?" if near else "/help lists them."
            raise TinkexError(f"There is no command /{name}: {meant}")
        self._known[name](argument)
        return True

    def _help(self, argument: str) -> None:
        """List the commands."""
        del argument
        for line in (
            "/system [TEXT]  what the model is told before everything else; without a text it is left out",
            "/undo           take back your last message and its answer",
            "/tokens         the tokens of the last answer, coloured by their log-probability",
            "/history        all that was said",
            "/clear          begin anew; the system message stays",
            "/save PATH      append the conversation to a file of JSON lines",
            "/quit           leave, as Ctrl-D does; Ctrl-C ends an answer",
            r"A line that ends with \ goes on in the next one.",
        ):
            print_text(line)

    def _system(self, argument: str) -> None:
        self._dialogue.system = argument or None
        note("The system message holds from the next message on." if argument else "There is no system message.")

    def _undo(self, argument: str) -> None:
        del argument
        text = self._dialogue.undo()
        if text is None:
            raise TinkexError("There is nothing to take back.")
        note(f"Taken back: {text}")

    def _tokens(self, argument: str) -> None:
        del argument
        if not self._dialogue.turns:
            raise TinkexError("There is no answer yet.")
        _, answer = self._dialogue.turns[-1]
        rows = token_rows(self._tokenizer, answer.tokens, answer.logprobs)
        screen = console()
        if screen.color_system is None:  # a pipe, or NO_COLOR
            print_tokens(rows)
            return
        screen.print(coloured(rows), soft_wrap=True)
        screen.print(legend())
        note(f"log-probability {answer.logprob or 0:.2f}, {answer.mean_logprob or 0:.2f} per token")

    def _history(self, argument: str) -> None:
        del argument
        for message in self._dialogue.messages:
            print_text(f"{message['role']}: {message['content']}")

    def _clear(self, argument: str) -> None:
        del argument
        self._dialogue.turns.clear()
        note("The conversation begins anew.")

    def _save(self, argument: str) -> None:
        if not argument:
            raise TinkexError("Say where: /save PATH")
        if not self._dialogue.turns:
            raise TinkexError("There is nothing to save yet.")
        save(self._dialogue, argument)


def save(dialogue: Dialogue, path: str) -> None:
    """Append a conversation to a file; TinkexError where it cannot be written."""
    try:
        dialogue.save(path)
    except OSError as error:
        raise TinkexError(f"The conversation cannot be saved to {path}: {error.strerror}.") from error
    note(f"Saved to {path}.")
