"""Conversations both ways: prompts from messages, messages from answers, and next turns to the token.

>>> class Letters:
...     chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}@{% endfor %}assistant: "
...     def encode(self, text):
...         return [ord(letter) for letter in text]
...     def decode(self, tokens):
...         return "".join(map(chr, tokens))
>>> ChatFormat(Letters()).parse([72, 105]).message
{'role': 'assistant', 'content': 'Hi'}
"""

from __future__ import annotations

from tinkex.chat.answer import Answer, UnparsedToolCall
from tinkex.chat.format import ChatFormat
from tinkex.chat.variables import unread_variables

__all__ = ["Answer", "ChatFormat", "UnparsedToolCall", "unread_variables"]


def __dir__() -> list[str]:
    return sorted(__all__)
