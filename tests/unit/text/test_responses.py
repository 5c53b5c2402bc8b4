"""Responses that are text: read when looked at, and what they say of their tokens."""

from __future__ import annotations

import functools
import html
import math
import pickle
import re

import pytest
from chatml import CHATML, ByteTokenizer

from tinkex.chat import ChatFormat
from tinkex.text import ChatResponse, SampledText, TextResponse
from tinkex.text.responses import sampled_answer
from tinkex.types import ModelInput, SampledSequence, SampleResponse

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")

PROMPT = ModelInput.from_ints([1])
TOKENIZER = ByteTokenizer("{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}" + CHATML)
CHAT = ChatFormat(TOKENIZER)
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]


def texts(*sequences, read=lambda each: SampledText(f"<{each.tokens}>", each)):
    """A response of texts."""
    return TextResponse(SampleResponse(sequences), PROMPT, read)


def test_texts():
    """A response is a sequence of its texts; the first is its own."""
    response = texts(SampledSequence([5], [-1.0]), SampledSequence([6, 7], [-1.0, -2.0]))
    assert (response.text, response.texts, len(response)) == ("<[5]>", ["<[5]>", "<[6, 7]>"], 2)
    assert [each.logprob for each in response] == [-1.0, -3.0]
    assert (response.logprob, response[1].mean_logprob, response[1].tokens) == (-1.0, -1.5, [6, 7])
    assert response[0].stop_reason == "stop"
    assert [each.text for each in response[:1]] == ["<[5]>"]
    assert repr(response) == "TextResponse([SampledText(text='<[5]>'), SampledText(text='<[6, 7]>')])"


def test_missing_logprobs():
    """A server that gives no log-probabilities, or not all, is not made to have said something."""
    none, unknown = texts(SampledSequence([5])), texts(SampledSequence([5], [math.nan]))
    assert none.logprob is none[0].mean_logprob is None
    assert math.isnan(unknown.logprob)
    assert texts(SampledSequence([], [])).logprob in (None, 0.0)


def test_equal_responses():
    """Responses are equal where the server computed the same, and the texts are the same."""
    assert texts(SampledSequence([5])) == texts(SampledSequence([5]))
    assert texts(SampledSequence([5])) != texts(SampledSequence([6]))
    assert texts(SampledSequence([5])) != texts(SampledSequence([5]), read=lambda each: SampledText("a", each))
    assert texts(SampledSequence([5])) != ["<[5]>"]


def test_text_is_read_once_and_when_looked_at():
    """A tokenizer of the caller's runs in the thread that looks at the text, once."""
    read = []
    response = texts(SampledSequence([5]), read=lambda each: read.append(each) or SampledText("a", each))
    assert read == []
    assert response.text == response.text == "a"
    assert len(read) == 1


def test_pickles_as_text():
    """The copy has the texts, and needs no tokenizer."""
    response = texts(SampledSequence([5], [-1.0]))
    copied = pickle.loads(pickle.dumps(response))
    assert copied == response
    assert hash(copied) == hash(response)
    assert (copied.text, copied.prompt, copied.response.sequences[0].tokens) == ("<[5]>", PROMPT, [5])


def chat(text, *, tools=None, stop=(), prompt=None):
    """A chat response with one answer."""
    prompt = prompt or CHAT.prompt([{"role": "user", "content": "Hi"}], tools)
    read = functools.partial(sampled_answer, chat=CHAT, prompt=prompt, tools=tools, stop=stop)
    return ChatResponse(SampleResponse([SampledSequence(TOKENIZER.encode(text))]), prompt, read)


def test_answers():
    """An answer has its message, its thinking and its calls, and its tokens."""
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    response = chat(f"<think>\nHm\n</think>\n\nSee.\n{call}<|im_end|>", tools=TOOLS)
    (answer,) = response
    assert (answer.text, answer.reasoning_content, answer.ended) == ("See.", "Hm", "turn_end")
    assert answer.tool_calls[0]["function"]["name"] == "add"
    assert response.message == response.messages[0] == answer.message
    assert answer.tokens == answer.sequence.tokens


def test_stops_of_the_callers_own():
    """A stop text and a stop token end an answer, and are no part of it."""
    for text, stop in (("One. Two", (".",)), ("One", TOKENIZER.encode("e")), ("<think>O.\n</think>\n\nTwo", (".",))):
        (answer,) = chat(text, stop=stop)
        assert answer.ended == "stop"
        assert "." not in answer.text
        assert "e" not in answer.text or stop == (".",)


def test_next_turn():
    """The next prompt holds what was sampled, token by token, and the new messages."""
    (answer,) = chat("Hello<|im_end|>")
    following = answer.extend([{"role": "user", "content": "And?"}])
    assert following.to_ints()[: answer.prompt.length + len(answer.tokens)] == answer.prompt.to_ints() + answer.tokens
    assert TOKENIZER.decode(following.to_ints()).endswith("And?<|im_end|>\n<|im_start|>assistant\n")


def test_answers_in_notebooks():
    """A notebook shows all that was sampled as text, token by token."""
    for answer in (chat("Hello<|im_end|>"), pickle.loads(pickle.dumps(chat("Hello<|im_end|>")))):
        shown = html.unescape(re.sub("<[^>]*>", "", answer._repr_html_()))
        assert shown.endswith("tokens · stopHello<|im_end|>")


def test_answers_pickle():
    """A copy can be gone on with, where the tokenizer pickles."""
    (answer,) = pickle.loads(pickle.dumps(chat("Hello<|im_end|>")))
    assert answer.extend([{"role": "user", "content": "And?"}]) == chat("Hello<|im_end|>")[0].extend(
        [{"role": "user", "content": "And?"}]
    )
