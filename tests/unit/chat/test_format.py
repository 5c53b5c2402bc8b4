from __future__ import annotations

import json
import pickle

import pytest
from chatml import CHATML, USER, ByteTokenizer
from small_tokenizers import END, sentencepiece

from tinkex.chat import Answer, ChatFormat, UnparsedToolCall
from tinkex.tokenizers import ChatTemplateError, get_tokenizer
from tinkex.types import ImageChunk, ModelInput, SampledSequence, SampleResponse

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")

TOKENIZER = ByteTokenizer()
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
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    chat = ChatFormat(ByteTokenizer(template, (), pad_token="x"))
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
    for name in ("messages", "tools"):
        with pytest.raises(ChatTemplateError, match=rf"{name}: is an argument of prompt\(\)"):
            ChatFormat(TOKENIZER, **{name: []})


def test_prompt_is_that_of_from_messages():
    """A format makes the prompts of `ModelInput.from_messages`."""
    assert CHAT.prompt(USER) == ModelInput.from_messages(USER, TOKENIZER)


def test_tokens_that_the_format_does_not_know():
    """A special token that means nothing to the format stays in the content, as the name it has."""
    tokenizer = ByteTokenizer(special=[*ByteTokenizer.special, "<|other|>"])
    for given in (tokenizer, tokenizer.inner):  # the library's own decode leaves special tokens out by default
        chat = ChatFormat(given, chat_template=CHATML)
        assert chat.parse(tokenizer.encode("a<|other|>b<|im_end|>")).content == "a<|other|>b"


ROLE_COLON = ChatFormat(TOKENIZER, chat_template="role_colon")


@pytest.mark.parametrize(
    ("text", "content", "ended"),
    [
        (" Hello\n\nUser:", "Hello", "turn_end"),
        (" Hello<|endoftext|>", "Hello", "end_of_text"),
        (" Hello", "Hello", "cut_off"),
    ],
)
def test_role_colon(text, content, ended):
    """In the format for base models a turn ends where the user's would begin."""
    answer = parsed(text, chat=ROLE_COLON)
    assert (answer.content, answer.ended) == (content, ended)
    assert ROLE_COLON.stop == ("\n\nUser:",)
    prompt = ROLE_COLON.prompt(USER)
    following = ROLE_COLON.extend(prompt, TOKENIZER.encode(text), [{"role": "user", "content": "More"}])
    added = TOKENIZER.decode(following.to_ints()[prompt.length :])
    assert added.startswith(text)
    assert added.endswith("User: More\n\nAssistant:")
    assert added.count("User:") == 1


def test_pictures_in_the_next_turn():
    """What follows an answer may have pictures, where the template leaves places for them."""
    template = CHATML.replace(
        "{{ m.content or '' }}",
        "{% for p in m.content if m.content is not string %}{{ '<|image_pad|>' if p.type == 'image' else p.text }}"
        "{% endfor %}{{ m.content if m.content is string }}",
    )
    tokenizer = ByteTokenizer(template, [*ByteTokenizer.special, "<|image_pad|>"])
    chat, picture = ChatFormat(tokenizer), ImageChunk(b"\x89PNG\r\n\x1a\n", "png", expected_tokens=7)
    sampled = tokenizer.encode("Hello<|im_end|>")
    more = {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "This?"}]}
    before, seen, after = chat.extend(chat.prompt(USER), sampled, [more]).chunks
    assert seen == picture
    assert tokenizer.decode(before.tokens).endswith("Hello<|im_end|>\n<|im_start|>user\n")
    assert tokenizer.decode(after.tokens) == "This?<|im_end|>\n<|im_start|>assistant\n"


def test_what_follows_is_named_as_it_was_given():
    """An error about the messages that follow counts them, and nothing that stands before."""
    with pytest.raises(TypeError, match=r"messages\[0\]\.content must be text"):
        CHAT.extend(CHAT.prompt(USER), TOKENIZER.encode("Hello<|im_end|>"), [{"role": "user", "content": 5}])


def test_messages_that_the_template_moves():
    """A message that the template writes at the beginning, as DeepSeek's do with the system's, is not lost."""
    template = "{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}" + CHATML.replace(
        "for m in messages", "for m in messages if m.role != 'system'"
    )
    chat = ChatFormat(TOKENIZER, chat_template=template)
    more = [{"role": "system", "content": "t"}, {"role": "user", "content": "More"}]
    with pytest.raises(ChatTemplateError, match=r"messages\[0\]\.content: .* does not write it behind an answer$"):
        chat.extend(chat.prompt(USER), TOKENIZER.encode("Hello<|im_end|>"), more)


def test_tools_that_can_be_gone_over_once():
    """The tools of an extended prompt may come from an iterator."""
    template = CHATML.replace("<|im_end|>", "{{ tools[0].name }}<|im_end|>")
    chat, tools = ChatFormat(TOKENIZER, chat_template=template), [{"name": "rain"}]
    following = chat.extend(chat.prompt(USER, tools), TOKENIZER.encode("Hello<|im_end|>"), USER, iter(tools))
    assert TOKENIZER.decode(following.to_ints()).endswith("Hirain<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("Hello",), "sequence must be a sequence of token ids, got 'Hello'"),
        (([1.5],), r"sequence\[0\] must be a whole number, got 1.5"),
        ((SampleResponse([SampledSequence([1])]),), "sequence must be a sequence of token ids, got SampleResponse"),
        (([1], "Hi"), "prompt must be a sequence of token ids, got 'Hi'"),
        (([1], None, ["rain"]), r"tools\[0\] must be a mapping, got 'rain'"),
    ],
)
def test_answers_of_another_kind(given, complaint):
    """What is no answer is refused by the name of the argument."""
    with pytest.raises(TypeError, match=complaint):
        CHAT.parse(*given)


def test_answers_in_arrays():
    """Tokens in an array are those in a list, to the ids of the calls."""
    np = pytest.importorskip("numpy")
    tokens = TOKENIZER.encode('<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>')
    assert CHAT.parse(np.array(tokens)) == CHAT.parse(tokens)


def test_message_is_a_copy():
    """Changing a message changes no answer."""
    answer = parsed('<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>')
    answer.message["tool_calls"][0]["function"]["name"] = "g"
    assert answer.message["tool_calls"][0]["function"]["name"] == "f"
    assert answer.message["content"] is None


def test_a_template_for_conversations_with_tools():
    """A template that wants tools is found out about with one."""
    template = "{% if not tools %}{{ raise_exception('no tools') }}{% endif %}" + CHATML
    assert ChatFormat(TOKENIZER, chat_template=template).stop == CHAT.stop


def test_formats_travel(tmp_path):
    """A format can be sent to another process, with a date and what it has found out already."""
    TOKENIZER.inner.save(str(tmp_path / "tokenizer.json"))
    template = "{{ strftime_now('%Y') }}" + CHATML
    chat = ChatFormat(str(tmp_path), chat_template=template, date="2026-11-29")
    assert chat.stop
    copy = pickle.loads(pickle.dumps(chat))
    assert copy.prompt(USER) == chat.prompt(USER)
    assert TOKENIZER.decode(copy.prompt(USER).to_ints()).startswith("2026<|im_start|>")
    assert copy.stop == chat.stop
    assert repr(chat).startswith("ChatFormat(<tokenizer of ")


GLM = (
    "{% for m in messages %}<|{{ 'observation' if m.role == 'tool' else m.role }}|>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{% for k, v in c.function.arguments | items %}"
    "<arg_key>{{ k }}</arg_key><arg_value>{{ v }}</arg_value>{% endfor %}</tool_call>{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
RESULT = [{"role": "tool", "content": "dry"}]


def test_ends_that_begin_the_next_message():
    """Where a turn ends with the first token of the next message, what follows is that message, or refused."""
    tokenizer = ByteTokenizer(GLM, [*ByteTokenizer.special, "<|user|>", "<|observation|>", "<|assistant|>"])
    chat = ChatFormat(tokenizer)
    prompt = chat.prompt(USER)

    def added(sampled, messages):
        return tokenizer.decode(chat.extend(prompt, tokenizer.encode(sampled), messages).to_ints()[prompt.length :])

    call = "<tool_call>f</tool_call>"
    assert added("Hi<|user|>", USER) == "Hi<|user|>Hi<|assistant|>"
    assert added(f"{call}<|observation|>", RESULT) == f"{call}<|observation|>dry<|assistant|>"
    assert added("Hi<|endoftext|>", USER) == "Hi<|endoftext|><|user|>Hi<|assistant|>"
    assert added("Hi", USER) == "Hi<|user|>Hi<|assistant|>"
    with pytest.raises(ChatTemplateError, match=r"messages\[0\]\.content: .* does not write it behind an answer"):
        added("Hi<|user|>", [{"role": "system", "content": "Be brief."}, *USER])
    for sampled, messages in ((f"{call}<|observation|>", USER), (f"{call}<|user|>", RESULT)):
        with pytest.raises(ChatTemplateError, match=r"messages\[0\]\.role: the answer ended with <\|"):
            added(sampled, messages)


LLAMA = (
    "{% for m in messages %}{% if m.tool_calls and m.tool_calls|length > 1 %}{{ raise_exception('one call only') }}"
    "{% endif %}<|start_header_id|>{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
    '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments }}}{% endfor %}<|eot_id|>{% endfor %}'
    "{% if add_generation_prompt %}<|start_header_id|>assistant\n{% endif %}"
)


def test_ends_of_tool_calls():
    """Llama 3 may end a tool call with a token of its own, whether its template names it or not."""
    tokenizer = ByteTokenizer(LLAMA, ["<|start_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"])
    chat = ChatFormat(tokenizer)
    assert [tokenizer.decode([token]) for token in chat.stop] == ["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"]
    without = ByteTokenizer(LLAMA, ["<|start_header_id|>", "<|eot_id|>", "<|end_of_text|>"])
    assert [without.decode([token]) for token in ChatFormat(without).stop] == ["<|eot_id|>", "<|end_of_text|>"]


@pytest.mark.parametrize("end", ["<|eom_id|>", "<|eot_id|>"])
def test_more_calls_than_the_template_takes(end):
    """An answer with more calls than the template can write is extended all the same: its tokens are kept."""
    tokenizer = ByteTokenizer(LLAMA, ["<|start_header_id|>", "<|eot_id|>", "<|eom_id|>"])
    chat = ChatFormat(tokenizer)
    prompt = chat.prompt(USER)
    sampled = '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}' + end
    following = chat.extend(prompt, tokenizer.encode(sampled), iter(2 * RESULT)).to_ints()
    results = 2 * "<|start_header_id|>tool\ndry<|eot_id|>"
    assert tokenizer.decode(following[prompt.length :]) == f"{sampled}{results}<|start_header_id|>assistant\n"
    with pytest.raises(ChatTemplateError, match="one call only"):
        chat.prompt([*USER, chat.parse(tokenizer.encode(sampled)).message, *RESULT])


def test_results_of_several_calls_follow_in_their_order():
    """What follows an answer with several calls is put in the order of the calls as well."""
    prompt, call = CHAT.prompt(USER), '<tool_call>{"name": "%s", "arguments": {}}</tool_call>'
    sampled = TOKENIZER.encode(call % "f" + call % "g" + "<|im_end|>")
    first, second = (each["id"] for each in CHAT.parse(sampled, prompt).tool_calls)
    results = [{"role": "tool", "tool_call_id": name, "content": name} for name in (second, first)]
    added = TOKENIZER.decode(CHAT.extend(prompt, sampled, results).to_ints())
    assert added.index(first) < added.index(second)


def test_results_of_tools():
    """What functions return is told as text or JSON; what they raise, and a call of none of them, are told too."""
    calls = ['{"name": "add", "arguments": {"a": 1, "b": 2}}', '{"name": "add", "arguments": {"c": 1}}']
    calls += ['{"name": "say", "arguments": {"text": "é"}}', '{"name": "gone", "arguments": {}}']
    answer = parsed("".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls) + "<|im_end|>")
    messages = answer.tool_results({"add": lambda a, b: {"sum": a + b}, "say": lambda text: text})
    assert [message["tool_call_id"] for message in messages] == [call["id"] for call in answer.tool_calls]
    assert {(message["role"], message["name"]) for message in messages} == {("tool", n) for n in ("add", "say", "gone")}
    told = [message["content"] for message in messages]
    assert (told[0], told[2]) == ('{"sum": 3}', "é")
    assert told[1].startswith("error: TypeError: ")
    assert told[3] == "error: LookupError: there is no tool gone, but add, say"


def test_stops_besides_the_end_of_a_turn():
    """Stops are all texts or all token ids; a format that ends a turn with a text takes no token ids."""
    ends = ("<|im_end|>", "<|endoftext|>")
    assert CHAT.stop_with(["."]) == (".", *ends)
    assert CHAT.stop_with([7]) == (7, *CHAT.stop)
    assert CHAT.stop_with([]) == CHAT.stop
    by_text = ChatFormat(TOKENIZER, chat_template="role_colon")
    assert by_text.stop_with(["."]) == (".", *by_text.stop)
    with pytest.raises(ValueError, match="stop must be texts"):
        by_text.stop_with([7])


def test_stops_cut_an_answer():
    """An answer ends in front of a stop text, in its thinking or behind it, and in front of a stop token at its end."""
    assert CHAT.parse(TOKENIZER.encode("One. Two"), stop=["."]).content == "One"
    thought = CHAT.parse(TOKENIZER.encode("<think>\nOne. Two\n</think>\n\nThree"), stop=["."])
    assert (thought.reasoning_content, thought.content, thought.ended) == ("One", "", "stop")
    stopped = CHAT.parse(TOKENIZER.encode("One!"), stop=TOKENIZER.encode("!"))
    assert (stopped.content, stopped.ended, stopped.num_tokens) == ("One", "stop", 4)
    assert CHAT.parse(TOKENIZER.encode("One"), stop=["."]).ended == "cut_off"


def test_what_continues_a_message_keeps_its_first_space():
    """Where decoding leaves out the space of a first token, an answer goes without, and what goes on a message with."""
    inner = sentencepiece()
    template = "{% for m in messages %}{{ m.role }}:{{ m.content }}<|end|>{% endfor %}assistant:"
    chat = ChatFormat(get_tokenizer(inner), chat_template=template)
    sampled = [inner.token_to_id("▁yes"), inner.token_to_id(END)]
    begun = [*USER, {"role": "assistant", "content": "true"}]
    assert chat.parse(sampled, chat.prompt(USER)).content == "yes"
    assert chat.parse(sampled, chat.prompt(begun, continue_final_message=True)).content == " yes"
