from __future__ import annotations

import json

import pytest

from tinkex.chat import Answer, ChatFormat, UnparsedToolCall
from tinkex.tokenizers import ChatTemplateError
from tinkex.types import ModelInput, SampledSequence

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ '\n' if m.content or not loop.first }}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments }}}\n</tool_call>{% endfor %}'
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{{ begun }}{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
USER = [{"role": "user", "content": "Hi"}]


class Bytes:
    """A byte-level tokenizer with the control tokens of ChatML."""

    def __init__(self, template=CHATML, special=SPECIAL, **special_names):
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        self.inner = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
        self.inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self.inner.decoder = tokenizers.decoders.ByteLevel()
        self.inner.add_special_tokens(list(special))
        self.chat_template = template
        self.special_tokens_map = special_names or {"eos_token": "<|endoftext|>"}

    def encode(self, text, add_special_tokens=True):
        return self.inner.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids, skip_special_tokens=False):
        return self.inner.decode(ids, skip_special_tokens=skip_special_tokens)


TOKENIZER = Bytes()
CHAT = ChatFormat(TOKENIZER)


def parsed(text, prompt=None, chat=CHAT, tools=None):
    """What is made of a sampled text."""
    return chat.parse(TOKENIZER.encode(text), prompt, tools)


def test_stop_tokens():
    """A turn ends at the template's end token, and where the text ends."""
    ends = [TOKENIZER.inner.token_to_id(name) for name in ("<|im_end|>", "<|endoftext|>")]
    assert CHAT.stop == tuple(ends)
    assert CHAT.sampling_params(7, temperature=0.5).stop == tuple(ends)


def test_template_without_an_end_token():
    """Where nothing ends a turn, that is said instead of sampling to the last token allowed."""
    chat = ChatFormat(Bytes("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", (), pad_token="x"))
    with pytest.raises(ChatTemplateError, match="no control token behind an answer"):
        _ = chat.stop


@pytest.mark.parametrize(
    ("text", "ended", "content"),
    [
        ("Hello<|im_end|>", "turn_end", "Hello"),
        ("Hello<|endoftext|>", "end_of_text", "Hello"),
        ("Hello", "cut_off", "Hello"),
        ("Hello<|im_end|>\n<|im_start|>user", "turn_end", "Hello"),
    ],
)
def test_how_it_ended(text, ended, content):
    """An answer ends at the first token that ends one, which is no part of its content."""
    answer = parsed(text)
    assert (answer.ended, answer.content) == (ended, content)
    assert TOKENIZER.decode(TOKENIZER.encode(text)[: answer.num_tokens]).startswith(content)


def test_stop_of_the_callers_own():
    """A sequence that stopped at something else is neither cut off nor at the end of its turn."""
    tokens = TOKENIZER.encode("Hello")
    assert CHAT.parse(SampledSequence(tokens, stop_reason="stop")).ended == "stop"
    assert CHAT.parse(SampledSequence(tokens, stop_reason="length")).ended == "cut_off"


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>\nHm.\n</think>\n\nHello", "Hm.", "Hello"),
        ("<think>\n\n</think>\n\nHello", None, "Hello"),
        ("Hm.\n</think>\n\nHello", "Hm.", "Hello"),
        ("<think>\nHm", "Hm", ""),
        ("Hello", None, "Hello"),
    ],
)
def test_thinking(text, reasoning, content):
    """Thinking stands apart, also where it is not closed, and the line breaks of the template around it go."""
    answer = parsed(text)
    assert (answer.reasoning_content, answer.content) == (reasoning, content)


def test_thinking_that_the_prompt_has_begun():
    """Where the prompt ends with <think>, what is sampled begins as thinking."""
    chat = ChatFormat(TOKENIZER, begun="<think>\n")
    prompt = chat.prompt(USER)
    for answer in (parsed("Hm.\n</think>\n\nHello", chat=chat), parsed("Hm.\n</think>\n\nHello", prompt)):
        assert (answer.reasoning_content, answer.content) == ("Hm.", "Hello")
    assert parsed("Hm.", prompt).reasoning_content == "Hm."
    assert parsed("Hm.", CHAT.prompt(USER)).reasoning_content is None


def test_what_the_prompt_has_begun_is_no_part_of_the_answer():
    """Content that the prompt ends with is not repeated in the answer."""
    prompt = CHAT.prompt([*USER, {"role": "assistant", "content": "Sure, "}], continue_final_message=True)
    assert parsed("I can.<|im_end|>", prompt).content == "I can."


def test_tool_calls():
    """A tool call is in OpenAI's form, its arguments in the letters that were sampled."""
    answer = parsed('Let me see.\n<tool_call>\n{"name": "f", "arguments": {"a":  1}}\n</tool_call><|im_end|>')
    (call,) = answer.tool_calls
    assert call["function"] == {"name": "f", "arguments": '{"a":  1}'}
    assert call["type"] == "function"
    assert call["id"].isalnum()
    assert answer.content == "Let me see."
    assert answer.message == {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    assert answer.is_complete


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<tool_call>\n{"name": "f", "arguments": {"a": 1}\n</tool_call>', "not JSON"),
        ("<tool_call>\n[1]\n</tool_call>", "not a JSON object with a name"),
        ('<tool_call>\n{"name": "f", "arguments": 1}\n</tool_call>', "arguments is not a JSON object"),
        ('<tool_call>\n{"name": "f", "argum', "no </tool_call>"),
    ],
)
def test_tool_calls_that_cannot_be_read(text, reason):
    """A call that cannot be read is listed with its text and the reason, and is no call."""
    answer = parsed(text)
    (unparsed,) = answer.unparsed_tool_calls
    assert isinstance(unparsed, UnparsedToolCall)
    assert reason in unparsed.reason
    assert "f" in unparsed.text or "[1]" in unparsed.text
    assert answer.tool_calls == ()
    assert not answer.is_complete


def test_letters_that_look_like_a_control_token():
    """Only the token counts, not letters that spell its name."""
    letters = [token for letter in "</think>" for token in TOKENIZER.encode(letter)]
    answer = CHAT.parse([*TOKENIZER.encode("a"), *letters, *TOKENIZER.encode("b<|im_end|>")])
    assert answer.content == "a</think>b"


@pytest.mark.parametrize("end", ["<|im_end|>", "<|endoftext|>", ""])
def test_extended_prompt(end):
    """The next prompt begins with the last one and what was sampled, to the token, and goes on as the template does."""
    prompt, sampled = CHAT.prompt(USER), TOKENIZER.encode(f"<think>\nHm.\n</think>\n\nHello{end}")
    following = CHAT.extend(prompt, sampled, [{"role": "user", "content": "More"}]).to_ints()
    assert following[: prompt.length + len(sampled)] == prompt.to_ints() + sampled
    added = TOKENIZER.decode(following[prompt.length + len(sampled) :])
    ended = "" if end else "<|im_end|>"
    assert added == f"{ended}\n<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n"


def test_extended_by_the_results_of_tools():
    """Results of tools follow the call that was sampled."""
    sampled = TOKENIZER.encode('<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>')
    prompt = CHAT.prompt(USER)
    result = {"role": "tool", "tool_call_id": CHAT.parse(sampled).tool_calls[0]["id"], "content": "42"}
    following = CHAT.extend(prompt, sampled, [result])
    conversation = [*USER, CHAT.parse(sampled).message, result]
    assert following == CHAT.prompt(conversation)


def test_answers_travel():
    """An answer can be compared and kept as JSON."""
    answer = parsed("Hello<|im_end|>")
    assert answer == Answer("Hello", "turn_end", 6)
    assert json.loads(json.dumps(answer.message)) == answer.message


def test_variables_are_checked_once():
    """A variable that the template does not read is refused when the format is made."""
    with pytest.raises(ChatTemplateError, match=r"beggun: .* did you mean begun"):
        ChatFormat(TOKENIZER, beggun="x")


def test_prompt_is_that_of_from_messages():
    """A format makes the prompts of `ModelInput.from_messages`."""
    assert CHAT.prompt(USER) == ModelInput.from_messages(USER, TOKENIZER)
