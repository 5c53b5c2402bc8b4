"""Prompts, conversations, templates and price tables from files that an editor on Windows wrote."""

from __future__ import annotations

import io
import json

import click
import pytest

from tinkex.bulk import Prices
from tinkex.cli.options.prompt import prompt_options
from tinkex.tokenizers._chat_files import ModelDirectory, read_chat_files

CliRunner = pytest.importorskip("click.testing").CliRunner
MARK = b"\xef\xbb\xbf"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Gives the options of a prompt to a command; returns what it makes of them."""
    monkeypatch.chdir(tmp_path)
    found = []

    @click.command()
    @prompt_options
    def command(source):
        found.append(source)

    def run(*arguments, stdin=b"", **files):
        for name, content in files.items():
            (tmp_path / f"{name}.txt").write_bytes(content)
        result = CliRunner().invoke(command, arguments, input=io.BytesIO(stdin))
        assert result.exit_code == 0, result.output
        return found[-1]

    return run


def test_prompt_files(source):
    """A mark and the ends of lines leave nothing in a prompt, and one line end at the end is cut off."""
    assert source("--file", "p.txt", p=MARK + b"The capital of France is\r\n").text == "The capital of France is"
    assert source("-", stdin=b"one\r\ntwo\r\n\r\n").text == "one\ntwo\n"


def test_messages_and_templates(source):
    """A mark in front of a conversation or a template is no part of it; a template's last line end is left to it."""
    messages = [{"role": "user", "content": "hi"}]
    read = source("--messages", "m.txt", m=MARK + json.dumps(messages).encode() + b"\r\n")
    assert read.messages == messages
    read = source("--chat", "hi", "--chat-template", "t.txt", t=MARK + b"a\r\n{{ b }}\r\n")
    assert read.template == "a\n{{ b }}\n"


def test_tokens(source):
    """A mark in front of token ids is none of them."""
    assert source("--tokens", "i.txt", i=MARK + b"504, 3575\r\n").tokens == (504, 3575)


def test_price_tables(tmp_path):
    """A price table may begin with a mark, in either format."""
    (tmp_path / "p.toml").write_bytes(MARK + b'["*"]\r\nprompt = 0.5\r\n')
    (tmp_path / "p.json").write_bytes(MARK + b'{"*": {"prompt": 0.5}}')
    for name in ("p.toml", "p.json"):
        assert Prices.read(tmp_path / name).of("any").prompt == 0.5


def test_files_of_a_model(tmp_path):
    """A model's own template and configuration are read the same way."""
    (tmp_path / "tokenizer_config.json").write_bytes(MARK + b'{"bos_token": "<s>"}')
    (tmp_path / "chat_template.jinja").write_bytes(MARK + b"a\r\nb\r\n")
    files = read_chat_files(ModelDirectory(tmp_path))
    assert (files.templates, files.special_tokens) == ({"default": "a\nb\n"}, {"bos_token": "<s>"})
