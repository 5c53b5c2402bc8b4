from __future__ import annotations

import json
import pathlib

import pytest
from chat_differences import (
    ARGUMENTS_AS_TEXT,
    CONVERSATIONS,
    LEAVES_ROLES_OUT,
    LEAVES_TOOLS_OUT,
    NO_TOOLS,
    NULL_ARGUMENT,
    NULL_CONTENT,
    TEXT_ONLY,
    UNKNOWN_ROLE,
    WANTS_A_MAPPING,
    WITH_PARTS,
    WITH_TOOLS,
    is_meant_to_differ,
)

from tinkex.tokenizers import ChatTemplateError
from tinkex.tokenizers._adapters import adapt
from tinkex.tokenizers._chat_template.prompt import choose_template
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.types import ModelInput

HERE = pathlib.Path(__file__).parents[3] / "chat_templates"
RENDER = ChatTemplate.render
TODAY = {"date_string": "22 Nov 2026"}


def read(name):
    """One of the files with what was rendered elsewhere."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))


EXPECTED, SPECIAL_TOKENS = map(read, ("expected.json", "special_tokens.json"))


class Letters:
    """A tokenizer of a model, with a token for each character."""

    def __init__(self, name):
        self.chat_template = (HERE / f"{name}.jinja").read_text(encoding="utf-8")
        self.special_tokens_map = SPECIAL_TOKENS[name]

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


def render(model, messages, variables=None, **options):
    """The text of a conversation as a model's template has it, of the variables those that it reads."""
    tokenizer = Letters(model)
    reads = choose_template(adapt(tokenizer), None).reads
    read = {name: value for name, value in ({**(variables or {}), **TODAY}).items() if name in reads}
    return tokenizer.decode(ModelInput.from_messages(messages, tokenizer, **options, **read).to_ints())


@pytest.mark.thin(4)
@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("model", EXPECTED)
def test_rendered_as_transformers_does(model, name):
    """A real model's template gives the text that transformers gives, and refuses what it refuses there."""
    if is_meant_to_differ(model, name):
        return
    expected = EXPECTED[model][name]
    if expected is None:
        with pytest.raises(ChatTemplateError):
            render(model, **CONVERSATIONS[name])
    else:
        assert render(model, **CONVERSATIONS[name]) == expected


@pytest.mark.parametrize("model", LEAVES_ROLES_OUT)
def test_roles_that_are_left_out(model):
    """A real template that drops a message for its role is told of, where transformers gives the prompt without it."""
    with pytest.raises(ChatTemplateError, match="leaves out messages of the role 'critic'"):
        render(model, **CONVERSATIONS[UNKNOWN_ROLE])


@pytest.mark.parametrize("name", WITH_TOOLS)
@pytest.mark.parametrize("model", LEAVES_TOOLS_OUT)
def test_tools_that_are_left_out(model, name):
    """Tools that the template leaves out are refused, since the model would not know of them."""
    with pytest.raises(ChatTemplateError):
        render(model, **CONVERSATIONS[name])


@pytest.mark.parametrize("name", WITH_PARTS)
@pytest.mark.parametrize("model", TEXT_ONLY)
def test_parts_where_text_is_taken(model, name):
    """Text in parts is the same prompt as the text in one piece."""
    messages = CONVERSATIONS[name]["messages"]
    joined = [{**message, "content": "".join(part["text"] for part in message["content"])} for message in messages]
    try:
        expected = render(model, joined)
    except ChatTemplateError:  # Gemma 2 takes no system message
        return
    assert render(model, messages) == expected


@pytest.mark.parametrize("model", WANTS_A_MAPPING)
def test_arguments_where_a_mapping_is_taken(model):
    """Arguments as JSON text, which is OpenAI's form, are the same prompt as a mapping."""
    text = CONVERSATIONS[ARGUMENTS_AS_TEXT]
    mapping = json.loads(json.dumps(text).replace(json.dumps(json.dumps({"place": "Bern"})), '{"place": "Bern"}'))
    assert mapping != text
    assert render(model, **text) == render(model, **mapping)


@pytest.mark.parametrize("model", [model for model in EXPECTED if EXPECTED[model][NULL_ARGUMENT] is not None])
def test_null_in_arguments(model):
    """A null of a mapping of arguments is no argument: files of columns give every call the arguments of all."""
    if model not in LEAVES_TOOLS_OUT:
        expected = EXPECTED[model][NULL_ARGUMENT].replace(', "c": null', "")
        assert render(model, **CONVERSATIONS[NULL_ARGUMENT]) == expected


@pytest.mark.parametrize("model", EXPECTED)
def test_no_tools(model):
    """An empty list of tools is no tools."""
    assert render(model, **CONVERSATIONS[NO_TOOLS]) == render(model, CONVERSATIONS[NO_TOOLS]["messages"])


def test_null_content_beside_a_call():
    """Where a template fails on content that is null, as OpenAI has it beside tool calls, an empty text does."""
    given = CONVERSATIONS[NULL_CONTENT]
    empty = json.loads(json.dumps(given).replace('"content": null', '"content": ""'))
    assert empty != given
    assert render("qwen3", **given) == render("qwen3", **empty)


def test_the_prompt_is_the_rendered_text():
    """from_messages gives the tokens of that text."""
    tokenizer = Letters("llama3.1")
    prompt = ModelInput.from_messages(CONVERSATIONS["system"]["messages"], tokenizer, **TODAY)
    assert tokenizer.decode(prompt.to_ints()) == EXPECTED["llama3.1"]["system"]


@pytest.mark.parametrize("model", EXPECTED)
def test_most_conversations_are_rendered(model):
    """Each template takes conversations of several turns: the comparison is not one of refusals."""
    assert sum(text is not None for text in EXPECTED[model].values()) > len(CONVERSATIONS) / 2


@pytest.mark.parametrize("model", sorted(SPECIAL_TOKENS))
def test_an_ordinary_conversation_is_rendered_once(monkeypatch, model):
    """That nothing is left out shows in the text where it can: rendering again costs as much as the first time."""
    tokenizer, rendered = Letters(model), []
    monkeypatch.setattr(
        ChatTemplate, "render", lambda template, given: rendered.append(given) or RENDER(template, given)
    )
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    messages = [*turns, {"role": "user", "content": "How are you?"}]
    system = [{"role": "system", "content": "Be brief."}] if model != "gemma-2" else []
    ModelInput.from_messages([*system, *messages], tokenizer)
    assert len(rendered) == 1
