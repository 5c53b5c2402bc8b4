"""Chats with the real tokenizers and templates of model families, out of the packages that carry them."""

from __future__ import annotations

import functools
import json

import pytest
from chat_families import FAMILIES
from hypothesis import HealthCheck, given, settings, strategies
from round_trips import (
    ASKED,
    BEGINNINGS,
    KINDS,
    NEXT_TURNS,
    beginnings_table,
    following,
    keeps_in_place,
    message,
    next_turns_table,
    sampled,
    tools_of,
    verdict,
)

from tinkex.chat import ChatFormat
from tinkex.tokenizers import get_tokenizer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first run fetches 170 MB

#: What ends an answer, of the models whose own tokenizer is there: what their generation_config.json lists, or less.
STOPS = {
    "qwen3": (151645, 151643),
    "qwen3_instruct": (151645, 151643),
    "qwen3_5": (248046, 248044),
    "llama3": (128009, 128001),
    "llama3_1": (128009, 128008, 128001),
    "llama3_2": (128009, 128008, 128001),
    "deepseek_v3": (1,),
    "deepseek_v3_1": (1,),
    "deepseek_r1": (1,),
    "gpt_oss": (200002, 200012, 199999),
    "gemma3": (106, 1),
}
#: A line of words: no surrogates, no control tokens, nothing that a template would trim, split or escape.
WORDS = strategies.lists(
    strategies.text("abcXYZ äß東京🦊0123456789.,;:!?()'-", min_size=1, max_size=12).map(str.strip).filter(bool),
    min_size=1,
    max_size=6,
).map(" ".join)


@functools.cache
def chat_of(folder):
    """A family's tokenizer, and its format."""
    tokenizer = get_tokenizer(str(folder))
    return tokenizer, ChatFormat(tokenizer)


@functools.cache
def form_of(folder, kind):
    """The tools to use with a kind of answer, whether it stays in place and in history; None where it has no form."""
    tokenizer, chat = chat_of(folder)
    tools = tools_of(chat)
    case = sampled(chat, kind, tokenizer, tools=tools)
    return case and (tools, keeps_in_place(chat, case), verdict(chat, kind, tokenizer) == "rendered")


@pytest.mark.parametrize("family", STOPS)
def test_stop_tokens(families, family):
    """A turn ends where the model's own files say."""
    assert chat_of(families / family)[1].stop == STOPS[family]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=WORDS, thinking=WORDS, city=WORDS)
def test_answers_are_understood_and_extended(families, family, kind, content, thinking, city):
    """An answer as the model writes it is read back, renders as it was sampled, and is extended to the token."""
    form = form_of(families / family, kind)
    if form is None:
        return
    tools, is_kept_in_place, is_kept_in_history = form
    tokenizer, chat = chat_of(families / family)
    texts = {"content": content, "thinking": thinking, "city": city}
    case = sampled(chat, kind, tokenizer, tools=tools, **texts)
    answer = chat.parse(case.tokens, case.prompt, tools)
    meant = message(kind, **texts)
    assert answer.unparsed_tool_calls == ()
    assert (answer.reasoning_content or "").strip() == meant.get("reasoning_content", "")
    assert answer.content.strip() == (meant["content"] or "")
    calls = [json.loads(call["function"]["arguments"]) for call in answer.tool_calls]
    assert calls == [call["function"]["arguments"] for call in meant.get("tool_calls", ())]
    assert not is_kept_in_place or keeps_in_place(chat, case)
    more = following(kind, answer)
    extended, kept = chat.extend(case.prompt, case.tokens, more, tools), case.prompt.to_ints() + case.tokens
    assert extended.to_ints()[: len(kept)] == kept
    assert not is_kept_in_history or extended == chat.prompt([*ASKED, answer.message, *more], tools)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_that_are_cut_off(families, family):
    """Wherever an answer is cut off, it is read without an error, said to be cut off, and can be gone on from."""
    tokenizer, chat = chat_of(families / family)
    for kind in KINDS:
        case = sampled(chat, kind, tokenizer, tools=tools_of(chat))
        for length in range(len(case.tokens) if case else 0):
            answer = chat.parse(case.tokens[:length], case.prompt, case.tools)
            assert (answer.ended, answer.num_tokens) == ("cut_off", length)
            kept = case.prompt.to_ints() + case.tokens[:length]
            more = following("call" if answer.tool_calls else "plain", answer)
            assert chat.extend(case.prompt, case.tokens[:length], more).to_ints()[: len(kept)] == kept


@pytest.mark.parametrize("family", FAMILIES)
def test_beginnings_are_continued(families, family):
    """A beginning of the answer ends the prompt, outside of thinking and headers, and is no part of what is parsed."""
    tokenizer, chat = chat_of(families / family)
    prompt = chat.prompt([*ASKED, {"role": "assistant", "content": "No,"}], continue_final_message=True)
    assert tokenizer.decode(prompt.to_ints()).endswith("No,")
    answer = chat.parse(tokenizer.encode(" it is dry.", add_special_tokens=False), prompt)
    assert (answer.content, answer.reasoning_content) == (" it is dry.", None)


def test_tables_in_the_docs(families):
    """The tables of what holds where, in the docs, are what the templates give."""
    assert NEXT_TURNS.read_text(encoding="utf-8") == next_turns_table(families)
    assert BEGINNINGS.read_text(encoding="utf-8") == beginnings_table(families)
