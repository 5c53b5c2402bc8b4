"""Prompts compared with the renderers of tinker-cookbook, in an environment of its own."""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess

import pytest
from cookbook_table import COOKBOOK, REQUIREMENTS, TABLE

import tinkex
from tinkex.chat import ChatFormat
from tinkex.tokenizers import get_tokenizer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]  # the first run installs torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAMILIES = ("llama3", "qwen3", "gemma3", "deepseek_v3")
WORDS = ["Hello", "\n", "\n\n", " ", "User:", "Assistant:", "東京", "🦊", "é", "1234", "<|im_end|>", ".", "  x", "\ty"]


@pytest.fixture(scope="module")
def cookbook(environment_with, families):
    """Runs the script with the cookbook on a family; what it prints."""
    python = environment_with(COOKBOOK.replace("==", "-"), REQUIREMENTS, without_dependencies=[COOKBOOK])

    def run(what, family, given=None):
        path = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
        command = [python, ROOT / "tests" / "support" / "cookbook_table.py", what, families / family]
        environ = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(
            command, input=json.dumps(given), env=environ, check=True, stdout=subprocess.PIPE, encoding="utf-8"
        )
        return done.stdout

    return run


def conversations(draw):
    """Conversations of texts that are cut into tokens in surprising places."""
    roles = ["system", "user", "assistant"]
    for _ in range(60):
        yield [
            {"role": draw.choice(roles), "content": "".join(draw.choices(WORDS, k=draw.randrange(5)))}
            for _ in range(draw.randrange(1, 6))
        ]


@pytest.mark.parametrize("family", FAMILIES)
def test_role_colon_prompts(cookbook, families, family):
    """The format role_colon is that of the cookbook, token by token."""
    given = list(conversations(random.Random(family)))
    theirs = json.loads(cookbook("prompts", family, given))
    tokenizer = get_tokenizer(str(families / family))
    chat = ChatFormat(tokenizer, chat_template="role_colon")
    assert [chat.prompt(messages).to_ints() for messages in given] == theirs["prompts"]
    assert list(chat.stop) == theirs["stop"]
    assert tinkex.ModelInput.from_messages(given[0], tokenizer, chat_template="role_colon") == chat.prompt(given[0])


ANSWERS = (" Hello\n\nUser:", " Hello", "Hello\n\n", " Hello\n\nUser: and more", "\n\nUser:", "")


@pytest.mark.parametrize("family", FAMILIES)
def test_role_colon_answers(cookbook, families, family):
    """Answers in the format role_colon are read as the cookbook reads them."""
    tokenizer = get_tokenizer(str(families / family))
    sampled = [tokenizer.encode(answer, add_special_tokens=False) for answer in ANSWERS]
    end = tokenizer.encode(tokenizer.chat_files.special_tokens["eos_token"], add_special_tokens=False)
    sampled.append([*sampled[1], *end])
    chat = ChatFormat(tokenizer, chat_template="role_colon")
    words = {"turn_end": "stop_sequence", "end_of_text": "eos", "cut_off": "malformed"}
    read = [chat.parse(tokens) for tokens in sampled]
    theirs = json.loads(cookbook("answers", family, sampled))
    assert [[answer.content, words[answer.ended]] for answer in read] == theirs


def test_table_in_the_docs(cookbook):
    """The table of renderers and templates, in the docs, is what comes out of this."""
    assert TABLE.read_text(encoding="utf-8") == cookbook("table", "")
