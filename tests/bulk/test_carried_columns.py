"""What a row of the input has stands beside its result: prompt, conversation and own columns, in every format."""

from __future__ import annotations

import json

import pytest

import tinkex
from tinkex import bulk
from tinkex.testing import FakeServer

CHAT = [{"role": "user", "content": "Rain in Zürich?"}]
ROWS = [
    {"id": "chat", "messages": CHAT, "topic": "weather", "tags": ["a", {"b": None}], "num_samples": 2},
    {"id": "text", "prompt": "Name a\nriver, please", "topic": "ge,ography", "text": "own"},
    {"id": "ids", "prompt": [5, 7], "score": True, "weight": 0.5},
    {"id": "choices", "prompt": "ab", "choices": ["c", "de"], "answer": 1, "good": False},
    {"id": "bad", "prompt": [], "topic": "none"},
]


class Letters:
    """A token for each character."""

    chat_template = "{{ messages[0].content }}"

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The output of one run, in the format of its suffix."""
    folder = tmp_path_factory.mktemp("outputs")

    def answers(request):
        scores = [None, *[-1.0] * (request.prompt.length - 1)] if request.include_prompt_logprobs else None
        most = request.sampling_params.max_tokens
        sequences = [tinkex.SampledSequence([111, 107][:most], [-0.5, -0.25][:most])] * request.num_samples
        return tinkex.SampleResponse(sequences, prompt_logprobs=scores)

    with FakeServer(answers=answers) as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="any/model")
        for suffix in ("jsonl", "csv", "parquet"):
            bulk.run(ROWS, folder / f"out.{suffix}", client, tokenizer=Letters(), max_tokens=2)
    return lambda suffix: folder / f"out.{suffix}"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_every_format_has_it(output, suffix):
    """Read back, each row has its prompt or conversation, its own columns, and its answers, in whatever format."""
    chat, text, ids, choices, bad = bulk.read(output(suffix))
    assert (chat.messages, chat.prompt, text.prompt, text.messages) == (CHAT, None, ROWS[1]["prompt"], None)
    assert (text.extra["topic"], text.extra["text"], text.sequences[0].text) == ("ge,ography", "own", "ok")
    assert [each.text for each in chat.sequences] == ["ok", "ok"]
    assert (ids.prompt_logprob, list(ids.sequences)) == (-1.0, [])
    assert [(each.text, each.logprob) for each in choices.choices] == [("c", -1.0), ("de", -2.0)]
    assert (choices.best, choices.best_by_mean, choices.answer, choices.correct) == (0, 0, 1, False)
    assert (bad.status, bad.extra["topic"]) == ("error", "none")
    if suffix == "csv":  # which has text in its cells
        assert (json.loads(chat.extra["tags"]), ids.extra["weight"], choices.extra["good"]) == (
            ROWS[0]["tags"], "0.5", "false",
        )  # fmt: skip
        return
    assert chat.sequences[0].message == {"role": "assistant", "content": "ok"}
    assert (chat.extra["tags"], ids.extra["weight"], choices.extra["good"]) == (ROWS[0]["tags"], 0.5, False)
    assert (ids.prompt_tokens, choices.choices[1].tokens) == ([5, 7], [100, 101])


@pytest.mark.parametrize("kind", ["chat", "completion"])
@pytest.mark.parametrize("omit", [(), ("prompt",)])
def test_openai_lines_have_it_too(tmp_path, kind, omit):
    """So does each line in OpenAI's form, beside OpenAI's columns, whatever form its row came in."""
    prompt = {"messages": CHAT} if kind == "chat" else {"prompt": "Rain?"}
    line = {"custom_id": "a", "url": f"/v1/{'chat/' * (kind == 'chat')}completions", "topic": "t", "body": prompt}
    row = {"id": "b", "topic": "t", **prompt}
    with FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="any/model")
        path = tmp_path / "out.jsonl"
        bulk.run([line, row], path, client, tokenizer=Letters(), max_tokens=2, form="openai", omit=omit)
    for result in bulk.read(path):
        assert (result.extra, result.parameters) == ({"topic": "t"}, {"max_tokens": 2})
        given = {} if omit else prompt
        assert (result.messages, result.prompt) == (given.get("messages"), given.get("prompt"))


def test_omitted_prompts(tmp_path):
    """Prompts may be left out: text and conversations are then not in the output."""
    with FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="any/model")
        bulk.run(ROWS[:2], tmp_path / "out.jsonl", client, tokenizer=Letters(), max_tokens=2, omit=["prompt"])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert not any({"prompt", "messages"} & row.keys() for row in rows)
    assert all(row["prompt_tokens"] for row in rows)
