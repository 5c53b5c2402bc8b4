from __future__ import annotations

import csv
import gzip
import io
import math

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tinkex import bulk
from tinkex.bulk import Result, ResultSequence
from tinkex.bulk._output.json_lines import encode_line
from tinkex.bulk._output.record import choice_columns
from tinkex.bulk._output.table import write_table
from tinkex.bulk._results.logprobs import sum_logprobs
from tinkex.types import SampledSequence, SampleResponse

INF = math.inf
LOGPROB = st.floats(-30, 0) | st.sampled_from([-INF, math.nan])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
CELL = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-9, 9) | TEXT | st.just([1, {"a": None}])
NAMES = st.sampled_from(["topic", "text", "status", "extra.text", "id number", "ü"])


@st.composite
def records(draw):
    """Draws a record: samples, scores or scored choices, of text, messages or token ids."""
    numbers = draw(st.lists(LOGPROB, min_size=1, max_size=4))
    tokens = list(range(len(numbers)))
    topk = [[(token, number), (9, -INF)] for token, number in zip(tokens, numbers, strict=True)]
    sequence = SampledSequence(tokens, numbers, draw(st.sampled_from([None, topk])))
    plain = SampleResponse([sequence], prompt_logprobs=[None, *numbers]).to_dict()
    prompt = draw(st.sampled_from([{}, {"prompt": "pré"}, {"messages": [{"role": "user", "content": "q\n"}]}]))
    record = {
        "id": draw(st.integers(0, 9) | TEXT), "model": "a/b", "fingerprint": "0f", "status": "ok",
        "parameters": {"max_tokens": 3}, "extra": draw(st.dictionaries(NAMES, CELL, min_size=1, max_size=3)), **prompt,
        "prompt_tokens": [7], "prompt_logprobs": plain["prompt_logprobs"], "sequences": [],
        "usage": {"prompt_tokens": 1, "sampled_tokens": len(tokens), "prompt_cache_hit_tokens": 0},
        "timing": {"queued": 0.1, "submit": 0.1, "wait": 0.1, "fetch": 0.1}, "request_id": "r", "started_at": 1.0,
        "finished_at": 2.0, "attempts": 1, "error": None,
    }  # fmt: skip
    kind = draw(st.sampled_from(["samples", "score", "choices", "error"]))
    if kind == "choices":
        return {**record, **choice_columns([("a", tokens, numbers), ("b", [1], [-1.0])], draw(st.none() | st.just(1)))}
    if kind == "error":
        error = {"type": "APIError", "message": "bad: luck", "status": 500, "request_id": "r", "phase": "waiting"}
        return {**record, "status": "error", "error": {**error, "retryable": True, "may_have_run": False}}
    sampled = {**plain["sequences"][0], "text": draw(TEXT)}
    return record if kind == "score" else {**record, "sequences": [sampled, {**sampled, "text": "x"}]}


def written(folder, rows, suffix):
    """An output of these rows."""
    path = folder / f"out{suffix}"
    name = f"out{suffix}.jsonl" if suffix in (".csv", ".parquet") else path.name
    data = b"".join(map(encode_line, rows))
    (folder / name).write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    if suffix in (".csv", ".parquet"):
        path.unlink(missing_ok=True)
        write_table(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for one file after the other."""
    return tmp_path_factory.mktemp("outputs")


def same(one, other, names):
    """Whether two results agree in these attributes, NaN included."""
    return all(repr(getattr(one, name)) == repr(getattr(other, name)) for name in names)


IN_ALL = ("model", "status", "prompt", "messages", "prompt_logprob", "best", "best_by_mean", "answer")
IN_ALL += ("correct", "correct_by_mean")
IN_LINES = (
    "extra", "prompt_tokens", "prompt_logprobs", "topk_prompt_logprobs", "sequences", "choices", "error", "usage",
    "timing", "fingerprint", "parameters", "request_id", "started_at", "finished_at", "attempts",
)  # fmt: skip


@given(rows=st.lists(records(), min_size=1, max_size=4))
def test_formats_agree(folder, rows):
    """A row reads the same from JSON lines, compressed or not, and Parquet; from CSV as far as it goes."""
    expected = list(bulk.read(written(folder, rows, ".jsonl")))
    for suffix in (".jsonl.gz", ".parquet", ".csv"):
        found = list(bulk.read(written(folder, rows, suffix)))
        for one, other in zip(expected, found, strict=True):
            assert same(one, other, IN_ALL)
            assert str(one.id) == str(other.id)
            texts = zip([*one.sequences, *one.choices], [*other.sequences, *other.choices], strict=True)
            assert all(same(*pair, ("text", "logprob", "mean_logprob", "stop_reason", "length")) for pair in texts)
            if suffix != ".csv":
                assert same(one, other, IN_LINES)
            else:
                assert set(other.extra) == {name for name, value in one.extra.items() if value is not None}
                assert all(other.extra[name] == value for name, value in one.extra.items() if isinstance(value, str))


def test_empty_texts_of_csv(folder):
    """An empty answer is told from one that has no text, also by what other programs make of the file."""
    sampled = {"tokens": [1], "logprobs": [-1.0], "stop_reason": "stop"}
    answers = [{**sampled, "text": ""}, {**sampled, "text": None}, {**sampled, "text": 'a, "",\r\n"'}]
    row = {
        "id": "a", "model": "m", "status": "ok", "fingerprint": "0", "parameters": {}, "error": None,
        "sequences": answers, "extra": {"note": "", "none": None},
    }  # fmt: skip
    path = written(folder, [row], ".csv")
    (found,) = bulk.read(path)
    assert [each.text for each in found.sequences] == ["", None, 'a, "",\r\n"']
    assert found.extra == {"note": ""}
    assert path.read_text().splitlines()[1] == 'a,m,ok,0,"",stop,1,-1.0,-1.0,,,""'
    everything_quoted = io.StringIO(newline="")
    with path.open(newline="") as file:
        csv.writer(everything_quoted, quoting=csv.QUOTE_ALL).writerows(csv.reader(file))
    path.write_bytes(everything_quoted.getvalue().encode())
    (found,) = bulk.read(path)
    assert (found.error, [each.stop_reason for each in found.sequences]) == (None, ["stop"] * 3)


@given(st.lists(LOGPROB, max_size=5), st.integers(0, 2))
def test_sums(numbers, front):
    """A sum is finite only if all its numbers are, but for those in front that are undefined."""
    total = sum_logprobs([*[None] * front, *numbers], front)
    if not numbers:
        assert total is None
    elif any(map(math.isnan, numbers)):
        assert math.isnan(total)
    else:
        assert total == sum(numbers)


def test_the_likeliest():
    """The likeliest sequence has a log-probability that is known: by its mean, or by the sum."""
    one, two = ResultSequence(logprob=-3.0, mean_logprob=-1.0), ResultSequence(logprob=-2.0, mean_logprob=-2.0)
    unknown, impossible, none = (ResultSequence(logprob=x, mean_logprob=x) for x in (math.nan, -INF, None))
    result = Result(id=1, model="m", status="ok", sequences=[unknown, impossible, one, none, two])
    assert (result.likeliest(), result.likeliest(by="logprob")) == (one, two)
    assert evolve(result, sequences=[unknown, impossible]).likeliest() is impossible
    empty = ResultSequence.from_record({"text": "", "tokens": [], "logprobs": []})
    assert (empty.logprob, empty.mean_logprob, empty.length) == (None, None, 0)
    assert evolve(result, sequences=[empty, two]).likeliest(by="logprob") is two
    assert evolve(result, sequences=()).likeliest() is None
    with pytest.raises(ValueError, match="by must be"):
        result.likeliest(by="length")


def test_a_torn_end(tmp_path):
    """What a run that goes on has half written is left out; a line that is no row is an error that names it."""
    path = tmp_path / "out.jsonl"
    line = b'{"id":1,"model":"m","fingerprint":"0","status":"ok","parameters":{},"sequences":[],"error":null}\n'
    path.write_bytes(line + line[:40])
    assert [result.id for result in bulk.read(path)] == [1]
    path.write_bytes(line + b'{"prompt": "no result"}\n' + line)
    with pytest.raises(ValueError, match=r"out\.jsonl, line 2: not a row"):
        list(bulk.read(path))


def test_other_files(tmp_path):
    """A file that does not exist is told at once, one that is no output when it is read."""
    with pytest.raises(FileNotFoundError):
        bulk.read(tmp_path / "none.jsonl")
    (tmp_path / "in.csv").write_text("id,prompt\n1,hello\n")
    with pytest.raises(ValueError, match="not a CSV output"):
        list(bulk.read(tmp_path / "in.csv"))


def test_a_table_that_is_not_made_yet(tmp_path):
    """Until a run has ended, the rows that its table will be made of are read."""
    line = b'{"id":1,"model":"m","fingerprint":"0","status":"ok","parameters":{},"sequences":[],"error":null}\n'
    (tmp_path / "out.parquet.jsonl").write_bytes(line)
    assert [result.id for result in bulk.read(tmp_path / "out.parquet")] == [1]
