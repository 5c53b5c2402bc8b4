"""A token of probability zero, from the server's answer through every output to sums and rankings."""

from __future__ import annotations

import csv
import json
import math

import pytest

import tinkex
from tinkex import bulk
from tinkex.testing import FakeServer

INF = math.inf
ROWS = [{"id": "likely", "prompt": [1, 8, 9]}, {"id": "impossible", "prompt": [2, 8, 9]}]
OPTIONS = {"max_tokens": 2, "include_prompt_logprobs": True, "topk_sample_logprobs": 2, "omit": ["text"]}


def answers(request):
    """Answers of which one is impossible, prompt and sequence, and one has a number that is not told."""
    first = request.prompt.to_ints()[0]
    one = {1: -1.0, 2: -INF, 3: math.nan}[first]
    topk = [[(5, -0.125), (6, one)], [(7, -0.5)]]
    sequence = tinkex.SampledSequence([5, 7], logprobs=[one, -0.5], topk_logprobs=topk)
    return tinkex.SampleResponse([sequence], prompt_logprobs=[None, one, -0.5])


@pytest.fixture(scope="module")
def client():
    """A client of a server that answers so."""
    with FakeServer(answers=answers) as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        yield service.create_sampling_client(base_model="any/model")


def test_json_lines(client, tmp_path):
    """Minus infinity is -9999.0 and an unknown number null, also among the alternatives; sums just work."""
    bulk.run([*ROWS, {"id": "unknown", "prompt": [3, 8, 9]}], tmp_path / "out.jsonl", client, **OPTIONS)
    likely, impossible, unknown = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert impossible["prompt_logprobs"] == [None, -9999.0, -0.5]
    assert impossible["sequences"][0]["logprobs"] == [-9999.0, -0.5]
    assert impossible["sequences"][0]["topk_logprobs"] == [[[5, -0.125], [6, -9999.0]], [[7, -0.5]]]
    assert sum(impossible["prompt_logprobs"][1:]) < sum(likely["prompt_logprobs"][1:])
    assert unknown["sequences"][0]["logprobs"] == [None, -0.5]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_read(client, tmp_path, name):
    """Whatever the format, the row that is read has minus infinity, and sums of it; unknown numbers give NaN."""
    bulk.run([*ROWS, {"id": "unknown", "prompt": [3, 8, 9]}], tmp_path / name, client, **OPTIONS)
    likely, impossible, unknown = bulk.read(tmp_path / name)
    assert (impossible.prompt_logprob, impossible.sequences[0].logprob, impossible.sequences[0].mean_logprob) == (
        -INF, -INF, -INF,
    )  # fmt: skip
    assert (likely.prompt_logprob, likely.sequences[0].logprob) == (-1.5, -1.5)
    assert math.isnan(unknown.sequences[0].logprob)
    assert math.isnan(unknown.prompt_logprob)
    assert max([impossible, likely], key=lambda row: row.sequences[0].logprob) is likely
    if name != "out.csv":
        assert impossible.prompt_logprobs == [None, -INF, -0.5]
        assert impossible.sequences[0].logprobs == [-INF, -0.5]
        assert impossible.sequences[0].topk_logprobs[0] == [(5, -0.125), (6, -INF)]
        assert math.isnan(unknown.sequences[0].logprobs[0])


def test_tables_hold_infinity(client, tmp_path):
    """CSV and Parquet hold minus infinity and NaN themselves."""
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [*ROWS, {"id": "unknown", "prompt": [3, 8, 9]}]
    bulk.run(rows, tmp_path / "out.csv", client, **OPTIONS)
    bulk.run(rows, tmp_path / "out.parquet", client, **OPTIONS)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["logprob"] for row in csv.DictReader(file)] == ["-1.5", "-inf", "NaN"]
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["prompt_logprobs"][1] for row in table] == [-1.0, -INF, None]
    assert table[1]["sequences"][0]["logprobs"] == [-INF, -0.5]
    assert math.isnan(table[2]["sequences"][0]["logprobs"][0])


@pytest.mark.parametrize("url", ["/v1/chat/completions", "/v1/completions"])
def test_openai_lines(client, tmp_path, url):
    """Rows in OpenAI's format have OpenAI's own number."""

    class Letters:
        chat_template = "{{ messages[0].content }}"

        def encode(self, text):
            return [2, *map(ord, text)]

        def decode(self, ids):
            return "".join(map(chr, ids))

    chat = url == "/v1/chat/completions"
    body = {"max_tokens": 2, "logprobs": True, "top_logprobs": 2} if chat else {"max_tokens": 2, "logprobs": 2}
    body |= {"messages": [{"role": "user", "content": "a"}]} if chat else {"prompt": "a"}
    line = {"custom_id": "x", "url": url, "body": {"model": "any/model", **body}}
    bulk.run([line], tmp_path / "out.jsonl", client, tokenizer=Letters())
    told = json.loads((tmp_path / "out.jsonl").read_text())["response"]["body"]["choices"][0]["logprobs"]
    assert (told["content"][0]["logprob"] if chat else told["token_logprobs"][0]) == -9999.0
    (result,) = bulk.read(tmp_path / "out.jsonl")
    assert (result.sequences[0].logprobs, result.sequences[0].logprob) == ([-INF, -0.5], -INF)
