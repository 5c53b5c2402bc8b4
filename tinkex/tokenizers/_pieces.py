"""Single tokens of a vocabulary: the bytes and the text that each adds to a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from tinkex._validation.public_names import with_public_names
from tinkex.tokenizers._adapters import Tokenizer
from tinkex.tokenizers._decoding import text_decoder

_BYTE_PIECE: Final = re.compile("<0x([0-9A-F]{2})>")


@with_public_names
class TokenPieces:
    """The pieces of a tokenizer's vocabulary, as they stand in a text; safe to share between threads.

    What a token decodes to by itself is not what it adds to a text: several tokens may share a character, some lose
    their space at the beginning, and special ones decode to nothing. The bytes are those of the vocabulary, where the
    tokenizer is that of a ``tokenizer.json`` or a GGUF file, a fast one of transformers or one of tiktoken; else those
    of the text, where it tells them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decode = text_decoder(tokenizer)
        self._in_vocabulary = _vocabulary(tokenizer)
        self._known: dict[tuple[int, bool], bytes | None] = {}

    def bytes_of(self, token: int, *, first: bool = False) -> bytes | None:
        """Return the bytes that a token adds to a text, or to the beginning of one if it is the `first`.

        Empty for a special token, which decoding leaves out. None where they are not known.
        """
        key = (token, first)
        if key not in self._known:
            self._known[key] = self._at_beginning(token) if first else self._added(token)
        return self._known[key]

    def text_of(self, token: int, *, first: bool = False) -> str:
        r"""Return the text that a token adds, or what it goes by if it is none by itself.

        A special token goes by its name, a part of a character by its bytes, in OpenAI's way: ``\xf0\x9f``.
        """
        piece = self.bytes_of(token, first=first)
        if not piece:
            return self._name(token)
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in piece)

    def text_behind(self, tokens: list[int]) -> str:
        """Return the text that tokens add to one that stands before them; special tokens add none.

        Decoding them by themselves loses a space at the beginning, with many tokenizers.
        """
        if tokens and self.bytes_of(tokens[0]) != self.bytes_of(tokens[0], first=True):
            return self._decode([tokens[0], *tokens]).removeprefix(self._decode(tokens[:1]))
        return self._decode(tokens)

    def _name(self, token: int) -> str:
        tokenizer: Any = self._tokenizer
        try:
            return str(tokenizer.decode([token], skip_special_tokens=False))
        except TypeError:
            return str(tokenizer.decode([token]))

    def _added(self, token: int) -> bytes | None:
        alone, twice = self._decode([token]), self._decode([token, token])
        if not twice:
            return b""
        piece = self._in_vocabulary(token)
        if piece is None and "\ufffd" not in twice:
            return twice.removeprefix(alone).encode("utf-8", "replace")
        return piece

    def _at_beginning(self, token: int) -> bytes | None:
        piece = self.bytes_of(token)
        cut = piece is not None and piece[:1] == b" " and self._decode([token]) == piece[1:].decode(errors="replace")
        return piece[1:] if piece is not None and cut else piece


def _vocabulary(tokenizer: Tokenizer) -> Callable[[int], bytes | None]:
    """Return what gives the bytes of a token by the vocabulary; None for pieces that decoding changes otherwise."""
    inner: Any = tokenizer
    while inner is not None:
        if callable(getattr(inner, "decode_single_token_bytes", None)):  # tiktoken
            return lambda token: bytes(inner.decode_single_token_bytes(token))
        if callable(getattr(inner, "get_added_tokens_decoder", None)):  # tokenizers
            return _of_library(inner)
        inner = getattr(inner, "backend_tokenizer", None) or getattr(inner, "_inner", None)
    return dict[int, bytes]().get


def _of_library(inner: Any) -> Callable[[int], bytes | None]:
    added: dict[int, bytes] = {token: each.content.encode() for token, each in inner.get_added_tokens_decoder().items()}
    decoder = inner.decoder.__getstate__() if inner.decoder is not None else b""
    byte_level, byte_fallback = b'"ByteLevel"' in decoder, b'"ByteFallback"' in decoder

    def find(token: int) -> bytes | None:
        if token in added:
            return added[token]
        piece = inner.id_to_token(token) or ""
        if byte_level and all(letter in _BYTES for letter in piece):
            return bytes([_BYTES[letter] for letter in piece])
        byte = _BYTE_PIECE.fullmatch(piece) if byte_fallback else None
        return bytes.fromhex(byte[1]) if byte else None

    return find


def _byte_letters() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for, as GPT-2's encoder maps them."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


_BYTES: Final = _byte_letters()
