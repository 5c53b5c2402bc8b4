"""Chats of gpt-oss compared with openai-harmony, OpenAI's own library for them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
from cookbook_table import TOOL, result, said, system, user
from harmony import REQUIREMENTS, write_vocabulary

from tinkex.chat import ChatFormat
from tinkex.tokenizers import get_tokenizer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATE = "2026-11-29"
TOOLS = [{"type": "function", "function": TOOL}]
#: Name: messages, whether the tool is declared.
CONVERSATIONS = {
    "plain": ([user()], False),
    "system": ([system(), user()], False),
    "several turns": ([user(), said("No."), user("\n 東京?  ")], False),
    "thinking": ([user(), said("No.", "Hm."), user("Why?")], False),
    "tools": ([user()], True),
    "tools and system": ([system(), user()], True),
    "call": ([user(), said("", None, "Zürich"), result('dry, "they" say')], True),
    "call and thinking": ([user(), said("", "Hm.", "Oslo"), result()], True),
    "call and answer": ([user(), said("", "Hm.", "Oslo"), result(), said("No."), user("Why?")], True),
}
END, START = "<|end|>", "<|start|>assistant"
FINAL, THINKING, ASIDE = (f"<|channel|>{name}<|message|>" for name in ("final", "analysis", "commentary"))
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
ANSWERS = (
    f"{FINAL}Yes<|return|>",
    f"{THINKING}Hm.{END}{START}{FINAL}Yes<|return|>",
    f"{THINKING}Hm.{END}{START}{THINKING}Oh.{END}{START}{FINAL}Yes<|return|>",
    CALL,
    ' to=functions.f<|channel|>commentary json<|message|>{"a": 1}<|call|>',
    f"{THINKING}Hm.{END}{START}{ASIDE}One moment.{END}{START}{CALL}",
    '<|channel|>commentary to=browser.search <|constrain|>json<|message|>{"q": "x"}<|call|>',
    f"{THINKING}Hm",
    f"{FINAL}I said <|message|> to",
)


@pytest.fixture(scope="module")
def chat(families):
    """The format of gpt-oss."""
    return ChatFormat(str(families / "gpt_oss"), date=DATE)


@pytest.fixture(scope="module")
def tokens_of(families):
    """Makes the tokens of a text."""
    tokenizer = get_tokenizer(str(families / "gpt_oss"))
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


@pytest.fixture(scope="module")
def text_of(families):
    """Makes the text of tokens."""
    return get_tokenizer(str(families / "gpt_oss")).decode


@pytest.fixture(scope="module")
def theirs(environment_with, families, tokens_of, tmp_path_factory):
    """What openai-harmony makes of all of it."""
    python = environment_with(REQUIREMENTS[0].replace("==", "-"), REQUIREMENTS)
    folder = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(families / "gpt_oss" / "tokenizer.json", folder)
    given = {
        "conversations": [(messages, TOOLS if tools else None) for messages, tools in CONVERSATIONS.values()],
        "answers": list(map(tokens_of, ANSWERS)),
        "date": DATE,
        "template": get_tokenizer(str(families / "gpt_oss")).chat_template,
    }
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TIKTOKEN_ENCODINGS_BASE": str(folder)}
    command = [python, ROOT / "tests" / "support" / "harmony.py"]
    done = subprocess.run(
        command, input=json.dumps(given), env=environ, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    )
    return json.loads(done.stdout)


def test_prompts(chat, theirs, text_of):
    """Prompts are the library's, but for two things that the template writes in another way."""
    for (name, (messages, tools)), prompt in zip(CONVERSATIONS.items(), theirs["prompts"], strict=True):
        own = chat.prompt(messages, TOOLS if tools else None).to_ints()
        if name == "system" or "call" in name:
            # The template ends instructions with two line breaks, and says in letters that a call is JSON.
            as_written = text_of(own).replace("Be brief.\n\n<|end|>", "Be brief.<|end|>")
            assert as_written == text_of(prompt).replace("<|constrain|>", ""), name
        else:
            assert own == prompt, name


def test_answers(chat, theirs, tokens_of):
    """Answers are read as the library reads them."""
    for text, expected in zip(ANSWERS, theirs["answers"], strict=True):
        answer = chat.parse(tokens_of(text))
        calls = [[call["function"]["name"], call["function"]["arguments"]] for call in answer.tool_calls]
        assert [answer.reasoning_content or "", answer.content, calls] == expected, text


def test_stop_tokens(chat, theirs):
    """A turn ends at the tokens that the library names, and where the text ends."""
    assert sorted(chat.stop[:-1]) == sorted(theirs["stop"])


def test_the_librarys_encoding_as_a_tokenizer(chat, theirs):
    """Its encoding serves as a tokenizer, control tokens included, where the template is given."""
    messages, _ = CONVERSATIONS["plain"]
    assert theirs["own"] == theirs["prompts"][0] == chat.prompt(messages).to_ints()
