"""Toy tokenizer: a vocabulary that is computed, so that no file is needed."""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Iterable
from typing import Final

from tinkex._validation.public_names import with_public_names
from tinkex._validation.values import whole

_SPECIAL: Final = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
)  # fmt: skip
_FIRST_BYTE: Final = len(_SPECIAL)
_FIRST_WORD: Final = _FIRST_BYTE + 256
_LETTERS: Final = string.ascii_lowercase + string.ascii_uppercase
_PIECES: Final = re.compile(f"({'|'.join(map(re.escape, _SPECIAL))})|( ?[A-Za-z][a-z]{{0,2}})|(.)", re.DOTALL)
_CHAT_TEMPLATE: Final = """\
{%- set rest = messages %}
{%- if tools %}{{ '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{% set rest = messages[1:] %}{{ messages[0].content + '\\n\\n' }}{% endif %}
{{- 'Tools:\\n' }}{% for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}
{%- for message in rest %}{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.reasoning_content %}{{ '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}{{ '\\n' if message.content or not loop.first }}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson }}
{{- '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""


@with_public_names
class ToyTokenizer:
    r"""Tokenizer that needs no file and no network: that of a `FakeServer`, which ``tinkex/toy`` names.

    A token is a word's next three letters or fewer, with the space before them, or else one byte of UTF-8; any text
    comes back as it was. Control tokens written in a text are read as such. ``chat_template`` is of the kind that
    models of Qwen have: ``<|im_end|>`` ends a turn, ``<think>`` and ``<tool_call>`` stand around thinking and calls.
    Any id up to 73,374 means something. Immutable; safe to share between threads.

    >>> tokenizer = ToyTokenizer()
    >>> [tokenizer.decode([token]) for token in tokenizer.encode("Hello world!")]
    ['Hel', 'lo', ' wor', 'ld', '!']
    """

    chat_template = _CHAT_TEMPLATE
    special_tokens_map: dict[str, str] = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}  # noqa: RUF012  # read only
    #: The token that ends an answer.
    end_token: int = _SPECIAL.index("<|im_end|>")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Turn text into token ids; nothing is put around the text.

        Raises:
            UnicodeEncodeError: The text holds a lone surrogate.
        """
        tokens: list[int] = []
        for special, word, other in _PIECES.findall(text):
            if special:
                tokens.append(_SPECIAL.index(special))
            elif word:
                tokens.append(_word_id(word))
            else:
                tokens += (_FIRST_BYTE + byte for byte in other.encode())
        return tokens

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Turn token ids into text, control tokens included unless they are to be skipped."""
        least = _FIRST_BYTE if skip_special_tokens else 0
        pieces = [self.decode_single_token_bytes(token) for token in ids if not 0 <= token < least]
        return b"".join(pieces).decode(errors="replace")

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return what a token adds to a text; nothing for an id beyond the vocabulary.

        Raises:
            TypeError, ValueError: *token* is no token id.
        """
        token = whole("token", token, 0, 2**31 - 1)
        if token < _FIRST_BYTE:
            return _SPECIAL[token].encode()
        return bytes([token - _FIRST_BYTE]) if token < _FIRST_WORD else _word(token).encode()

    def __repr__(self) -> str:
        return "ToyTokenizer()"


def _word_id(word: str) -> int:
    """Number the words by length, those of a length by their letters, each with a space before it and without."""
    letters = word.removeprefix(" ")
    number = _LETTERS.index(letters[0])
    for letter in letters[1:]:
        number = 26 * number + _LETTERS.index(letter)
    shorter = (0, 52, 52 + 52 * 26)[len(letters) - 1]
    return _FIRST_WORD + 2 * (shorter + number) + (letters != word)


@functools.lru_cache(maxsize=4096)
def _word(token: int) -> str:
    number, spaced = divmod(token - _FIRST_WORD, 2)
    length = 1
    while number >= (many := 52 * 26 ** (length - 1)):
        number, length = number - many, length + 1
    if length > 3:
        return ""
    letters = ""
    for _ in range(length - 1):
        number, letter = divmod(number, 26)
        letters = _LETTERS[letter] + letters
    return " " * spaced + _LETTERS[number] + letters
