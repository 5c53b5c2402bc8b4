from __future__ import annotations

import pytest
from letters import Letters, prompt_text

from tinkex.tokenizers import ChatTemplateError

pytest.importorskip("jinja2")

HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def test_special_tokens_where_a_template_is_given():
    """A template that is passed in gets the tokenizer's special tokens, as its own would."""
    tokenizer = Letters(special_tokens_map={"bos_token": "<s>"})
    assert prompt_text(HELLO, tokenizer=tokenizer, chat_template="{{ bos_token }}hi") == "<s>hi"


def test_special_tokens_that_are_attributes():
    """A tokenizer without a map of its special tokens names them as attributes."""
    assert prompt_text(HELLO, "{{ bos_token }}hi{{ pad_token }}", tokenizer=None) == "hi"
    tokenizer = Letters(bos_token="<s>", pad_token=None)
    assert prompt_text(HELLO, tokenizer=tokenizer, chat_template="{{ bos_token }}hi{{ pad_token }}") == "<s>hi"


def test_documents_reach_the_template():
    """Documents are what the template of a model for retrieval writes."""
    template = "{% for d in documents %}[{{ d.title }}: {{ d.text }}]{% endfor %}{{ messages[0].content }}"
    assert prompt_text(HELLO, template, documents=[{"title": "T", "text": "fact"}]) == "[T: fact]hello"
    assert prompt_text(HELLO, "{{ documents is none }}") == "True"


@pytest.mark.parametrize(
    ("name", "text"), [(None, "plain"), ("rag", "retrieved"), ("{{ 'given' }}", "given"), ("tool_use", "tools")]
)
def test_templates_by_name(name, text):
    """A template is given as text, or by the name that the tokenizer has for it."""
    tokenizer = Letters({"default": "plain", "rag": "retrieved", "tool_use": "tools"})
    assert prompt_text(HELLO, tokenizer=tokenizer, chat_template=name) == text


@pytest.mark.parametrize(
    ("templates", "known"),
    [({"default": "x", "rag": "y"}, "has chat templates named default, rag"), (None, "has no chat template")],
)
def test_unknown_names(templates, known):
    """A name that the tokenizer does not have is no text to sample from."""
    with pytest.raises(ChatTemplateError, match=f"chat_template: 'rga' is neither .* {known}"):
        prompt_text(HELLO, tokenizer=Letters(templates), chat_template="rga")


def test_way_out_without_a_template():
    """Where there is no template, the error says what to do: for a tokenizer that renders messages itself, let it."""
    with pytest.raises(ChatTemplateError, match=r"Pass chat_template=.* or 'role_colon'"):
        prompt_text(HELLO, tokenizer=Letters())
    itself = Letters(apply_chat_template=lambda messages: {"input_ids": [1]})
    with pytest.raises(ChatTemplateError, match=r"ModelInput\.from_ints\(tokenizer\.apply_chat_template\(messages\)"):
        prompt_text(HELLO, tokenizer=itself)


def test_header_after_a_beginning():
    """A prompt that ends in the last message cannot end with the header of another."""
    with pytest.raises(ValueError, match=r"continue_final_message: .* no header can follow"):
        prompt_text(HELLO, "{{ messages }}", add_generation_prompt=True, continue_final_message=True)


ROLE_COLON = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {"role": "assistant", "content": "Hello"},
]


def test_role_colon():
    """The cookbook's format for base models writes roles and colons, behind the BOS token."""
    tokenizer = Letters(special_tokens_map={"bos_token": "<s>"})
    text = prompt_text(ROLE_COLON, tokenizer=tokenizer, chat_template="role_colon")
    assert text == "<s>System: Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nAssistant:"
    begun = prompt_text(ROLE_COLON, tokenizer=Letters(), chat_template="role_colon", continue_final_message=True)
    assert begun == "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello"


@pytest.mark.parametrize(
    ("messages", "options", "complaint"),
    [
        (HELLO, {"tools": TOOLS}, "tools: role_colon has no place"),
        (HELLO, {"date": "2026-11-29"}, "date: role_colon has no place"),
        (HELLO, {"mood": "good"}, "mood: role_colon reads no variables"),
        ([{"role": "tool", "content": {}}], {}, r"messages\[0\]\.content: role_colon takes text only"),
        ([{"role": "user", "content": "Hi", "name": "Ada"}], {}, r"messages\[0\]\.name: role_colon has no form"),
        ([{"role": "assistant", "tool_calls": TOOLS}], {}, r"messages\[0\]\.tool_calls: role_colon has no form"),
    ],
)
def test_what_role_colon_cannot_write(messages, options, complaint):
    """What the format has no place for is refused by name."""
    with pytest.raises(ChatTemplateError, match=complaint):
        prompt_text(messages, tokenizer=Letters(), chat_template="role_colon", **options)


def test_a_template_of_that_name_goes_first():
    """A tokenizer that has a template called role_colon uses that."""
    assert prompt_text(HELLO, tokenizer=Letters({"role_colon": "own"}), chat_template="role_colon") == "own"
