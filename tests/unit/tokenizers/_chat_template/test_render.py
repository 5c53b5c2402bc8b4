from __future__ import annotations

import json
import pathlib

import pytest

from tinkex.tokenizers import ChatTemplateError
from tinkex.tokenizers._adapters import adapt
from tinkex.tokenizers._chat_template.render import render_chat
from tinkex.types import ModelInput

HERE = pathlib.Path(__file__).parents[3] / "chat_templates"
TODAY = {"date_string": "22 Nov 2026"}


def read(name):
    """One of the files with what was rendered elsewhere."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))


CONVERSATIONS, EXPECTED, SPECIAL_TOKENS = map(read, ("conversations.json", "expected.json", "special_tokens.json"))


class Letters:
    """A tokenizer of a model, with a token for each character."""

    def __init__(self, name):
        self.chat_template = (HERE / f"{name}.jinja").read_text(encoding="utf-8")
        self.special_tokens_map = SPECIAL_TOKENS[name]

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


def render(model, name):
    """The text of a conversation as a model's template has it."""
    given = {"add_generation_prompt": True, "tools": None, "variables": {}} | CONVERSATIONS[name]
    given["variables"] |= TODAY
    return render_chat(given.pop("messages"), adapt(Letters(model)), chat_template=None, **given)


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("model", EXPECTED)
def test_rendered_as_transformers_does(model, name):
    """A real model's template gives the text that transformers gives, and refuses what it refuses there."""
    expected = EXPECTED[model][name]
    if expected is None:
        with pytest.raises(ChatTemplateError):
            render(model, name)
    else:
        assert render(model, name) == expected


def test_the_prompt_is_the_rendered_text():
    """from_messages gives the tokens of that text."""
    tokenizer = Letters("llama3.1")
    prompt = ModelInput.from_messages(CONVERSATIONS["system"]["messages"], tokenizer, **TODAY)
    assert tokenizer.decode(prompt.to_ints()) == EXPECTED["llama3.1"]["system"]


@pytest.mark.parametrize("model", EXPECTED)
def test_most_conversations_are_rendered(model):
    """Each template takes conversations of several turns: the comparison is not one of refusals."""
    assert sum(text is not None for text in EXPECTED[model].values()) > len(CONVERSATIONS) / 2
