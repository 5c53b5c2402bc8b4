"""Tokenizers for tests in which the text of a prompt can be read."""

from __future__ import annotations

from tinkex.types import ModelInput


class Letters:
    """A tokenizer with a token for each character, and what else a test gives it."""

    def __init__(self, chat_template=None, **attributes):
        self.chat_template = chat_template
        self.__dict__.update(attributes)

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


def prompt_text(messages, template=None, *, tokenizer=None, **options):
    """The prompt of messages as text, made with a template of the tokenizer's own."""
    tokenizer = tokenizer or Letters(template)
    return tokenizer.decode(ModelInput.from_messages(messages, tokenizer, **options).to_ints())
