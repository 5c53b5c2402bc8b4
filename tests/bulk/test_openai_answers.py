"""Answers in OpenAI's format mean what OpenAI means: where the text ends, and how tokens are spelled."""

from __future__ import annotations

import json

import pytest
from small_tokenizers import END, byte_level, sentencepiece

import tinkex
from tinkex import bulk
from tinkex.testing import FakeServer

FOX = "🦊"
TEMPLATE = "{{ messages[0].content }}"


class Chat:
    """A tokenizer with a template, for conversations."""

    chat_template = TEMPLATE

    def __init__(self, inner):
        self.backend_tokenizer = inner

    def encode(self, text, *, add_special_tokens=True):
        return self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids, *, skip_special_tokens=False):
        return self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)


def line(kind, name="x", **body):
    """A line of a batch."""
    prompt = {"messages": [{"role": "user", "content": "hi"}]} if kind == "chat" else {"prompt": "hi"}
    url = {"chat": "/v1/chat/completions", "text": "/v1/completions"}[kind]
    return {
        "custom_id": name,
        "method": "POST",
        "url": url,
        "body": {"model": "any/model", "max_tokens": 99, **prompt, **body},
    }


@pytest.fixture
def answer(tmp_path):
    """The choice that a line gets, when the server answers with these tokens and alternatives."""

    def run(inner, ids, row, topk=None, **options):
        def answers(request):
            return tinkex.SampleResponse([tinkex.SampledSequence(ids, [-0.125] * len(ids), topk, "length")])

        with (
            FakeServer(answers=answers) as server,
            tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service,
        ):
            client = service.create_sampling_client(base_model="any/model")
            path = tmp_path / "out.jsonl"
            path.unlink(missing_ok=True)
            bulk.run([row], path, client, tokenizer=Chat(inner), **options)
        return json.loads(path.read_text())["response"]["body"]["choices"][0]

    return run


def test_bytes_of_a_chat(answer):
    """The bytes of tokens are those of the vocabulary: together they are the text, also where none is by itself."""
    inner = byte_level()
    ids, other = inner.encode(FOX).ids, inner.encode("é").ids[0]
    topk = [[(token, -0.125), (other, -4.0)] for token in ids]
    choice = answer(inner, ids, line("chat", logprobs=True, top_logprobs=2), topk)
    content = choice["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in content).decode() == choice["message"]["content"] == FOX
    assert [token["token"] for token in content] == [r"\xf0", r"\x9f", r"\xa6", r"\x8a"]
    assert content[0]["top_logprobs"][1] == {"token": r"\xc3", "logprob": -4.0, "bytes": [0xC3]}


def test_alternatives_stay_apart(answer):
    """Alternatives that are no text by themselves, or the same, have an entry each; the likeliest has the text."""
    inner = byte_level()
    ids, other = inner.encode(FOX).ids, inner.encode("é").ids[0]
    choice = answer(inner, ids, line("text", logprobs=2), [[(token, -0.125), (other, -4.0)] for token in ids])
    assert choice["logprobs"]["tokens"] == [r"bytes:\xf0", r"bytes:\x9f", r"bytes:\xa6", r"bytes:\x8a"]
    assert choice["logprobs"]["top_logprobs"][0] == {r"bytes:\xf0": -0.125, r"bytes:\xc3": -4.0}
    inner = sentencepiece()
    word, joined = inner.token_to_id("▁true"), inner.token_to_id("true")
    topk = [[(word, -0.125), (joined, -2.5)]] * 2
    choice = answer(inner, [word, word], line("text", logprobs=2), topk)
    assert choice["logprobs"]["top_logprobs"] == [
        {" true": -0.125, "true": -2.5}, {" true": -0.125, "true": -2.5},
    ]  # fmt: skip


def test_the_sampled_token_is_among_them(answer):
    """Where the sampled token is not one of the likeliest, it is there besides them, as OpenAI has it."""
    inner = byte_level()
    a, b = inner.encode("ab").ids
    choice = answer(inner, [a], line("text", logprobs=1), [[(b, -0.0625)]])
    assert choice["logprobs"]["top_logprobs"] == [{"b": -0.0625, "a": -0.125}]


def test_tokens_join_to_the_text(answer):
    """Spaces that a word brings belong to its token, also the first; a special token goes by its name."""
    inner = sentencepiece()
    ids = [inner.token_to_id(piece) for piece in ("▁true", "▁yes", "▁true", END)]
    choice = answer(inner, ids, line("text", logprobs=0))
    assert choice["logprobs"]["tokens"] == [" true", " yes", " true", END]
    assert choice["text"] == " true yes true"
    content = answer(inner, ids, line("chat", logprobs=True))["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in content) == b"true yes true"
    assert content[-1]["token"] == END


@pytest.mark.thin(3)
@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize(
    ("stop", "text"), [(".", " Madrid"), (["x", "."], " Madrid"), (["Mad", "."], " "), ([" "], ""), ("x", " Madrid. A")]
)
def test_stop_texts(answer, kind, stop, text):
    """The text ends before the first stop text, wherever that is in a token; so do the tokens that are told."""
    inner = byte_level()
    ids = inner.encode(" Madrid. A").ids
    logprobs = {"logprobs": True} if kind == "chat" else {"logprobs": 0}
    choice = answer(inner, ids, line(kind, stop=stop, **logprobs))
    found = choice["logprobs"]
    tokens = [token["token"] for token in found["content"]] if kind == "chat" else found["tokens"]
    assert (choice["message"]["content"] if kind == "chat" else choice["text"]) == "".join(tokens) == text
    assert choice["finish_reason"] == ("length" if stop == "x" else "stop")


def test_stop_tokens(answer):
    """A stop token that is text is left out of it, too; tinkex's own format keeps both."""
    inner = byte_level()
    ids = inner.encode("yes.").ids
    row = {"id": "x", "prompt": "hi", "max_tokens": 99, "stop": ids[-1:], "score_of": 3}
    assert answer(inner, ids, row, form="openai")["text"] == "yes"


def test_own_format_keeps_the_stop(tmp_path):
    """The text of tinkex's own format is that of the tokens, the stop included."""
    inner = byte_level()

    def answers(request):
        return tinkex.SampleResponse([tinkex.SampledSequence(inner.encode("yes.").ids, [-1.0] * 4)])

    with FakeServer(answers=answers) as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="any/model")
        row = {"id": "x", "prompt": "hi", "max_tokens": 99, "stop": ["."], "topic": "t"}
        bulk.run([row], tmp_path / "own.jsonl", client, tokenizer=Chat(inner))
        bulk.run([row], tmp_path / "openai.jsonl", client, tokenizer=Chat(inner), form="openai")
    own, openai = (next(iter(bulk.read(tmp_path / name))) for name in ("own.jsonl", "openai.jsonl"))
    assert (own.sequences[0].text, openai.sequences[0].text) == ("yes.", "yes")
    assert own.extra == openai.extra == {"topic": "t"}


def test_tokens_that_the_tokenizer_lacks(answer):
    """A token of another vocabulary goes by its number."""

    class Strict:
        def encode(self, text, **options):
            return byte_level().encode(text)

        def decode(self, ids, **options):
            return byte_level().decode([{1: 65, 2: 66}[token] for token in ids])

    choice = answer(Strict(), [1, 9], line("text", logprobs=0))
    assert choice["logprobs"]["tokens"][1] == "token_id:9"


@pytest.mark.parametrize("name", ["own.jsonl", "openai.jsonl", "own.parquet"])
def test_lines_and_days_are_read(tmp_path, name):
    """A row without an id has its line, and one whose template reads the date has the day, in whatever format."""

    class Dated(Chat):
        chat_template = "{{ strftime_now('%Y') }} {{ messages[0].content }}"

    with FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="any/model")
        form = "openai" if name.startswith("openai") else None
        rows = [{"messages": [{"role": "user", "content": "a"}]}]
        bulk.run(rows, tmp_path / name, client, tokenizer=Dated(byte_level()), max_tokens=1, omit=["text"], form=form)
    (result,) = bulk.read(tmp_path / name)
    assert (result.id, result.line, len(result.date)) == ("line 1", 1, len("2026-11-29"))
