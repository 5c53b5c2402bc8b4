from __future__ import annotations

import pytest
from letters import prompt_text

from tinkex.tokenizers import ChatTemplateError

pytest.importorskip("jinja2")

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>%THINKING%{{ %CONTENT% }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THINKS = "{% if m.role == 'assistant' %}<think>{{ m.reasoning_content or '' }}</think>{% endif %}"


def template(content="m.content", thinking=""):
    """A template of that kind."""
    return CHATML.replace("%CONTENT%", content).replace("%THINKING%", thinking)


def begun(text, source, field=True, **more):
    """The end of a prompt that begins an answer."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text, **more}]
    return prompt_text(messages, source, continue_final_message=field).partition("<|assistant|>")[2]


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        (template(), "Sure, ", "Sure, "),
        (template("m.content | trim"), "Sure, ", "Sure,"),
        (template(thinking=THINKS), "Sure, ", "<think></think>Sure, "),
    ],
)
def test_prompt_ends_in_the_last_message(source, text, expected):
    """The prompt ends with the beginning of the answer, behind closed thinking, trimmed where the template trims."""
    assert begun(text, source) == expected


def test_parts():
    """Of content in parts, the last text is continued."""
    parts = [{"type": "text", "text": "Su"}, {"type": "text", "text": "re, "}]
    either = "m.content if m.content is string else m.content | map(attribute='text') | join"
    assert begun(parts, template(either)) == "Sure, "
    assert begun(parts, template()) == "Sure, "


def test_reasoning():
    """Thinking can be continued as well, and then stays open."""
    assert begun("", template(thinking=THINKS), "reasoning_content", reasoning_content="Hm, ") == "<think>Hm, "


OPEN = "{% if m.role == 'assistant' %}<think>{% endif %}"


@pytest.mark.parametrize(
    ("source", "message", "complaint"),
    [
        (template(thinking=OPEN), {"content": "Sure"}, "puts it where the model thinks"),
        (template(thinking=THINKS), {"content": "<think>Hm"}, "has ended the thinking before it"),
        (
            template(thinking="{# </think> #}"),
            {"content": "S", "reasoning_content": "Hm"},
            "reasoning_content: .* leaves",
        ),
        (template("'x'"), {"content": "Sure"}, "leaves it out or changes it"),
        (template("m.content | upper"), {"content": "Sure"}, "leaves it out or changes it"),
        (template(), {"content": ""}, "has no text in content"),
        (template(), {"content": None, "reasoning_content": "Hm"}, "has no text in content"),
        (template(), {"content": "Sure", "tool_calls": [{"name": "f"}]}, "has tool_calls"),
    ],
)
def test_beginnings_that_cannot_be_continued(source, message, complaint):
    """A beginning that the model would not see as the beginning of its answer is refused by its place."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", **message}]
    with pytest.raises(ChatTemplateError, match=rf"messages\[1\].*{complaint}"):
        prompt_text(messages, source, continue_final_message=True)


def test_thinking_tags_of_the_user():
    """A tag that the user has written opens no thinking of the model's."""
    messages = [{"role": "user", "content": "Use <think>!"}, {"role": "assistant", "content": "Sure"}]
    assert prompt_text(messages, template(), continue_final_message=True).endswith("<|assistant|>Sure")
