from __future__ import annotations

import itertools
import re

import pytest
from letters import Letters, prompt_text

from tinkex.tokenizers import TokenizerError

pytest.importorskip("jinja2")

HELLO = [{"role": "user", "content": "hello"}]
TEMPLATE = "<s>[INST]{{ messages[0].content }}[/INST]"
VOCABULARY = {"<s>": 1, "[INST]": 3, "[/INST]": 4}


def look_ups(to_id, to_name, unknown):
    """The two functions of a library that tell ids and names."""
    names = {token: name for name, token in VOCABULARY.items()}
    return {to_id: lambda name: VOCABULARY.get(name, unknown), to_name: lambda token: names.get(token, "<unk>")}


@pytest.mark.parametrize(
    ("functions", "way_out"),
    [
        (look_ups("convert_tokens_to_ids", "convert_ids_to_tokens", 0), "ModelInput.from_ints"),
        (look_ups("piece_to_id", "id_to_piece", 0), "ModelInput.from_ints"),
        (look_ups("token_to_id", "id_to_token", None), "ModelInput.from_ints"),
        ({**look_ups("token_to_id", "id_to_token", None), "apply_chat_template": print}, "Let it render"),
    ],
)
def test_tokenizers_that_read_no_control_tokens(functions, way_out):
    """A tokenizer that has a control token, but reads its name as letters, is refused with the way out."""
    with pytest.raises(TokenizerError, match=rf"takes <s> in a text for letters, not for its token 1.*{way_out}"):
        prompt_text(HELLO, tokenizer=Letters(**functions), chat_template=TEMPLATE)


class Counting(Letters):
    """A tokenizer that puts <s> before every text, and reads the control tokens that a test gives it."""

    def encode(self, text):
        self.encoded = [*getattr(self, "encoded", []), text]
        pieces = re.split(r"(\[/?INST\]|<s>)", text)
        ids = [[VOCABULARY[each]] if each in self.reads else map(ord, each) for each in pieces]
        return [1, *itertools.chain.from_iterable(ids)]


def test_control_tokens_are_found_in_what_was_encoded():
    """What is among the token ids has been read as a control token, but for the first and last, which may be added."""
    tokenizer = Counting(**look_ups("token_to_id", "id_to_token", None), reads=["[INST]", "[/INST]"])
    with pytest.raises(TokenizerError, match="takes <s> in a text for letters"):
        prompt_text(HELLO, tokenizer=tokenizer, chat_template=f"{TEMPLATE}.")
    assert tokenizer.encoded == ["<s>[INST]hello[/INST].", "<s>"]


def test_names_that_are_no_tokens():
    """A name that the vocabulary does not have is text, as it is for a base model."""
    functions = look_ups("token_to_id", "id_to_token", None)
    assert prompt_text(HELLO, tokenizer=Letters(**functions), chat_template="<|user|>{{ 1 }}") == "<|user|>1"


class Strict(Letters):
    """A tokenizer that refuses special tokens in a text unless they are allowed, as tiktoken and harmony do."""

    def encode(self, text, *, allowed_special=()):
        if "<|end|>" in text and allowed_special != "all":
            raise ValueError("disallowed special token")
        return super().encode(text)


def test_special_tokens_are_allowed():
    """The special tokens that a template writes are meant."""
    assert prompt_text(HELLO, tokenizer=Strict(), chat_template="{{ 1 }}<|end|>") == "1<|end|>"
