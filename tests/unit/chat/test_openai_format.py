from __future__ import annotations

from small_tokenizers import END, byte_level

from tinkex.chat.openai_format import chat_logprobs, completion_logprobs, spell_token, text_before_stop
from tinkex.tokenizers import TokenPieces, get_tokenizer

INNER = byte_level()
PIECES = TokenPieces(get_tokenizer(INNER))
FOX = INNER.encode("🦊").ids


def spelled(token, logprob=-1.0, alternatives=None):
    """A token, and those likeliest in its place."""
    own = spell_token(PIECES, token, logprob, first=False)
    if alternatives is None:
        return own
    others = tuple(spell_token(PIECES, *cell, first=False) for cell in alternatives)
    return type(own)(own.id, own.logprob, own.text, own.piece, others)


def test_equal_texts():
    """Of several tokens with one text the likeliest keeps it; the others go by their ids."""
    unknown = 999_999
    token = spelled(unknown, -3.0, [(unknown + 1, -0.5), (unknown, -3.0)])
    (top,) = completion_logprobs([token])["top_logprobs"]
    assert list(top.values()) == [-0.5, -3.0]
    assert len(top) == 2


def test_the_sampled_token_is_among_its_alternatives():
    """A token that is not among the likeliest stands behind them; positions without a row have none."""
    letter = INNER.encode("a").ids[0]
    top = completion_logprobs([spelled(letter, -7.0, [(letter + 1, -0.5)]), spelled(letter)])["top_logprobs"]
    assert list(top[0].items()) == [("b", -0.5), ("a", -7.0)]
    assert top[1] is None


def test_bytes():
    """Chats have the bytes of a token, where it is a part of a character too; special tokens add none."""
    content = chat_logprobs([spelled(FOX[0]), spelled(INNER.token_to_id(END))])["content"]
    assert [(each["token"], each["bytes"]) for each in content] == [(r"\xf0", [0xF0]), (END, [])]
    assert completion_logprobs([spelled(FOX[0])])["tokens"] == [r"bytes:\xf0"]


def test_text_before_stop():
    """The text ends before the first stop that is in it; stop tokens are none of its texts."""
    assert text_before_stop("one two", ["tw", "e", 5]) == ("on", True)
    assert text_before_stop("one", [5, "x"]) == ("one", False)
