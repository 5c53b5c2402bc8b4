"""Find control tokens in sampled tokens, so that letters that merely look like one are not taken for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

_FIRST: Final = 0xFDD0  # noncharacters of Unicode: no text holds them
_MOST: Final = 32
_LETTER: Final = "\ufffd"  # what a text that does hold one shows instead


class ControlMarks:
    """Decodes tokens to a text in which each control token is one character of its own, a mark.

    A control token that the vocabulary does not have as one token is looked for in the text.
    """

    def __init__(self, tokenizer: Any, names: Iterable[str]) -> None:
        self._tokenizer = tokenizer
        self._marks = {name: chr(_FIRST + index) for index, name in enumerate(dict.fromkeys(names))}
        assert len(self._marks) <= _MOST
        self._names = {ord(mark): name for name, mark in self._marks.items()}
        ids = {name: tokenizer.encode_rendered(name) for name in self._marks}
        self._by_id = {found[0]: self._marks[name] for name, found in ids.items() if len(found) == 1}
        self._in_text = [name for name, found in ids.items() if len(found) != 1]
        self._unwanted = dict.fromkeys(range(_FIRST, _FIRST + _MOST), _LETTER)

    def __getitem__(self, name: str) -> str:
        return self._marks[name]

    def decode(self, tokens: Sequence[int], *, continues: bool = False) -> str:
        """Return the text of tokens, with marks; `continues` says that it goes on a text, and keeps its first space."""
        pieces: list[str] = [" "] if continues and self._hides_space(tokens[:1]) else []
        start = 0
        for index, token in enumerate(tokens):
            if token in self._by_id:
                pieces += (self._plain(tokens[start:index]), self._by_id[token])
                start = index + 1
        pieces.append(self._plain(tokens[start:]))
        return "".join(pieces)

    def mark(self, text: str) -> str:
        """Return a text of a template's, which means control tokens where it names them, with marks."""
        for name, mark in self._marks.items():
            text = text.replace(name, mark)
        return text

    def restore(self, text: str) -> str:
        """Return the text with the names of control tokens instead of marks."""
        return text.translate(self._names)

    def _hides_space(self, token: Sequence[int]) -> bool:
        """Whether a token by itself decodes without the space that it has behind others, as with SentencePiece."""
        if not token or token[0] in self._by_id:
            return False
        alone = self._plain(token)
        return self._plain([*token, *token]) == f"{alone} {alone}" != alone * 2

    def _plain(self, tokens: Sequence[int]) -> str:
        if not tokens:
            return ""
        text = self._tokenizer.decode_exactly(tokens).translate(self._unwanted)
        for name in self._in_text:
            text = text.replace(name, self._marks[name])
        return str(text)
