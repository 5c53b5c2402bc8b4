"""Conversations both ways: prompts from messages, messages from answers, and next turns to the token.

>>> class Letters:
...     chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}assistant: "
...     def encode(self, text):
...         return [1114111] if text == "<|end|>" else [ord(letter) for letter in text]
...     def decode(self, tokens):
...         return "".join(map(chr, tokens))
>>> chat = ChatFormat(Letters())
>>> chat.parse([72, 105]).message
{'role': 'assistant', 'content': 'Hi'}
"""

from __future__ import annotations

from tinkex.chat.answer import Answer, UnparsedToolCall
from tinkex.chat.format import ChatFormat
from tinkex.chat.variables import unread_variables

__all__ = ["Answer", "ChatFormat", "UnparsedToolCall", "unread_variables"]
