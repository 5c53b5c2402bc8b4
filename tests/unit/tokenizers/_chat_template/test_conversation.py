from __future__ import annotations

import gc
import json
import weakref

import pytest
from hypothesis import given, strategies
from letters import Letters, prompt_text

from tinkex.tokenizers import ChatTemplateError
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.types import ImageChunk

pytest.importorskip("jinja2")

TOOLS = [{"type": "function", "function": {"name": "rain", "parameters": {"properties": {"city": {"type": "string"}}}}}]
CONTENTS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
PARTS = "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
CALLS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}%ARGUMENTS%{% endfor %}{% endfor %}"
)
AS_JSON = CALLS.replace("%ARGUMENTS%", "{{ c.function.arguments | tojson }}")
AS_ITEMS = CALLS.replace("%ARGUMENTS%", "{% for k, v in c.function.arguments | items %}({{ k }}={{ v }}){% endfor %}")
AS_TEXT = CALLS.replace("%ARGUMENTS%", "{{ c.function.arguments }}")
EITHER = CALLS.replace(
    "%ARGUMENTS%", "{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}"
)
RENDER = ChatTemplate.render
FIRST_ONLY = CALLS.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]").replace("%ARGUMENTS%", "")


def user(content, **more):
    """A message of the user's."""
    return {"role": "user", "content": content, **more}


def call(arguments, content="", name="rain", **more):
    """A message that calls a tool."""
    tool_call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}
    return {"role": "assistant", "content": content, "tool_calls": [tool_call]}


@pytest.mark.parametrize("template", [CONTENTS, PARTS, CONTENTS.replace("m.content", "'' + m.content")])
def test_text_parts_where_text_is_taken(template):
    """Texts in parts are the same prompt for templates that take text only as for those that go over parts."""
    messages = [user([{"type": "text", "text": "Name "}, {"type": "text", "text": "a river."}])]
    assert prompt_text(messages, template) == "<user>Name a river."


def test_text_parts_that_a_template_drops():
    """A template that looks at text only does not lose the question."""
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content if m.content is string }}{% endfor %}"
    assert prompt_text([user([{"type": "text", "text": "Name a river."}])], template) == "<user>Name a river."


def test_parts_of_one_role_only():
    """Which form a template takes may differ by role."""
    template = (
        "{% for m in messages %}<{{ m.role }}>"
        "{{ m.content if m.role == 'system' else m.content | map(attribute='text') | join }}{% endfor %}"
    )
    messages = [{"role": "system", "content": [{"type": "text", "text": "S"}]}, user([{"type": "text", "text": "U"}])]
    assert prompt_text(messages, template) == "<system>S<user>U"


@pytest.mark.parametrize(
    ("message", "template", "complaint"),
    [
        (user([{"type": "audio"}]), CONTENTS, r"messages\[0\]\.content\[0\] is not text, and .* takes text only"),
        (user([{"type": "audio"}]), PARTS, r"messages\[0\]\.content\[0\]: .* leaves it out"),
        (user("x", extra={"a": 1}), "{{ messages[0].extra }}", r"messages\[0\]\.extra is a mapping, which"),
        (user("x", extra=[1]), "{{ 'x' ~ messages[0].extra }}", r"messages\[0\]\.extra is a list, which"),
        (user("x", extra=[1]), "{{ messages[0].extra | string }}", r"messages\[0\]\.extra is a list, which"),
        (user("x", extra=[{"b": 1}]), "{{ messages[0].extra | join }}", r"messages\[0\]\.extra\[0\] is a mapping"),
        (user("x", extra=[1]), "{{ '%s' % messages[0].extra }}", r"messages\[0\]\.extra is a list"),
        (user("x"), "{{ messages }}", r"messages\[0\] is a mapping"),
    ],
)
def test_what_would_be_lost_or_spelled_as_python(message, template, complaint):
    """A part that the template leaves out, and a list or mapping that it would write as Python does, are refused."""
    with pytest.raises(ChatTemplateError, match=complaint):
        prompt_text([message], template)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [({"a": 1}, "got a mapping"), (5, "got 5"), (True, "got True")],
)
def test_content_of_another_kind(content, complaint):
    """Content that is neither text nor parts is a TypeError that names it."""
    with pytest.raises(TypeError, match=rf"messages\[0\]\.content must be text or a list of parts, {complaint}"):
        prompt_text([user(content)], CONTENTS)


@pytest.mark.parametrize(
    ("part", "complaint"),
    [("text", r"content\[0\] must be a mapping"), ({"type": "text", "text": 3}, r"content\[0\]\.text must be text")],
)
def test_parts_of_another_kind(part, complaint):
    """A part is a mapping, and its text a text."""
    with pytest.raises(TypeError, match=complaint):
        prompt_text([user([part])], CONTENTS)


def test_results_of_tools_may_be_data():
    """A template that writes a tool's result as JSON takes a mapping; one that would leave it out is refused."""
    result = {"role": "tool", "content": {"sky": "blue"}}
    assert prompt_text([result], "{{ messages[0].content | tojson }}") == '{"sky": "blue"}'
    keys_only = "{% for key in messages[0].content %}{{ key }}{% endfor %}"
    for template in ("{{ messages[0].content if messages[0].content is string }}", keys_only):
        with pytest.raises(ChatTemplateError, match=r"messages\[0\]\.content\.sky: .* leaves it out"):
            prompt_text([result], template)


def test_results_that_the_template_fails_on():
    """A mapping that a template cannot write is named."""
    messages = [user("Rain?"), {"role": "tool", "content": {"sky": "blue"}}]
    with pytest.raises(ChatTemplateError, match=r"messages\[1\]\.content is a mapping, which .* does not take$"):
        prompt_text(messages, CONTENTS.replace("m.content", "'' + m.content"))


def test_null_fields_of_parts():
    """A field of a part that is null is absent: a file of columns gives each part the fields of all."""
    template = "{% for p in messages[0].content %}{{ '<picture>' if 'image' in p else p.text }}{% endfor %}"
    assert prompt_text([user([{"type": "text", "text": "hi", "image": None}])], template) == "hi"
    picture = ImageChunk(b"\x89PNG\r\n\x1a\n", "png")
    assert "image" not in prompt_text([user([{"type": "text", "text": "hi", "image": None}])], PARTS)
    with pytest.raises(ValueError, match=r"messages\[0\]\.content\[0\] is a picture"):
        prompt_text([user([{"type": "image", "image": picture, "text": None}])], template)


def test_null_fields_of_tools():
    """In the schema of a tool null counts as absent, but where a schema says something with it."""
    tool = {"name": "f", "parameters": {"properties": {"a": {"default": None}, "of another tool": None}}}
    assert prompt_text([user("x")], "{{ tools | tojson }}", tools=[tool]) == json.dumps(
        [{"name": "f", "parameters": {"properties": {"a": {"default": None}}}}]
    )


NULL_IS_TOLD = "{% for m in messages %}{{ 'null' if m.content is none else m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (NULL_IS_TOLD, "null"),
        ("{{ 'content' in messages[0] }}", "True"),
        ("{{ messages[0].content | tojson }}", "null"),
        ("{{ '<' + messages[0].content + '>' }}", "<>"),
        ("<{{ messages[0].content }}>", "<>"),
        ("<{{ messages[0].content | trim }}>", "<>"),
        ("<{{ 'yes' if 'x' in messages[0].content }}>", "<>"),
        ("{{ messages[0].content.nothing }}", ""),
    ],
)
def test_null_content(template, text):
    """Content that is null stays so where the template can tell, and is an empty text where it is not taken."""
    message = {"role": "assistant", "content": None, "reasoning_content": "<think>"}
    assert prompt_text([message], template + "{# </think> #}") == text


def test_absent_content():
    """Content that is not there is not null either."""
    message = {"role": "assistant", "mood": "good"}
    assert prompt_text([message], "{{ messages[0].content is defined }}{{ messages[0].mood }}") == "Falsegood"


@pytest.mark.parametrize(
    "message",
    [
        user(None),
        {"role": "user"},
        {"role": "user", "content": None, "tool_calls": [{"name": "f"}]},
        {"role": "assistant", "content": None, "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": None, "id": "msg_1"},
        {"role": "tool", "content": None, "name": "rain"},
    ],
)
def test_messages_without_content(message):
    """A message that would be an empty turn is refused; what an answer without content has are calls or thoughts."""
    with pytest.raises(TypeError, match=r"messages\[1\]\.content must be text or a list of parts, got none"):
        prompt_text([user("Hi"), message], CONTENTS)


@pytest.mark.parametrize("arguments", [{"city": "Oslo"}, '{"city": "Oslo"}'])
@pytest.mark.parametrize(
    ("template", "written"),
    [
        (AS_JSON, '{"city": "Oslo"}'),
        (AS_ITEMS, "(city=Oslo)"),
        (AS_TEXT, '{"city": "Oslo"}'),
        (EITHER, '{"city": "Oslo"}'),
    ],
)
def test_arguments_in_the_form_that_is_taken(template, written, arguments):
    """Arguments of a call, given as JSON text or as a mapping, reach the template in the form that it takes."""
    assert prompt_text([user("Rain?"), call(arguments)], template) == f"<user>Rain?<assistant>rain{written}"


def test_arguments_to_the_letter():
    """Where a template takes text, the arguments are those that were sampled, spaces and all."""
    assert prompt_text([user("Rain?"), call('{"city":  "Oslo"}')], EITHER).endswith('{"city":  "Oslo"}')


@pytest.mark.parametrize("arguments", ["not JSON", "[1]", '{"a": }', '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_arguments_that_are_no_json_object(arguments):
    """Text that is no JSON object is refused by name where the template takes a mapping."""
    with pytest.raises(ChatTemplateError, match=r"messages\[1\]\.tool_calls\[0\]\.function\.arguments is not"):
        prompt_text([user("Rain?"), call(arguments)], AS_JSON)
    assert prompt_text([user("Rain?"), call(arguments)], AS_TEXT).endswith(arguments)


@pytest.mark.parametrize("template", [AS_JSON, AS_TEXT, EITHER])
def test_calls_without_arguments(template):
    """A call without arguments, or with an empty text for them, has an empty object."""
    absent = call({})
    del absent["tool_calls"][0]["function"]["arguments"]
    for message in (call(""), call(" "), call(None), call({}), absent):
        assert prompt_text([user("Rain?"), message], template) == "<user>Rain?<assistant>rain{}"


@pytest.mark.parametrize(("arguments", "told"), [([1], "a list"), (5, "5"), (True, "True")])
@pytest.mark.parametrize("template", [AS_JSON, AS_TEXT, EITHER])
def test_arguments_of_another_kind(template, arguments, told):
    """Arguments are a mapping or a text."""
    complaint = rf"messages\[1\]\.tool_calls\[0\]\.function\.arguments must be a mapping or JSON text, got {told}$"
    with pytest.raises(TypeError, match=complaint):
        prompt_text([user("Rain?"), call(arguments)], template)


def test_calls_without_a_function():
    """A call may stand in its list directly."""
    message = {"role": "assistant", "content": "", "tool_calls": [{"name": "rain", "arguments": {"city": "Oslo"}}]}
    template = "{% for c in messages[0].tool_calls %}{{ c.name }}{{ c.arguments | tojson }}{% endfor %}"
    assert prompt_text([message], template) == 'rain{"city": "Oslo"}'


@pytest.mark.parametrize(
    "template", ["{{ '<' ~ m.tool_calls[0].id if 'tool_calls' in m }}", "{{ m.tool_calls is none }}"]
)
def test_empty_calls(template):
    """An empty list of tool calls is no tool calls, also for templates that look whether there is one."""
    messages = [user("Hi"), {"role": "assistant", "content": "Yes", "tool_calls": []}]
    template = "{% for m in messages %}" + template + "{{ m.content }}{% endfor %}"
    assert prompt_text(messages, template) == prompt_text(
        [messages[0], {"role": "assistant", "content": "Yes"}], template
    )


BY_NULL = CALLS.replace("m.tool_calls or []", "m.tool_calls if m.content is none").replace("%ARGUMENTS%", "")
BY_TEXT = CALLS.replace("m.tool_calls or []", "m.tool_calls if m.content is string").replace("%ARGUMENTS%", "")


@pytest.mark.parametrize("template", [BY_NULL, BY_TEXT, BY_TEXT.replace("m.content or ''", "'' + m.content")])
@pytest.mark.parametrize("content", [{"content": None}, {"content": ""}, {"content": []}, {}])
def test_no_content_beside_calls(template, content):
    """No content beside tool calls is the same in each of its forms: what the template takes is tried."""
    message = {"role": "assistant", **content, "tool_calls": call({})["tool_calls"]}
    assert prompt_text([user("Rain?"), message], template) == "<user>Rain?<assistant>rain"
    with pytest.raises(ChatTemplateError, match=r"messages\[1\]\.tool_calls\[0\]: .* leaves it out"):
        prompt_text([user("Rain?"), {**message, "content": "Look."}], BY_NULL)


def test_null_content_keeps_its_place():
    """A template that writes messages as JSON has the fields in the order in which they were given."""
    message = call({}, content=None)
    written = json.loads(prompt_text([user("Rain?"), message], "{{ messages[1] | tojson }}"))
    assert list(written) == list(message)


def test_calls_that_are_none():
    """Tool calls are a list of mappings."""
    with pytest.raises(TypeError, match=r"messages\[0\]\.tool_calls must be a list of mappings"):
        prompt_text([{"role": "assistant", "content": "", "tool_calls": "rain"}], AS_JSON)


def test_calls_that_are_left_out():
    """A template without tool calls, or with the first of several only, does not lose them silently."""
    with pytest.raises(ChatTemplateError, match=r"messages\[1\]\.tool_calls\[0\]: .* leaves it out"):
        prompt_text([user("Rain?"), call({})], CONTENTS)
    two = call({})
    two["tool_calls"].append({"id": "call_2", "function": {"name": "rain", "arguments": {}}})
    with pytest.raises(ChatTemplateError, match=r"messages\[1\]\.tool_calls\[1\]: .* leaves it out"):
        prompt_text([user("Rain?"), two], FIRST_ONLY)


@pytest.mark.parametrize("template", [CONTENTS, "{% if false %}{{ tools }}{% endif %}{{ messages[0].content }}"])
def test_tools_that_are_left_out(template):
    """Tools that leave the prompt as it is without them are refused, read or not."""
    with pytest.raises(ChatTemplateError, match=r"tools: the chat template of .* leaves them out"):
        prompt_text([user("Rain?")], template, tools=TOOLS)


def described(description):
    """A tool with a description."""
    return [{"type": "function", "function": {"name": "rain", "description": description}}]


TELLING = "{{ tools[0].function.description if tools and TELLS }}" + CONTENTS


@pytest.mark.parametrize(
    ("description", "content", "renderings"),
    [
        ("Whether it rains in a city", "Hi", 1),
        ("Whether it rains in a city", "Whether it rains in a city?", 2),
        ("Rain?", "Hi", 2),
        ('Whether it rains in "a city"', "Hi", 2),
    ],
)
def test_tools_that_the_text_shows(monkeypatch, description, content, renderings):
    """Tools are looked for in the text, and by rendering without them only where that may have it from elsewhere."""
    rendered = []
    monkeypatch.setattr(ChatTemplate, "render", lambda *given: rendered.append(given) or RENDER(*given))
    tools = described(description)
    assert (
        prompt_text([user(content)], TELLING.replace("TELLS", "true"), tools=tools) == f"{description}<user>{content}"
    )
    assert len(rendered) == renderings
    with pytest.raises(ChatTemplateError, match="leaves them out"):
        prompt_text([user(content)], TELLING.replace("TELLS", "false"), tools=tools)


def test_tools_that_the_template_brings_itself():
    """A template that has a tool's description by itself may still leave out the tools."""
    template = "Whether it rains in a city{{ tools[0] if false }}" + CONTENTS
    with pytest.raises(ChatTemplateError, match="leaves them out"):
        prompt_text([user("Hi")], template, tools=described("Whether it rains in a city"))


def test_what_is_found_out_keeps_no_tokenizer():
    """What is found out about a template is remembered for all tokenizers that have it, and keeps none of them."""
    tokenizer = Letters(CONTENTS)
    prompt_text([user([{"type": "text", "text": "x"}])], tokenizer=tokenizer)
    alive = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()  # an error's traceback, if this is the first to ask
    assert alive() is None


def test_empty_tools():
    """An empty list of tools is no tools."""
    assert prompt_text([user("Rain?")], "{{ tools is none }}", tools=[]) == "True"


THINKING = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes"}]}


def test_thinking_as_a_part():
    """Thinking that stands as a part of the content is the message's reasoning."""
    template = "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.content }}{% endfor %}"
    assert prompt_text([THINKING], template) == "Hm.|Hm.|Yes"


@given(
    strategies.lists(
        strategies.tuples(
            strategies.sampled_from(["system", "user", "assistant"]), strategies.text("ab{}'\"\n", max_size=9)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_plain_messages_are_written_as_they_are(conversation):
    """Checks and probes change nothing of a conversation of texts."""
    messages = [{"role": role, "content": content} for role, content in conversation]
    assert prompt_text(messages, CONTENTS) == "".join(f"<{role}>{content}" for role, content in conversation)


@pytest.mark.parametrize("role", ["tool", "ipython"])
@pytest.mark.parametrize("arguments", ["{{ c.function.arguments | tojson }}", "{{ ':' + c.function.arguments }}"])
def test_parts_of_what_a_tool_answered_are_joined(role, arguments):
    """A template that takes text only gets the parts of a tool's answer as text, however it writes the call before."""
    content = "m.content if m.content is string else ''"
    template = CALLS.replace("%ARGUMENTS%", arguments).replace("m.content or ''", content)
    answer = {"role": role, "tool_call_id": "call_1", "content": [{"type": "text", "text": "ANSWER"}]}
    assert prompt_text([user("u"), call('{"a": 1}'), answer], template).endswith(f"<{role}>ANSWER")


@pytest.mark.parametrize("role", ["developer", "function", "ipython"])
@pytest.mark.parametrize("other", ["", "<assistant>"])
def test_a_role_that_the_template_does_not_know(role, other):
    """A message of a role that a template writes like any unknown one is refused: nobody would be speaking."""
    template = (
        "{% for m in messages %}{{ '<' ~ m.role ~ '>' if m.role in ('user', 'critic') else '" + other + "' }}"
        "{{ m.content }}{% endfor %}"
    )
    with pytest.raises(ChatTemplateError, match=rf"messages\[1\]: .* does not know the role '{role}'"):
        prompt_text([user("hi"), {"role": role, "content": "Answer."}], template)
    assert prompt_text([user("hi"), {"role": "critic", "content": "No."}], template) == "<user>hi<critic>No."
    assert (
        prompt_text([user("hi"), {"role": role, "content": "No."}], CONTENTS.replace("<{{ m.role }}>", "")) == "hiNo."
    )


def test_roles_that_are_no_text():
    """A role is a text."""
    with pytest.raises(TypeError, match=r"messages\[0\]\.role must be text, got 5"):
        prompt_text([{"role": 5, "content": "x"}], CONTENTS)


@pytest.mark.parametrize("role", ["developer", "function", "usr"])
def test_a_role_that_the_template_leaves_out(role):
    """A message of a role that a template knows nothing of is refused by its place: its words would be lost."""
    known = "{% if m.role in ('user', 'assistant') %}<{{ m.role }}>{{ m.content }}{% endif %}"
    template = "{% for m in messages %}" + known + "{% endfor %}"
    with pytest.raises(ChatTemplateError, match=rf"messages\[0\]: .* leaves out messages of the role '{role}'"):
        prompt_text([{"role": role, "content": "Answer in French."}, user("hi")], template)
    assert prompt_text([{"role": role, "content": "Answer."}, user("hi")], CONTENTS) == f"<{role}>Answer.<user>hi"


FIELDS = {
    "function_call": {"name": "f"},
    "refusal": "I can't.",
    "reasoning_content": "Hm.",
    "name": "Ada",
    "mood": "good",
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_that_the_template_leaves_out(name):
    """A field that says something, and that the template does not write, is refused by its place."""
    messages = [user("Hi"), {"role": "assistant", "content": "Hello", name: FIELDS[name]}, user("Bye")]
    with pytest.raises(ChatTemplateError, match=rf"messages\[1\]\.{name}: the chat template of .* leaves it out"):
        prompt_text(messages, CONTENTS)
    reads = CONTENTS.replace("{{ m.content }}", f"{{{{ m.content }}}}{{{{ m.{name} | tojson if m.{name} else '' }}}}")
    assert json.dumps(FIELDS[name]) in prompt_text(messages, reads)


def test_fields_that_say_nothing():
    """Fields that are empty, or that clients send along with what they got, are no matter."""
    result = {"role": "tool", "content": "dry", "name": "rain", "tool_call_id": "", "id": "5"}
    answer = {"role": "assistant", "content": "Yes", "refusal": None, "audio": None, "annotations": [{"type": "x"}]}
    messages = [user("Hi", name=""), {**answer, "tool_calls": [], "reasoning_content": ""}, result]
    assert prompt_text(messages, CONTENTS) == "<user>Hi<assistant>Yes<tool>dry"


@pytest.mark.parametrize("reads", ["</think>", "m.reasoning_content", "m['thinking']"])
def test_thinking_that_is_taken_out_of_history(reads):
    """A template that knows of thinking may take it out of earlier answers."""
    messages = [user("Hi"), {"role": "assistant", "content": "Yes", "reasoning": "Hm."}, user("Bye")]
    assert prompt_text(messages, CONTENTS + f"{{# {reads} #}}") == "<user>Hi<assistant>Yes<user>Bye"
    in_the_text = [user("Hi"), {"role": "assistant", "content": "<think>Hm.</think>Yes"}, user("Bye")]
    split = CONTENTS.replace("m.content", "m.content.split('</think>')[-1]")
    assert prompt_text(in_the_text, split) == "<user>Hi<assistant>Yes<user>Bye"


NEW_ONLY = CALLS.replace("m.content or ''", "m.content if not m.tool_calls or loop.last").replace("%ARGUMENTS%", "")
NEVER = NEW_ONLY.replace(" or loop.last", "")


def test_texts_beside_calls():
    """A text beside tool calls that the template never writes is refused; one that is taken out of history is not."""
    messages = [user("Rain?"), call({}, content="Let me see."), {"role": "tool", "content": "dry"}]
    assert prompt_text(messages, NEW_ONLY) == "<user>Rain?<assistant>rain<tool>dry"
    advice = "leaves it out beside tool calls; give it as a message of its own before them"
    with pytest.raises(ChatTemplateError, match=rf"messages\[1\]\.content: .* {advice}$"):
        prompt_text(messages, NEVER)
    apart = [messages[0], {"role": "assistant", "content": "Let me see."}, call({}), messages[2]]
    assert prompt_text(apart, NEVER) == "<user>Rain?<assistant>Let me see.<assistant>rain<tool>dry"


@pytest.mark.parametrize("content", ["Be brief.", "a", [{"type": "text", "text": "Be brief."}]])
def test_messages_that_are_left_out(content):
    """A message that the template drops in its place, such as a late one of the system's, is refused."""
    late = {"role": "system", "content": content}
    first_only = CONTENTS.replace("<", "{% if loop.first or m.role != 'system' %}<").replace("}}{", "}}{% endif %}{")
    assert prompt_text([late, user("What?")], first_only).endswith("<user>What?")
    with pytest.raises(ChatTemplateError, match=r"messages\[1\]\.content.*: .* leaves it out"):
        prompt_text([user("What?"), late, user("a Be brief.")], first_only)


DESCRIBED = (
    "{% for t in tools or [] %}{{ t.function.name + t.function.description }}{% endfor %}{{ messages[0].content }}"
)


def test_a_tool_that_the_template_cannot_write():
    """A template that fails on a tool says which, and what it has not got."""
    described = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}
    with pytest.raises(ChatTemplateError, match=r"tools\[1\]: .* cannot write it, which has no description: "):
        prompt_text([user("Rain?")], DESCRIBED, tools=[described, *TOOLS])
    with pytest.raises(ChatTemplateError, match=r"tools\[0\]: .* cannot write it: "):
        prompt_text([user("Rain?")], DESCRIBED, tools=[described["function"]])


@pytest.mark.parametrize("template", [CONTENTS, PARTS])
def test_fields_of_text_parts(template):
    """What a text part says besides is not lost either; what clients send along is no matter."""
    part = {"type": "text", "text": "Yes", "annotations": [1], "cache_control": {"type": "ephemeral"}, "citation": ""}
    assert prompt_text([user([part])], template) == "<user>Yes"
    with pytest.raises(ChatTemplateError, match=r"messages\[0\]\.content\[0\]\.citation: .* leaves it out"):
        prompt_text([user([{**part, "citation": "C"}])], template)


def test_a_template_that_takes_the_first_part_only():
    """Texts in several parts are joined for it."""
    template = "{% set c = messages[0].content %}{{ c if c is string else c[0].text }}"
    assert prompt_text([user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], template) == "ab"


def test_results_in_the_order_of_their_calls():
    """Results of several calls are put in the order of the calls, which templates without ids go by."""
    calls = [{"id": name, "function": {"name": name, "arguments": {}}} for name in "abc"]
    answer = {"role": "assistant", "content": None, "tool_calls": calls}
    results = [{"role": "tool", "tool_call_id": name, "content": f"of {name}"} for name in "cab"]
    ordered = prompt_text([user("Rain?"), answer, *results, user("So?")], AS_TEXT)
    assert ordered.endswith("<tool>of a<tool>of b<tool>of c<user>So?")
    del results[1]["tool_call_id"]  # then they are left as they are
    assert prompt_text([user("Rain?"), answer, *results], AS_TEXT).endswith("<tool>of c<tool>of a<tool>of b")


def test_results_of_calls_that_were_not_made():
    """A result names a call before it, of the last answer or an earlier one, where the calls have ids."""
    result = {"role": "tool", "tool_call_id": "call_1", "content": "dry"}
    later = [user("Rain?"), call({}), user("Well?"), {**call({})}, result]
    assert prompt_text(later, AS_TEXT).endswith("<tool>dry")
    assert prompt_text([user("Rain?"), call({}, id=None), {**result, "tool_call_id": "x"}], AS_TEXT).endswith("dry")
    for messages in ([user("Rain?"), result], [user("Rain?"), call({}), {**result, "tool_call_id": "call_2"}]):
        place = rf"messages\[{len(messages) - 1}\]\.tool_call_id is 'call_[12]', and no tool call before it has that id"
        with pytest.raises(ValueError, match=place):
            prompt_text(messages, AS_TEXT)


@pytest.mark.parametrize(
    "bad", [{"type": "custom", "custom": {}}, {"function": {"name": ""}}, {"function": {"name": 5}}]
)
def test_calls_of_no_function(bad):
    """A call without the name of a function is refused by its place."""
    message = {"role": "assistant", "content": None, "tool_calls": [bad]}
    with pytest.raises(
        ValueError, match=r"messages\[1\]\.tool_calls\[0\](\.function)? has no name of a function, only "
    ):
        prompt_text([user("Rain?"), message], AS_TEXT)


def test_templates_that_are_no_text():
    """A template is text."""
    with pytest.raises(TypeError, match="chat_template must be the text or the name of a template"):
        prompt_text([user("Hi")], CONTENTS, chat_template=[{"name": "a", "template": "x"}])


@pytest.mark.parametrize(("expression", "said"), [("m.mood.x.y", "'mapping' has no"), ("'' + m.moods", 'not "list"')])
def test_errors_of_templates_call_things_by_their_names(expression, said):
    """What a template fails on is called a mapping or a list."""
    template = "{% for m in messages %}{{ " + expression + " }}{% endfor %}"
    with pytest.raises(ChatTemplateError, match=said):
        prompt_text([user("Hi", mood={}, moods=[])], template)
