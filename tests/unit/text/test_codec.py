"""The text codec: texts to tokens and back, as they stand behind a prompt."""

from __future__ import annotations

import pytest
from letters import Greedy, Letters
from small_tokenizers import sentencepiece

from tinkex.text import TextCodec
from tinkex.text.codec import stop_items
from tinkex.tokenizers import ChatTemplateError
from tinkex.types import ModelInput

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}@{% endfor %}{% if shout %}!{% endif %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def test_prompt():
    """A text becomes a prompt with the model's special tokens; one without any tokens is refused."""
    assert TextCodec(Greedy(bos=True)).prompt("ab").to_ints() == [1, 97, 98]
    with pytest.raises(ValueError, match="prompt has no tokens: ''"):
        TextCodec(Greedy()).prompt("")


def test_a_space_at_the_beginning_of_what_follows():
    """What goes on a text keeps the space that tokenizers leave out at the beginning of one, both ways."""
    pytest.importorskip("tokenizers")
    codec = TextCodec(sentencepiece())
    ids = [0]
    assert (codec.decode(ids), codec.completion(ids)[0]) == ("true", " true")


def test_a_tokenizer_that_begins_every_text_with_a_space():
    """Behind another text a text gets no space that it does not have."""

    class Spaced(Greedy):
        def encode(self, text, add_special_tokens=True):
            return super().encode(text if text.startswith(" ") else " " + text)

        def decode(self, ids, skip_special_tokens=False):
            return super().decode(ids).removeprefix(" ")

    codec = TextCodec(Spaced(" a", "a"))
    assert codec.tokenizer.decode(codec.encode("a")) == "a"
    assert codec.encode("a") == codec.encode_behind(" a") != codec.encode_behind("a")


@pytest.mark.parametrize(
    ("tokens", "stop", "text", "stopped"),
    [
        ("a.b", ".", "a", True),
        ("a.b", (";", "b"), "a.", True),
        ("ab", (ord("b"),), "a", True),
        ("ba", (ord("b"),), "ba", False),
        ("ab", None, "ab", False),
        ("", None, "", False),
    ],
)
def test_text_ends_in_front_of_its_stop(tokens, stop, text, stopped):
    """A stop text, and a stop token at the end, are no part of the text."""
    ids = [ord(letter) for letter in tokens]
    assert TextCodec(Greedy()).completion(ids, stop_items(stop)) == (text, stopped)


def test_formats_are_kept():
    """The same template variables give the same format; the sixteen used last are kept."""
    codec = TextCodec(Letters(TEMPLATE))
    first = codec.chat_format({"shout": 0})
    assert codec.chat_format({"shout": 0}) is first
    for number in range(1, 17):
        codec.chat_format({"shout": number})
    assert codec.chat_format({"shout": 0}) is not first
    with pytest.raises(ChatTemplateError, match="whisper"):
        codec.chat_format({"whisper": 1})


def test_conversation():
    """Messages become a prompt in the chat format; a text is one message of the user, and a prompt stays."""
    codec = TextCodec(Letters(TEMPLATE))

    def text(messages, variables=None):
        return "".join(map(chr, codec.conversation(messages, None, variables or {})[1].to_ints()))

    assert text("Hi") == text([{"role": "user", "content": "Hi"}]) == "user: Hi@assistant: "
    assert text("Hi", {"shout": True, "add_generation_prompt": False}) == "user: Hi@!"
    assert text(ModelInput.from_ints([65])) == "A"


@pytest.mark.parametrize("wrong", [5, "date", ["date"], {1: 2}, {"messages": []}, {"tokenizer": "a"}, {"tools": []}])
def test_wrong_template_variables(wrong):
    """What is no mapping of names, and names of the call's own arguments, are refused by name."""
    with pytest.raises((TypeError, ValueError), match="template_variables must"):
        TextCodec(Letters(TEMPLATE)).conversation("Hi", None, wrong)
