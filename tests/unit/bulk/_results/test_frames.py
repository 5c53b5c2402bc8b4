from __future__ import annotations

import sys

import pytest

import tinkex
from tinkex.bulk import Result, ResultSequence
from tinkex.bulk._results.frames import arrow_table

pytest.importorskip("pyarrow")


def table(*extras):
    """The columns of a table of rows with these columns of their own."""
    rows = [Result(id=number, model="m", status="ok", extra=extra) for number, extra in enumerate(extras)]
    return arrow_table(rows).to_pydict()


def test_a_line_each():
    """A row has a line for each sequence or choice, or one without any; what no row has is no column."""
    one, two = ResultSequence(text="a", logprob=-1.0, length=1), ResultSequence(text="b", logprob=-2.0, length=2)
    rows = [
        Result(id="s", model="m", status="ok", sequences=[one, two], prompt="p"),
        Result(id="c", model="m", status="ok", choices=[one, two], best=0, answer=1, correct=False),
        Result(id="e", model="m", status="error", error={"type": "APIError", "message": "no"}),
    ]
    columns = arrow_table(rows).to_pydict()
    assert columns["id"] == ["s", "s", "c", "c", "e"]
    assert columns["sequence"] == [0, 1, 0, 1, None]
    assert columns["text"] == ["a", "b", "a", "b", None]
    assert columns["sampled_tokens"] == [1, 2, 1, 2, None]
    assert columns["correct"] == [None, None, False, False, None]
    assert columns["prompt"] == ["p", "p", None, None, None]
    assert columns["error"] == [None] * 4 + ["APIError: no"]
    assert "messages" not in columns


def test_columns_of_the_caller():
    """They keep their type; where it differs from row to row they are text, and what is nested is JSON."""
    columns = table(
        {"n": 1, "m": 1, "j": [1, "ä"], "b": True, "text": "own"}, {"n": 2.5, "m": "007", "s": "\ud800"}, {}
    )
    assert (columns["n"], columns["m"], columns["b"]) == ([1.0, 2.5, None], ["1", "007", None], [True, None, None])
    assert columns["j"] == ['[1,"ä"]', None, None]
    assert columns["extra.text"] == ["own", None, None]
    assert columns["s"] == [None, "\\ud800", None]


def test_without_pyarrow(monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(tinkex.MissingExtraError, match=r"tinkex\[parquet\]"):
        arrow_table([])


def test_pandas(tmp_path):
    """Whole numbers stay whole beside rows that have none."""
    pytest.importorskip("pandas")
    from tinkex import bulk

    line = b'{"id":%d,"model":"m","status":"ok","extra":{"n":%s},"sequences":[],"error":null}\n'
    (tmp_path / "out.jsonl").write_bytes(line % (1, b"7") + line % (2, b"null"))
    frame = bulk.read(tmp_path / "out.jsonl").to_pandas()
    assert (str(frame["n"].dtype), frame["n"][0], frame["id"].tolist()) == ("Int64", 7, [1, 2])
