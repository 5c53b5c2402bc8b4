from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import END, SPECIAL, TOKENS, write_model

from tinkex.local.errors import LocalError
from tinkex.local.log import warn_once
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.tokenization.tokenizer import load_tokenizer
from tinkex.local.tokenization.vocabulary import Vocabulary

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


@pytest.mark.parametrize(("kind", "found"), [(1, None), (2, False), (3, True), (4, False)])
def test_kinds_of_tokens(tmp_path, kind, found):
    """Unknown (2) and the user's own (4) are words that are never split, controls (3) are left out of texts."""
    kinds = [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL) - 1) + [kind]
    path = write_model(tmp_path / "tiny.gguf", **{"tokenizer.ggml.token_type": kinds})
    assert Vocabulary(read_gguf(path)).special.get(len(TOKENS) - 1) is found


def test_end_tokens(tokenizer, vocabulary):
    """The tokens that end an answer are the file's own, and those known by name."""
    assert tokenizer.end_ids == vocabulary.end_ids == {SPECIAL.index("<|endoftext|>"), END}


def test_chat_template(tokenizer):
    """The file's template for conversations is at hand."""
    assert tokenizer.chat_template == "{{ messages }}"


PRE, BOS_ID, ADD_BOS = "tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token"
A = TOKENS.index("a")


def load(path, **facts):
    """The tokenizer of a file that is written first."""
    return load_tokenizer(write_model(path / "other.gguf", **facts))


@pytest.mark.parametrize(
    ("facts", "ids"),
    [
        ({ADD_BOS: True}, [1, A]),
        ({PRE: "llama-bpe"}, [1, A]),
        ({PRE: "llama3"}, [1, A]),
        ({PRE: "llama-v3"}, [1, A]),
        ({PRE: "tekken"}, [1, A]),
        ({PRE: "llama-bpe", ADD_BOS: False}, [A]),
        ({PRE: "qwen2"}, [A]),
        ({PRE: "default"}, [A]),
        ({"tokenizer.ggml.add_eos_token": True}, [A, END]),
        ({ADD_BOS: True, "tokenizer.ggml.add_eos_token": True}, [1, A, END]),
        ({"tokenizer.ggml.add_space_prefix": True}, [A]),
    ],
)
def test_added_tokens(tmp_path, facts, ids):
    """BOS and EOS are added where the file says so; where it says nothing, the pre-tokenizer's name decides on BOS."""
    tokenizer = load(tmp_path, **{BOS_ID: 1} | facts)
    assert tokenizer.encode("a") == ids
    assert tokenizer.encode("a", add_special_tokens=False) == [A]


def test_missing_pre_tokenizer(tmp_path, caplog):
    """A file that does not name its pre-tokenizer is split by llama.cpp's default, and one warning says so."""
    warn_once.cache_clear()
    ids = [load(tmp_path, **{PRE: name}).encode("a1234!!") for name in (None, None, "default", "")]
    assert ids[0] == ids[1] == ids[2] == ids[3]
    assert [record.getMessage() for record in caplog.records].count(caplog.records[0].getMessage()) == 1
    assert len(caplog.records) == 1
    assert "tokenizer.ggml.pre" in caplog.text


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({PRE: "martian"}, "martian"),
        ({"tokenizer.ggml.model": "martian"}, "martian"),
        ({"tokenizer.ggml.model": None}, r"tokenizer\.ggml\.model"),
        ({"tokenizer.ggml.tokens": None}, r"tokenizer\.ggml\.tokens"),
        ({"tokenizer.ggml.tokens": [*TOKENS, "the"]}, r"tokenizer\.ggml\.tokens"),
        ({"tokenizer.ggml.merges": None}, r"tokenizer\.ggml\.merges"),
        ({"tokenizer.ggml.merges": ["q q"]}, r"tokenizer\.ggml\.merges"),
        ({"tokenizer.ggml.token_type": [1]}, r"tokenizer\.ggml\.token_type"),
        ({ADD_BOS: True}, r"tokenizer\.ggml\.bos_token_id"),
        ({PRE: "llama-bpe"}, r"tokenizer\.ggml\.bos_token_id"),
        ({"tokenizer.ggml.add_eos_token": True, "tokenizer.ggml.eos_token_id": None}, r"tokenizer\.ggml\.eos_token_id"),
        ({BOS_ID: 100_000}, r"tokenizer\.ggml\.bos_token_id 100000"),
        ({"tokenizer.ggml.eot_token_id": 100_000}, r"tokenizer\.ggml\.eot_token_id 100000"),
    ],
)
def test_refused(tmp_path, facts, words):
    """A tokenizer that is unknown, incomplete or contradictory is refused, by the name of the key."""
    with pytest.raises(LocalError, match=words):
        load(tmp_path, **facts)


def test_names_of_end_tokens(tmp_path):
    """Tokens known by their texts end an answer though the file marks them as words; gpt-oss has `<|end|>` for more."""
    names = ["<|eot_id|>", "<|end|>", "<|fim_pad|>", "<reponame>", "<file_sep>"]
    facts = {"tokenizer.ggml.tokens": [*TOKENS, *names], "tokenizer.ggml.token_type": None}
    tokenizer = load(tmp_path, **facts)
    first = len(TOKENS)
    assert tokenizer.end_ids == {0, END, first, first + 1, first + 2, first + 3}
    assert tokenizer.encode("a<|end|>") == [A, first + 1]
    facts["tokenizer.ggml.tokens"] = [*TOKENS, "<|end|>", "<|return|>", "<|call|>"]
    assert load(tmp_path, **facts).end_ids == {0, END, first + 1, first + 2}


def test_end_tokens_that_the_file_names(tmp_path):
    """The ids under eos, eot and eom end an answer; without any there are those known by name."""
    ids = {"eos": 30, "eot": 31, "eom": 32}
    facts = {f"tokenizer.ggml.{name}_token_id": token for name, token in ids.items()}
    assert load(tmp_path, **facts).end_ids == {0, END, 30, 31, 32}
    assert load(tmp_path, **{"tokenizer.ggml.eos_token_id": None}).end_ids == {0, END}
