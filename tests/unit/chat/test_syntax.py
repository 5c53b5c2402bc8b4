from __future__ import annotations

import functools
import json

import pytest
from chatml import CHATML, ByteTokenizer
from hypothesis import given, strategies

from tinkex.chat import ChatFormat

pytest.importorskip("jinja2")

DEEPSEEK = [
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
]  # fmt: skip
KIMI = [
    "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>", "<|tool_call_end|>",
]  # fmt: skip
MISTRAL = ["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"]
LLAMA = ["<|python_tag|>"]
HARMONY = ["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>"]
XML = ["<tool_call>", "</tool_call>", "<function="]
GLM = ["<tool_call>", "</tool_call>", "<arg_key>"]
SCHEMA = {
    "text": {"type": "string"}, "count": {"type": "integer"}, "share": {"type": "number"}, "on": {"type": "boolean"},
    "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "list": {"type": ["array", "null"]}, "free": {},
}  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"properties": SCHEMA}}}]


@functools.cache
def syntax(*tokens):
    """The tokenizer and the format that have these control tokens, which a template names in a comment."""
    template = CHATML.replace("<tool_call>", "").replace("</tool_call>", "") + "{# " + " ".join(tokens) + " #}"
    tokenizer = ByteTokenizer(template, [*ByteTokenizer.special, *(name for name in tokens if name[-1] in ">]")])
    return tokenizer, ChatFormat(tokenizer)


def parsed(tokens, text, tools=None):
    """An answer in the syntax that has these control tokens."""
    tokenizer, form = syntax(*tokens)
    return form.parse(tokenizer.encode(text.replace("DEEP", "[" * 20_000)), tools=tools)


def calls(answer):
    """Names and arguments."""
    functions = [call["function"] for call in answer.tool_calls]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


ONE = [("f", {"a": 1})]
TWO = [("f", {"a": 1}), ("g", {})]
B, E, CB, SEP, CE = DEEPSEEK
KB, KE, KCB, KSEP, KCE = KIMI


@pytest.mark.parametrize(
    ("tokens", "text", "content", "found"),
    [
        (DEEPSEEK, f'{B}{CB}f{SEP}{{"a": 1}}{CE}{E}', "", ONE),
        (DEEPSEEK, f'So.{B}{CB}f{SEP}{{"a": 1}}{CE}{CB}g{SEP}{{}}{CE}{E}', "So.", TWO),
        (DEEPSEEK, f'{B}{CB}function{SEP}f\n```json\n{{"a": 1}}\n```{CE}{E}', "", ONE),
        (KIMI, f'So.{KB}{KCB}functions.f:0{KSEP}{{"a": 1}}{KCE}{KCB}functions.g:1{KSEP}{{}}{KCE}{KE}', "So.", TWO),
        (MISTRAL, '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "abcdefghi"}, {"name": "g"}]', "", TWO),
        (MISTRAL, 'So.[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}', "So.", TWO),
        (MISTRAL, 'So.[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{"a": 1}', "So.", ONE),
        (LLAMA, '{"name": "f", "parameters": {"a": 1}}', "", ONE),
        (LLAMA, '{"type": "function", "name": "f", "parameters": {"a": 1}}', "", ONE),
        (LLAMA, '<|python_tag|>{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}', "", TWO),
        (LLAMA, '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}', []),
        (XML, "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>", "", ONE),
        (XML, "So.\n\n<tool_call>\n<function=g>\n</function>\n</tool_call>", "So.\n\n", [("g", {})]),
        (GLM, "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>", "", ONE),
        (GLM, "<tool_call>g</tool_call>", "", [("g", {})]),
    ],
)
def test_tool_calls(tokens, text, content, found):
    """Each family's way of writing tool calls is read, with the content that stands before them."""
    answer = parsed(tokens, text)
    assert (answer.content, calls(answer), answer.unparsed_tool_calls) == (content, found, ())


def test_ids_that_the_model_writes():
    """An id that the model has written is that of the call; else one is made, which differs from call to call."""
    kimi = parsed(KIMI, f"{KB}{KCB}functions.f:3{KSEP}{{}}{KCE}{KE}")
    mistral = parsed(MISTRAL, "[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{}")
    assert [kimi.tool_calls[0]["id"], mistral.tool_calls[0]["id"]] == ["functions.f:3", "abcdefghi"]
    made = [call["id"] for call in parsed(MISTRAL, "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]f[ARGS]{}").tool_calls]
    assert len(set(made)) == 2
    assert all(len(each) == 9 and each.isalnum() for each in made)


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    ("tokens", "text", "reason"),
    [
        (DEEPSEEK, f'{B}{CB}f{SEP}{{"a"', f"no {CE}"),
        (DEEPSEEK, f"{B}{CB}f", f"no {SEP}"),
        (DEEPSEEK, f"{B}f(){E}", f"no {CB}"),
        (DEEPSEEK, f"{B}{CB}{SEP}{{}}{CE}{E}", "no name"),
        (DEEPSEEK, f"{B}{CB}f{SEP}[1]{CE}{E}", "the arguments are not a JSON object"),
        (KIMI, f"{KB}{KCB}functions.f:0{KSEP}{{'a': 1}}{KCE}{KE}", "the arguments are not JSON"),
        (MISTRAL, '[TOOL_CALLS][{"name": "f", "argum', "not JSON"),
        (MISTRAL, "[TOOL_CALLS][", "not the end of a list"),
        (MISTRAL, "[TOOL_CALLS][{]", "not JSON"),
        (MISTRAL, "[TOOL_CALLS]f{}", "no [ARGS]"),
        (LLAMA, '{"name": "f", "parameters": {"a": 1}', "not JSON"),
        (LLAMA, '<|python_tag|>f.call(a="1")', "not JSON"),
        (XML, "<tool_call>\n<function=f>\nnonsense\n</function>\n</tool_call>", "not a parameter: nonsense"),
        (XML, "<tool_call>\nnonsense\n</tool_call>", "not <function=name>"),
        (XML, "<tool_call>\n<function=f>\n<parameter=a>", "no </tool_call>"),
        (GLM, "<tool_call>f<arg_key>a</arg_key></tool_call>", "not a name and"),
        (DEEPSEEK, f'{B}{CB}f{SEP}{{"a": NaN}}{CE}{E}', "NaN is no number of JSON"),
        (KIMI, f'{KB}{KCB}functions.f:0{KSEP}{{"a": -Infinity}}{KCE}{KE}', "-Infinity is no number of JSON"),
        (KIMI, f'{KB}{KCB}functions.f:0{KSEP}{{"a": 1e999}}{KCE}{KE}', "1e999 is no number of JSON"),
        (DEEPSEEK, f'{B}{CB}f{SEP}{{"a": [{{"b": 1, "b": 2}}]}}{CE}{E}', "'b' comes twice"),
        (DEEPSEEK, f"{B}{CB}f{SEP}{'[' * 99_999}{CE}{E}", "nested too deeply"),
        (MISTRAL, '[TOOL_CALLS][{"name": "f", "arguments": {"a": NaN}}]', "NaN is no number"),
        (MISTRAL, f"[TOOL_CALLS][{'[' * 99_999}", "not JSON"),
        (LLAMA, '{"name": "f", "parameters": {"a": 1, "a": 2}}', "'a' comes twice"),
        (LLAMA, '{"name": "f", "parameters": {"a": DEEP', "not JSON"),
        (
            XML,
            f"<tool_call><function=f>{2 * '<parameter=a>1</parameter>'}</function></tool_call>",
            "'a' is given twice",
        ),
        (GLM, f"<tool_call>f{2 * '<arg_key>a</arg_key><arg_value>1</arg_value>'}</tool_call>", "'a' is given twice"),
        (HARMONY, "<|channel|>commentary to=functions.f", "no <|message|>"),
        (HARMONY, "<|channel|>commentary to=functions.f<|message|>{'a'}<|call|>", "the arguments are not JSON"),
    ],
)
def test_tool_calls_that_cannot_be_read(tokens, text, reason):
    """A call that cannot be read is listed with the reason and its text, and hides no other."""
    answer = parsed(tokens, text)
    assert answer.tool_calls == ()
    (unparsed,) = answer.unparsed_tool_calls
    assert reason in unparsed.reason
    assert not any(0xFDD0 <= ord(letter) < 0xFDF0 for letter in unparsed.text + unparsed.reason)


def test_calls_beside_one_that_cannot_be_read():
    """A call that can be read is read, whatever stands beside it."""
    twice = '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1, "a": 2}}, {"name": "g"}]'
    for text in ("[TOOL_CALLS]f[ARGS]{[TOOL_CALLS]g[ARGS]{}", twice):
        answer = parsed(MISTRAL, text)
        assert calls(answer) == [("g", {})]
        assert len(answer.unparsed_tool_calls) == 1


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    "value", ["1", "1.5", "true", "True", "null", "[1]", '{"b": 2}', "007", "plain", '"q"', "", "NaN", "[" * 20_000]
)
@pytest.mark.parametrize("name", SCHEMA)
def test_types_of_arguments(name, value):
    """Arguments without types are what the tool's schema says, where they are written like that, and text otherwise."""
    text = f"<tool_call>\n<function=f>\n<parameter={name}>\n{value}\n</parameter>\n</function>\n</tool_call>"
    ((_, arguments),) = calls(parsed(XML, text, TOOLS))
    allowed = {
        "text": {}, "count": {"1": 1}, "share": {"1": 1, "1.5": 1.5}, "on": {"true": True, "True": True},
        "maybe": {"1": 1, "null": None}, "list": {"[1]": [1], "null": None},
        "free": {"1": 1, "1.5": 1.5, "true": True, "null": None, "[1]": [1], '{"b": 2}': {"b": 2}},
    }  # fmt: skip
    assert arguments == {name: allowed[name].get(value, value.replace("DEEP", "[" * 20_000))}


def test_channels():
    """gpt-oss thinks on one channel, calls tools on another, and says what it says on the others."""
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>One moment.<|end|>"
        '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
    )
    answer = parsed(HARMONY, text)
    assert (answer.reasoning_content, answer.content, calls(answer)) == ("Hm.", "One moment.", ONE)
    answer = parsed(HARMONY, ' to=functions.f<|channel|>commentary json<|message|>{"a": 1}<|call|>')
    assert (answer.content, calls(answer)) == ("", ONE)
    answer = parsed(HARMONY, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes")
    assert (answer.reasoning_content, answer.content) == ("Hm.", "Yes")


@pytest.mark.parametrize(("text", "content"), [("Yes", "Yes"), ("<|channel|>fin", ""), ("<|start|>assist", "")])
def test_channels_that_are_none(text, content):
    """Text without channels is content; a header that was cut off is none."""
    assert parsed(HARMONY, text).content == content


PIECES = [*HARMONY, *MISTRAL, *LLAMA, *XML, *DEEPSEEK, "{", '"name": "f"', "}", "x", "\ufdd0"]


@given(strategies.lists(strategies.sampled_from(PIECES)))
def test_nonsense_is_no_error(pieces):
    """Whatever is sampled, an answer is made of it, without marks of ours in it."""
    for tokens in (HARMONY, MISTRAL, LLAMA, XML, GLM, DEEPSEEK, KIMI):
        answer = parsed(tokens, "".join(pieces))
        texts = [answer.content, answer.reasoning_content or "", *(each.text for each in answer.unparsed_tool_calls)]
        assert not any(0xFDD0 <= ord(letter) < 0xFDF0 for text in texts for letter in text)
