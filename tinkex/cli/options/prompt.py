"""Prompt options: text, chat messages or token ids, from an argument, a file or standard input."""

from __future__ import annotations

import functools
import json
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final

import attrs
import click

from tinkex._validation.text import decode_text
from tinkex.cli._app import usage_error, with_options
from tinkex.tokenizers import Tokenizer
from tinkex.types import ModelInput

_IDS: Final = re.compile(r"[\s,\[\]]*\d[\d\s,\[\]]*", re.ASCII)
_PARAMETERS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.argument("prompt", metavar="[TEXT|-]", required=False),
    click.option("-f", "--file", type=click.File("rb"), metavar="PATH", help="Read the text from a file."),
    click.option("--chat", is_flag=True, help="Send the text as a user's message, in the model's chat format."),
    click.option("--system", metavar="TEXT", help="A system message in front of it; means --chat."),
    click.option("--messages", metavar="JSON|PATH|-", help="A conversation: a list of role and content."),
    click.option("--chat-template", type=click.File("rb"), metavar="PATH", help="For messages; else the model's own."),
    click.option("--tokens", metavar="IDS|PATH|-", help="Token ids: 504,3575 or [504, 3575]"),
)


@attrs.frozen(kw_only=True)
class PromptSource:
    """A prompt as the command line gives it: text, messages or token ids."""

    text: str | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    tools: Sequence[Any] | None = None
    template: str | None = None
    tokens: tuple[int, ...] | None = None

    @property
    def needs_tokenizer(self) -> bool:
        """Whether a tokenizer has to make tokens of it."""
        return self.tokens is None

    def model_input(self, tokenizer: Tokenizer | None, *, reply: bool = True) -> ModelInput:
        """The prompt for a model; after messages comes the beginning of a `reply`. Raises ValueError, TypeError."""
        if self.tokens is not None:
            return ModelInput.from_ints(self.tokens)
        assert tokenizer is not None
        if self.messages is not None:
            return ModelInput.from_messages(
                self.messages, tokenizer, add_generation_prompt=reply, tools=self.tools, chat_template=self.template
            )
        return ModelInput.from_text(self.text or "", tokenizer)

    def as_data(self) -> dict[str, Any]:
        """The prompt as it was given, for JSON."""
        given = {"text": self.text, "messages": self.messages, "tools": self.tools}
        return {name: value for name, value in given.items() if value is not None}


def prompt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the prompt options; they arrive as one ``source``."""

    @functools.wraps(command)
    def with_source(
        *, prompt: str | None, file: BinaryIO | None, chat: bool, system: str | None, messages: str | None,
        chat_template: BinaryIO | None, tokens: str | None, **options: Any,
    ) -> Any:  # fmt: skip
        given = [name for name, value in (("--messages", messages), ("--tokens", tokens)) if value is not None]
        if len(given) > 1 or (given and (prompt is not None or file or chat or system is not None)):
            usage_error(f"{given[0]} stands alone: leave out the text and the other ways to give a prompt.")
        if messages is not None:
            source = _message_source(messages)
        elif tokens is not None:
            source = _token_source(tokens)
        else:
            source = _text_source(_read(prompt, file), chat=chat, system=system)
        if chat_template is not None:
            if source.messages is None:
                usage_error("--chat-template is for messages: --chat, --system or --messages.")
            source = attrs.evolve(source, template=_contents(chat_template, cut=False))
        return command(source=source, **options)

    return with_options(_PARAMETERS, with_source)


def _text_source(text: str, *, chat: bool, system: str | None) -> PromptSource:
    if not chat and system is None:
        return PromptSource(text=text)
    first = [] if system is None else [{"role": "system", "content": system}]
    return PromptSource(messages=[*first, {"role": "user", "content": text}])


def _message_source(given: str) -> PromptSource:
    text = given if given.lstrip().startswith(("[", "{")) else _named(given, "--messages")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        usage_error(f"--messages: not JSON: {error}")
    tools = value.get("tools") if isinstance(value, dict) else None
    value = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        usage_error('--messages: not a list of messages: [{"role": "user", "content": "Hello"}, ...]')
    return PromptSource(messages=value, tools=tools)


def _token_source(given: str) -> PromptSource:
    text = given if _IDS.fullmatch(given) else _named(given, "--tokens")
    if not _IDS.fullmatch(text):
        usage_error("--tokens: not a list of token ids, such as 504,3575")
    ids = tuple(int(number[:19]) for number in re.findall(r"\d+", text))
    try:
        ModelInput.from_ints(ids)
    except ValueError as error:
        usage_error(f"--tokens: {error}")
    return PromptSource(tokens=ids)


def _named(name: str, option: str) -> str:
    """Read a file that an option names, or standard input."""
    if name == "-":
        return _contents(sys.stdin.buffer)
    try:
        with pathlib.Path(name).expanduser().open("rb") as file:
            return _contents(file)
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        usage_error(f"{option}: {name[:200]!r} cannot be read: {words}")


def _read(prompt: str | None, file: BinaryIO | None) -> str:
    if prompt is not None and file is not None:
        usage_error("Give the text or --file, not both.")
    if prompt is not None and prompt != "-":
        text = prompt
    elif file is None and prompt is None and sys.stdin.isatty():
        usage_error("Give a text, --file, or - to read standard input.")
    else:
        text = _contents(file or sys.stdin.buffer)
    if not text:
        usage_error("The text is empty.")
    return text


def _contents(source: BinaryIO, *, cut: bool = True) -> str:
    return decoded_input(source.read(), cut=cut)


def decoded_input(data: bytes, *, cut: bool = True) -> str:
    """Decode what a person has written; what is no text of UTF-8 ends the command."""
    try:
        return decode_text(data, cut=cut)
    except ValueError as error:
        usage_error(f"The input is {error}.")
