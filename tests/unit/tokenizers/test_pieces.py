from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import END, TOOL, byte_level, sentencepiece, word_piece

from tinkex.tokenizers import TokenPieces, get_tokenizer

FOX = "🦊"


class Wrapped:
    """A tokenizer with `decode` and nothing else that tells of its vocabulary."""

    def __init__(self, inner):
        self.encode = lambda text: inner.encode(text).ids
        self.decode = inner.decode


class Special:
    """One that has special tokens and always writes them."""

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(chr(token) if token else END for token in ids)


KINDS = [byte_level, sentencepiece, word_piece]


@pytest.mark.parametrize("kind", [byte_level, sentencepiece])
@given(data=st.data())
def test_pieces_join_to_the_text(kind, data):
    """The bytes of tokens, one after the other, are those of the text that they decode to, wherever it begins."""
    inner = kind()
    pieces = TokenPieces(get_tokenizer(inner))
    ids = data.draw(st.lists(st.integers(0, inner.get_vocab_size() - 1), max_size=6))
    joined, begun = b"", False  # a token that is only the space that decoding leaves out begins the text, too
    for token in ids:
        joined += pieces.bytes_of(token, first=not begun)
        begun = begun or pieces.bytes_of(token) != b""
    text = inner.decode(ids)
    if "\ufffd" not in text:  # bytes that are no text
        assert joined == text.encode()


def test_word_pieces():
    """A piece that goes on a word adds no space, one that begins a word does."""
    inner = word_piece()
    pieces = TokenPieces(get_tokenizer(inner))
    ids = [inner.token_to_id(piece) for piece in ("play", "##ing", "well")]
    texts = [pieces.text_of(token, first=place == 0) for place, token in enumerate(ids)]
    assert texts == ["play", "ing", " well"]
    assert "".join(texts) == inner.decode(ids)


def fast(inner):
    """A tokenizer that has one of the tokenizers package inside, in the way of transformers."""
    made = Wrapped(inner)
    made.backend_tokenizer = inner
    return made


@pytest.mark.parametrize("adapt", [lambda inner: inner, fast])
def test_parts_of_a_character(adapt):
    """Tokens that only together make a character have their own bytes, and go by them, in OpenAI's way."""
    inner = byte_level()
    ids = inner.encode(FOX).ids
    pieces = TokenPieces(get_tokenizer(adapt(inner)))
    assert b"".join(map(pieces.bytes_of, ids)) == FOX.encode()
    assert [pieces.text_of(token) for token in ids] == [r"\xf0", r"\x9f", r"\xa6", r"\x8a"]


def test_spaces_of_sentencepiece():
    """A word keeps its space, but at the beginning of a text, where decoding leaves it out."""
    inner = sentencepiece()
    pieces = TokenPieces(get_tokenizer(inner))
    word, joined, byte = inner.token_to_id("▁true"), inner.token_to_id("true"), inner.token_to_id("<0xF0>")
    assert (pieces.text_of(word), pieces.text_of(word, first=True), pieces.text_of(joined)) == (" true", "true", "true")
    assert (pieces.bytes_of(byte), pieces.text_of(byte)) == (b"\xf0", r"\xf0")


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens(kind):
    """A special token adds nothing and goes by its name; an added one that is not special is text."""
    inner = kind()
    pieces = TokenPieces(get_tokenizer(inner))
    end, tool = inner.token_to_id(END), inner.token_to_id(TOOL)
    assert (pieces.bytes_of(end), pieces.text_of(end)) == (b"", END)
    assert pieces.text_of(tool, first=True) == TOOL


def test_tokenizers_that_tell_nothing():
    """Without a vocabulary the bytes are those of the text, and not known where it does not tell them."""
    inner = byte_level()
    ids = inner.encode("a" + FOX).ids
    pieces = TokenPieces(get_tokenizer(Wrapped(inner)))
    assert [pieces.bytes_of(token) for token in ids] == [b"a", None, None, None, None]
    assert pieces.text_of(ids[1]) == "\ufffd"
    pieces = TokenPieces(get_tokenizer(Special()))
    assert (pieces.bytes_of(0), pieces.text_of(0)) == (END.encode(), END)


def test_tiktoken():
    """An object with tiktoken's method is asked for bytes by it."""

    class Encoding(Special):
        def decode_single_token_bytes(self, token):
            return bytes([token])

    assert TokenPieces(get_tokenizer(Encoding())).bytes_of(0xF0) == b"\xf0"
