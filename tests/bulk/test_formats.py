"""Files other than JSON lines, in and out."""

from __future__ import annotations

import csv
import json
import os
import sys

import pytest

import tinkex
from tinkex import bulk
from tinkex.bulk._input.read import Source
from tinkex.testing import FakeServer

TEXT = (
    "\ufeffid,prompt,prompt_tokens,max_tokens,label\r\n"
    'a,"one, two",,5,x\r\n'
    'b,,"[1, 2]",,y\r\n'
    "c,too,many,cells,z,1\r\n"
    "d,\udcff,,,\r\n"
)


@pytest.fixture(scope="module")
def client():
    """A client of a fake server."""
    with FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
        yield service.create_sampling_client(base_model="fake/model")


def test_csv_in(tmp_path):
    """A CSV file has text in its cells, JSON in those for token ids and parameters; broken rows are noted."""
    path = tmp_path / "in.csv"
    path.write_bytes(TEXT.encode("utf-8", "surrogateescape"))
    a, b, c, d = Source(path)
    assert (a.id, a.prompt, a.parameters, a.extra) == ("a", "one, two", {"max_tokens": 5}, {"label": "x"})
    assert (b.id, b.prompt, b.parameters) == ("b", [1, 2], {})
    assert "cells" in c.problem
    assert "UTF-8" in d.problem


def test_parquet_in(tmp_path):
    """A Parquet file has rows like any other; how much has been read is known."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "in.parquet"
    rows = [
        {"id": "a", "prompt": "text", "prompt_tokens": None, "temperature": 0.5, "messages": None},
        {"id": "b", "prompt": None, "prompt_tokens": [1, 2], "temperature": None, "messages": None},
        {"id": "c", "prompt": None, "prompt_tokens": None, "temperature": None, "messages": '[{"role": "user"}]'},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    source = Source(path)
    a, b, c = source
    assert (a.prompt, a.parameters) == ("text", {"temperature": 0.5})
    assert (b.prompt, b.parameters) == ([1, 2], {})
    assert c.prompt == [{"role": "user"}]
    assert source.fraction == 1.0


def test_parquet_without_its_library(tmp_path, monkeypatch):
    """Without pyarrow the error says what to install, before anything is begun."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match=r"tinkex\[parquet\]"):
        list(Source(tmp_path / "in.parquet"))
    with pytest.raises(ModuleNotFoundError, match=r"tinkex\[parquet\]"):
        bulk.run([{"prompt": [1]}], tmp_path / "out.parquet", None)


def test_parquet_out(client, tmp_path):
    """A Parquet output is made of the rows at the end, and made once; a later run goes on with the rows."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    rows = [{"id": 1, "prompt": [1, 2], "label": "x"}, {"id": "b", "prompt": []}]
    options = {"max_tokens": 3, "omit": ["text"], "topk_sample_logprobs": 2, "include_prompt_logprobs": True}
    bulk.run(rows, path, client, **options)
    first, second = parquet.read_table(path).to_pylist()
    assert (first["id"], first["status"], json.loads(first["extra"])) == ("1", "ok", {"label": "x"})
    assert len(first["sequences"][0]["logprobs"]) == 3
    assert len(json.loads(first["sequences"][0]["topk_logprobs"])) == 3
    assert first["prompt_logprobs"][0] is None
    assert second["error"]["type"] == "InvalidRowError"
    made = path.stat().st_mtime_ns
    summary = bulk.run(rows[:1], path, client, **options)
    assert summary.skipped == 1
    assert len(parquet.read_table(path).to_pylist()) == 1  # the failed row is taken out, and is not in this input
    assert path.stat().st_mtime_ns > made
    made = path.stat().st_mtime_ns
    bulk.run(rows[:1], path, client, **options)
    assert path.stat().st_mtime_ns == made


def test_csv_out(client, tmp_path):
    """A CSV output has a line for each answer, and one for each row without any."""
    path = tmp_path / "out.csv"
    rows = [{"id": "a", "prompt": [1, 2], "num_samples": 2}, {"id": "b", "prompt": []}]
    rows.append({"id": "c", "prompt": [1, 256], "score": True})
    bulk.run(rows, path, client, max_tokens=3, omit=["text"])
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["id"], row["sequence"], row["sampled_tokens"]) for row in found] == [
        ("a", "0", "3"), ("a", "1", "3"), ("b", "", ""), ("c", "", ""),
    ]  # fmt: skip
    assert "empty" in found[2]["error"]
    assert found[3]["prompt_logprob"] == "-1.0"


@pytest.mark.parametrize("escape", [False, True])
def test_formulas_in_a_csv(client, tmp_path, escape):
    """Text that a spreadsheet would compute is escaped where that is asked for, in ids, columns and their names too."""
    path = tmp_path / "out.csv"
    names = ["=1+1", "+1", "-a", "@a", "\ta", "a=b", "'a"]
    rows = [{"id": name, "prompt": [1], "=c": name} for name in names]
    bulk.run(rows, path, client, max_tokens=1, omit=["text"], escape_formulas=escape)
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    expected = [f"'{name}" if name[0] in "=+-@\t" and escape else name for name in names]
    assert [row["id"] for row in found] == expected
    assert [row["'=c" if escape else "=c"] for row in found] == expected
    assert float(found[0]["logprob"]) < 0
    bulk.run(rows, path, client, max_tokens=1, omit=["text"], escape_formulas=True)
    assert "'=1+1" in path.read_text()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_link_in_the_way_of_a_table_is_not_followed(client, tmp_path, suffix):
    """A link that bears the name under which a table is made is replaced: what it points to stays as it is."""
    path, other = tmp_path / f"out.{suffix}", tmp_path / "precious"
    other.write_bytes(b"as it was")
    (tmp_path / f".{path.name}.{os.getpid()}.new").symlink_to(other)
    bulk.run([{"prompt": [1]}], path, client, max_tokens=1, omit=["text"])
    assert other.read_bytes() == b"as it was"
    assert path.stat().st_size > 0
    assert not path.is_symlink()


def test_tables_are_native(client, tmp_path):
    """A table has no OpenAI form."""
    with pytest.raises(ValueError, match="form"):
        bulk.run([{"prompt": [1]}], tmp_path / "out.csv", client, form="openai")


def test_a_table_in_the_order_of_the_ends(tmp_path, client):
    """A table is made whether or not its rows are put in order."""
    bulk.run([{"prompt": [1]}], tmp_path / "out.csv", client, max_tokens=1, in_order=False, omit=["text"])
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2
