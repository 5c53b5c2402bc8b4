"""Tools in the forms that templates take, and those that cannot be meant."""

from __future__ import annotations

import pathlib

import pytest

from tinkex.testing import ToyTokenizer
from tinkex.tokenizers import ChatTemplateError
from tinkex.types import ModelInput

pytest.importorskip("jinja2")

TEMPLATES = pathlib.Path(__file__).parents[3] / "chat_templates"
WRITES_ANY = ["kimi-k2", "kimi-k2-thinking", "llama3.1", "llama3.2", "qwen3", "qwen3-generation", "qwen3-vl"]
ADD = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}


def prompt(name, tool):
    """A prompt by a real template that is told of a tool."""
    template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    tokenizer = ToyTokenizer()
    made = ModelInput.from_messages(
        [{"role": "user", "content": "hi"}], tokenizer, chat_template=template, tools=[tool]
    )
    return tokenizer.decode(made.to_ints())


@pytest.mark.parametrize("name", WRITES_ANY)
@pytest.mark.parametrize("tool", [{"type": "function", "function": ADD}, ADD, {"type": "function", **ADD}])
def test_forms_of_a_tool(name, tool):
    """Where a template writes a tool as it is given, a function may stand in OpenAI's form or alone."""
    assert '"name": "add"' in prompt(name, tool) or '"name":"add"' in prompt(name, tool)


def test_a_template_of_one_form():
    """Where a template looks into OpenAI's form, one that stands alone is refused by its place."""
    assert '"name": "add"' in prompt("mistral-nemo", {"type": "function", "function": ADD})
    with pytest.raises(ChatTemplateError, match=r"^tools\[0\]: the chat template .* cannot write it"):
        prompt("mistral-nemo", ADD)


@pytest.mark.parametrize("name", [*WRITES_ANY, "mistral-nemo"])
@pytest.mark.parametrize(
    "tool",
    [
        {},
        {"description": "Adds."},
        {"type": "function", "function": {}},
        {"type": "function", "function": "add"},
        {"type": "function", "func": {"name": "add"}},
    ],
)
def test_a_function_without_a_name(name, tool):
    """What names no function cannot be meant, whatever a template makes of it."""
    with pytest.raises(ValueError, match=r"^tools\[0\] must name a function, as .*\"name\": .* does, got "):
        prompt(name, tool)


def test_a_tool_of_another_kind():
    """A tool that is no function need not name one."""
    assert "web_search" in prompt("qwen3", {"type": "web_search"})
