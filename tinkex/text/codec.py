"""Text codec: a tokenizer, and what texts and conversations need of it."""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from tinkex._validation.public_names import with_public_names
from tinkex._validation.values import shown
from tinkex.chat import ChatFormat
from tinkex.chat.openai_format import text_before_stop
from tinkex.tokenizers import TokenPieces, get_tokenizer, text_decoder
from tinkex.types import ModelInput

_OF_THE_PROMPT: Final = frozenset({"add_generation_prompt", "continue_final_message", "documents"})
_OF_THE_CALL: Final = ("messages", "tokenizer", "tools")
_MOST_FORMATS: Final = 16  # one for each set of template variables


@with_public_names
class TextCodec:
    """Texts and conversations to tokens and back: a tokenizer, and what is made of it once. Safe to share.

    *tokenizer* is a model's name, a path or an object, as `get_tokenizer` takes it.
    """

    def __init__(self, tokenizer: object) -> None:
        self.tokenizer: Any = get_tokenizer(tokenizer)
        self._formats: OrderedDict[str, ChatFormat] = OrderedDict()

    @functools.cached_property
    def pieces(self) -> TokenPieces:
        """What each token adds to a text."""
        return TokenPieces(self.tokenizer)

    @functools.cached_property
    def decode(self) -> Callable[[list[int]], str]:
        """Turn token ids into text, without special tokens."""
        return text_decoder(self.tokenizer)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Turn text into token ids."""
        options = {} if add_special_tokens else {"add_special_tokens": False}
        return [int(token) for token in self.tokenizer.encode(text, **options)]

    def encode_behind(self, text: str) -> list[int]:
        """Turn text into the token ids that it has behind another text, from which a token boundary sets it apart.

        Tokenizers that put a space before every text put none here.
        """
        ids = self.encode(text, add_special_tokens=False)
        if self.pieces.text_behind(ids) == text:
            return ids
        before, whole = (self.encode(each, add_special_tokens=False) for each in ("\n", "\n" + text))
        behind = whole[len(before) :]
        return behind if whole[: len(before)] == before and self.pieces.text_behind(behind) == text else ids

    def prompt(self, text: str) -> ModelInput:
        """Return a text as a prompt, with the special tokens that the model puts around every text.

        Raises:
            ValueError: The text has no tokens.
        """
        ids = self.encode(text)
        if not ids:
            raise ValueError(f"prompt has no tokens: {shown(text)}")
        return ModelInput.from_ints(ids)

    def completion(self, tokens: list[int], stop: Iterable[object] = ()) -> tuple[str, bool]:
        """Return the text that sampled tokens add to a prompt, up to the first stop, and whether one came."""
        stops = set(stop)
        ended = bool(tokens) and tokens[-1] in stops
        text, stopped = text_before_stop(self.pieces.text_behind(tokens[:-1] if ended else tokens), stops)
        return text, ended or stopped

    def chat_format(self, variables: Mapping[str, Any]) -> ChatFormat:
        """Return the chat format with these template variables; those used last are kept.

        Raises:
            ChatTemplateError: There is no template, or it does not read a variable.
        """
        key = json.dumps(dict(variables), sort_keys=True, default=repr)
        found = self._formats.get(key)
        if found is None:
            found = self._formats[key] = ChatFormat(self.tokenizer, **variables)
            if len(self._formats) > _MOST_FORMATS:
                self._formats.popitem(last=False)
        return found

    def conversation(
        self, messages: str | Iterable[Mapping[str, Any]] | ModelInput, tools: Iterable[Mapping[str, Any]] | None,
        variables: Mapping[str, Any] | None,
    ) -> tuple[ChatFormat, ModelInput]:  # fmt: skip
        """Return the chat format with these template variables, and messages as a prompt.

        A text is one message of the user; a prompt stays as it is. The variables may be any keyword of
        `ModelInput.from_messages` besides the tokenizer and the tools.

        Raises:
            ChatTemplateError, TypeError, ValueError: As `ModelInput.from_messages` does.
        """
        variables = _checked_variables(variables)
        of_prompt = {name: value for name, value in variables.items() if name in _OF_THE_PROMPT}
        chat = self.chat_format({name: value for name, value in variables.items() if name not in _OF_THE_PROMPT})
        if isinstance(messages, ModelInput):
            return chat, messages
        given = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return chat, chat.prompt(given, tools, **of_prompt)

    def special_tokens(self) -> dict[str, str]:
        """Return the special tokens by the names that ``tokenizer_config.json`` has for them."""
        return dict(self.tokenizer.chat_files.special_tokens)


def _checked_variables(variables: Any) -> Mapping[str, Any]:
    """Return template variables after a check of their type and their names."""
    if variables is None:
        return {}
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise TypeError(f"template_variables must be a mapping of names to values, got {shown(variables)}")
    for name in _OF_THE_CALL:
        if name in variables:
            raise ValueError(f"template_variables must not have {name}: it is an argument of the call")
    return variables


def stop_items(stop: str | Sequence[str] | Sequence[int] | None) -> tuple[Any, ...]:
    """Return the stops of `SamplingParams` as a tuple: of texts, or of token ids."""
    return () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)
