from __future__ import annotations

import datetime as dt
import json

import pytest

import tinkex
from tinkex.bulk import Models, Row, Task
from tinkex.bulk._output import json_lines
from tinkex.bulk._output.json_lines import encode_line, encode_row

LOOP: dict[str, object] = {}
LOOP["me"] = LOOP


@pytest.fixture(params=["orjson", "json"], autouse=True)
def library(request, monkeypatch):
    """Either of the libraries that encode."""
    if request.param == "json":
        monkeypatch.setattr(json_lines, "_orjson", None)


def deep(levels):
    """Lists in lists."""
    made = []
    for _ in range(levels):
        made = [made]
    return made


def record(**columns):
    """A record as `made_record` builds it, as far as that matters here."""
    return {
        "id": "x", "model": "m", "fingerprint": "0f", "status": "ok", "parameters": {"max_tokens": 1}, **columns,
        "prompt_tokens": [1], "sequences": [{"text": "a", "tokens": [5], "logprobs": [-0.5], "stop_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "sampled_tokens": 1, "prompt_cache_hit_tokens": 0}, "request_id": "r",
        "finished_at": 1.0, "error": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "columns",
    [
        {"extra": {"span": {(0, 5): "PER"}}},
        {"extra": {"day": {dt.date(2026, 1, 1): 3}}},
        {"extra": LOOP},
        {"extra": {"note": deep(100_000)}},
        {"parameters": {"max_tokens": 1, "template_variables": {(1,): 2}}, "extra": {}},
        {"messages": [{"role": "user", "content": LOOP}], "extra": {"a": {(): 1}}},
    ],
)
def test_a_row_that_cannot_be_written(columns):
    """It becomes an error row that says so, without the caller's columns, and keeps what was sampled."""
    task = Task(0, Row(1, "x", [1]), "m", {}, "0f")
    told, line = encode_row(task, record(**columns), None, Models(("m",), lambda name: None))
    written = json.loads(line)
    assert told["status"] == "error"
    assert (written["id"], written["status"], written["error"]["type"]) == ("x", "error", "InvalidRowError")
    assert written["error"]["message"].startswith("The row cannot be written as JSON: ")
    assert written["sequences"][0]["tokens"] == [5]
    assert not {"extra", "messages"} & written.keys()


def test_what_orjson_cannot_encode():
    """Large numbers, lone surrogates and deep lists are written as they are; pictures as their description."""
    extra = {"n": 2**70, "t": "\ud800", "deep": deep(300)}
    assert json.loads(encode_line(record(extra=extra)))["extra"] == extra
    picture = tinkex.ImageAssetPointerChunk("asset", "png", expected_tokens=4)
    assert json.loads(encode_line(record(messages=[picture])))["messages"] == [str(picture)]
