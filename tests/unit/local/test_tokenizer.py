from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import END, SPECIAL, TOKENS, write_model

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.tokenizer import load_tokenizer
from tinkex.local.vocabulary import Vocabulary

TEXTS = st.text(st.characters(codec="utf-8"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny model's file."""
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def tokenizer(tiny):
    """The tiny model's tokenizer."""
    return load_tokenizer(tiny)


@pytest.fixture(scope="module")
def vocabulary(tiny):
    """The tiny model's tokens."""
    return Vocabulary(read_gguf(tiny))


@given(text=TEXTS)
def test_round_trip(tokenizer, vocabulary, text):
    """Text survives, and its tokens' bytes are its own."""
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(vocabulary.token_bytes, ids)) == text.encode()


def test_merges(tokenizer):
    """Letters are merged in the file's order."""
    assert [TOKENS[token] for token in tokenizer.encode("in the a")] == ["in", "\u0120the", "\u0120a"]


def test_special_tokens(tokenizer):
    """Special tokens in a text are read as such, and can be left out of the decoded one."""
    ids = tokenizer.encode("<|im_start|>a<|im_end|>")
    assert ids == [TOKENS.index("<|im_start|>"), TOKENS.index("a"), END]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a"


def test_end_tokens(tokenizer, vocabulary):
    """The tokens that end an answer are the file's own, and those known by name."""
    assert tokenizer.end_ids == vocabulary.end_ids == {SPECIAL.index("<|endoftext|>"), END}


def test_chat_template(tokenizer):
    """The file's template for conversations is at hand."""
    assert tokenizer.chat_template == "{{ messages }}"


def test_first_token(tmp_path):
    """A model that wants every text to begin with a token gets it."""
    facts = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 1}
    assert load_tokenizer(write_model(tmp_path / "bos.gguf", **facts)).encode("a") == [1, TOKENS.index("a")]


@pytest.mark.parametrize(("cut", "pieces"), [("llama-bpe", 3), ("qwen2", 5), ("gpt-2", 2), ("default", 2)])
def test_other_cuts(tmp_path, cut, pieces):
    """Files may cut text in other ways: numbers in threes, one by one, or not at all."""
    model = read_gguf(write_model(tmp_path / "cut.gguf", **{"tokenizer.ggml.pre": cut}))
    tokenizer = load_tokenizer(model.path)
    assert len(tokenizer._inner.pre_tokenizer.pre_tokenize_str("a1234")) == pieces
    assert tokenizer.decode(tokenizer.encode("It's  12345\r\n x")) == "It's  12345\r\n x"


@pytest.mark.parametrize("fact", ["tokenizer.ggml.pre", "tokenizer.ggml.model"])
def test_unknown_kinds(tmp_path, fact):
    """A tokenizer of a kind that is not known is refused, not guessed."""
    with pytest.raises(LocalError, match="martian"):
        load_tokenizer(write_model(tmp_path / "other.gguf", **{fact: "martian"}))
