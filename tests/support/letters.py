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


class Greedy:
    """A tokenizer of a few pieces, of which the longest that fits is taken, and of characters for the rest."""

    def __init__(self, *pieces, bos=False):
        self.pieces = sorted(pieces, key=len, reverse=True)
        self.first = [1] if bos else []

    def encode(self, text, add_special_tokens=True):
        ids = [*self.first] if add_special_tokens else []
        while text:
            piece = next((each for each in self.pieces if text.startswith(each)), text[0])
            ids.append(1000 + self.pieces.index(piece) if piece in self.pieces else ord(piece))
            text = text[len(piece) :]
        return ids

    def decode(self, ids, skip_special_tokens=False):
        shown = [token for token in ids if not (skip_special_tokens and token in self.first)]
        return "".join(self.pieces[token - 1000] if token >= 1000 else chr(token) for token in shown)
