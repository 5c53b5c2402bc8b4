"""Whole files through a real client and a fake server."""

from __future__ import annotations

import decimal
import io
import itertools
import json
import math
import pickle
import queue
import threading

import attrs
import pytest
from stepping import until

import tinkex
from tinkex import bulk
from tinkex.testing import FakeServer
from tinkex.types import SampledSequence, SampleResponse

KEYS = (
    "id", "model", "fingerprint", "status", "parameters", "prompt_tokens", "sequences", "usage", "timing", "request_id",
    "started_at", "finished_at", "attempts", "error",
)  # fmt: skip


class Letters:
    """A tokenizer with a token a character; token 0 is special."""

    def encode(self, text):
        return [ord(character) for character in text]

    def decode(self, ids, *, skip_special_tokens=False):
        return "".join("" if token == 0 and skip_special_tokens else chr(token) for token in ids)


LONG = tinkex.SamplingParams(max_tokens=100)


def echo(request):
    """The prompt again, with a log-probability of -1 a token."""
    tokens = request.prompt.to_ints()
    sampled = [*tokens, 0][: request.sampling_params.max_tokens]
    sequences = [SampledSequence(sampled, [-1.0] * len(sampled))] * request.num_samples
    return SampleResponse(sequences, prompt_logprobs=[None] + [-2.0] * (len(tokens) - 1))


@pytest.fixture(scope="module")
def server():
    """A server that answers with the prompt."""
    with FakeServer(answers=echo) as running:
        yield running


@pytest.fixture
def service(server):
    """A client of that server."""
    server.clear()
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as opened:
        yield opened


@pytest.fixture
def client(service):
    """One model of that server."""
    return service.create_sampling_client(base_model="fake/model")


@pytest.fixture
def go(client, tmp_path):
    """Run rows into a file; returns the summary and the rows of the file."""

    def run(rows, models=client, name="out.jsonl", **options):
        output = tmp_path / name
        if isinstance(rows, bytes):
            (tmp_path / "in.jsonl").write_bytes(rows)
            rows = tmp_path / "in.jsonl"
        summary = bulk.run(rows, output, models, **{"tokenizer": Letters(), "max_tokens": 8, **options})
        return summary, [json.loads(line) for line in output.read_bytes().splitlines()]

    return run


def test_rows_become_results(go):
    """Text and token ids are sampled, in order, with what the rows say on top of what the run says."""
    summary, rows = go([
        {"id": "a", "prompt": "hi", "label": 1}, {"prompt": [5, 6], "num_samples": 2, "temperature": 0.5},
        {"custom_id": "c", "prompt_tokens": [7], "score": True},
    ])  # fmt: skip
    assert [row["id"] for row in rows] == ["a", "line 2", "c"]
    assert [sequence["text"] for sequence in rows[0]["sequences"]] == ["hi"]
    assert rows[0]["extra"] == {"label": 1}
    assert [sequence["tokens"] for sequence in rows[1]["sequences"]] == [[5, 6, 0]] * 2
    assert rows[1]["parameters"] == {"max_tokens": 8, "num_samples": 2, "temperature": 0.5}
    assert (rows[2]["sequences"], rows[2]["prompt_logprobs"]) == ([], [None])
    assert all(keys_of(row) == KEYS for row in rows)
    assert (summary.done, summary.failed, summary.sampled_tokens) == (3, 0, 3 + 6 + 1)


def test_a_finished_run_again(go, server, tmp_path):
    """Run again, a finished job asks for nothing and leaves the file as it is."""
    rows = [{"prompt": [number]} for number in range(1, 20)]
    go(rows)
    before, sent = (tmp_path / "out.jsonl").stat(), server.counts["asample"]
    summary, _ = go(rows)
    after = (tmp_path / "out.jsonl").stat()
    assert (summary.done, summary.skipped, server.counts["asample"]) == (0, 19, sent)
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def keys_of(row):
    """The columns of a row that every row has."""
    return tuple(key for key in row if key not in ("extra", "line", "prompt", "prompt_logprobs"))


BAD = (
    b'\xef\xbb\xbf{"id": "bom", "prompt": [1]}\r\n'
    b"\r\n"
    b"{garbage\r\n"
    b'{"id": "\xff", "prompt": [1]}\n'
    b'["not", "an", "object"]\n'
    b'{"id": "twice", "prompt": [1]}\n'
    b'{"id": "twice", "prompt": [2]}\n'
    b'{"id": "none"}\n'
    b'{"id": "both", "prompt": "a", "prompt_tokens": [1]}\n'
    b'{"id": "empty", "prompt": []}\n'
    b'{"id": "text", "prompt": ["a"]}\n'
    b'{"id": "negative", "prompt": [1, -1]}\n'
    b'{"id": "temperature", "prompt": [1], "temperature": -1}\n'
    b'{"id": "samples", "prompt": [1], "num_samples": "x"}\n'
    b'{"id": true, "prompt": [1]}\n'
    b'{"id": "lone", "prompt": "\\ud800"}\n'
    + b"[" * 100_000
    + b"\n"
    + b'{"id": "digits", "prompt": [' + b"9" * 5000 + b"]}\n"
    + b'{"id": "last", "prompt": [1]}'
)  # fmt: skip


def test_bad_rows_become_error_rows(go):
    """Whatever a row does wrong, it becomes an error row where it stands, and the others are sampled."""
    summary, rows = go(BAD)
    good = [row["id"] for row in rows if row["status"] == "ok"]
    assert good == ["bom", "twice", "last"]
    failed = {row["id"]: row["error"]["message"] for row in rows if row["status"] == "error"}
    for name, words in {
        "line 3": "not JSON", "line 4": "not UTF-8", "line 5": "JSON object",
        "line 7": "'twice' is that of an earlier row", "none": "prompt",
        "both": "prompt and prompt_tokens", "empty": "empty", "text": "token ids", "negative": "-1",
        "temperature": "temperature", "samples": "num_samples", "line 15": "id must be", "lone": "surrogate",
    }.items():  # fmt: skip
        assert words in failed[name]
    assert len(rows) == len({json.dumps(row["id"]) for row in rows}) == 18
    assert all(keys_of(row) == KEYS for row in rows)
    assert (summary.done, summary.failed) == (3, 15)


def test_long_lines(go, monkeypatch):
    """A line longer than any row is an error row, and takes no memory of its length."""
    from tinkex.bulk._input import json_file

    monkeypatch.setattr(json_file, "LONGEST_LINE", 1000)
    _, rows = go(b'{"id": 1, "prompt": [1]}\n{"prompt": "' + b"x" * 5000 + b'"}\n{"id": "c", "prompt": [1]}\n')
    assert [(row["id"], row["status"]) for row in rows] == [(1, "ok"), ("line 2", "error"), ("c", "ok")]


def test_a_bad_row_takes_no_id_of_a_later_one(go):
    """Where ids count from 0, a broken line or a second row of one id spoils none of the rows behind it."""
    lines = [json.dumps({"id": number, "prompt": [number]}) for number in range(6)]
    broken = [*lines[:2], "{torn", lines[1], *lines[2:]]
    _, rows = go("\n".join(broken).encode())
    assert [row["id"] for row in rows if row["status"] == "ok"] == [0, 1, 2, 3, 4, 5]
    assert [row["id"] for row in rows if row["status"] == "error"] == ["line 3", "line 4"]


def test_what_json_has_no_form_for(go):
    """A row may carry the decimals of a Parquet file, which become text; bytes are refused, and nothing is sampled."""
    _, rows = go([
        {"id": "a", "prompt": [1], "price": decimal.Decimal("1.5"), "lone": "\ud800"},
        {"id": "b", "prompt": [1], "raw": b"x"}, {"id": "c", "prompt": [1], "scores": [1.0, -math.inf]},
    ])  # fmt: skip
    assert rows[0]["extra"] == {"price": "1.5", "lone": "\ud800"}
    assert [row["error"]["message"].partition(",")[0] for row in rows[1:]] == [
        "raw holds an object of type bytes", "scores holds an infinite number",
    ]  # fmt: skip
    assert [row["attempts"] for row in rows] == [1, 0, 0]


def test_errors_have_the_form_of_their_rows(go):
    """In a file of OpenAI's lines, rows that cannot be sampled or read are in that form as well."""
    good = {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": [1], "logprobs": 0}}
    bad = [{**good, "custom_id": "b", "url": []}, {**good, "custom_id": "c", "body": {"prompt": [1], "suffix": "x"}}]
    _, rows = go("\n".join([*map(json.dumps, [good, *bad]), "{torn"]).encode(), omit=["tokens"])
    assert [row["custom_id"] for row in rows] == ["a", "b", "c", "line 4"]
    assert [row["error"] is None for row in rows] == [True, False, False, False]


def test_log_probabilities_of_prompts_in_the_other_form(go):
    """What was paid for is written, also where OpenAI's form has no place for it."""
    _, rows = go([{"prompt": "ab"}], form="openai", score=True)
    assert rows[0]["response"]["body"]["prompt_logprobs"] == [None, -2.0]


def test_an_answer_that_is_refused_is_kept(go, client, server, monkeypatch):
    """An answer that is not what was asked for is an error row with the tokens that came, and is tried again."""
    monkeypatch.setattr(server, "answers", lambda request: echo(attrs.evolve(request, sampling_params=LONG)))
    for answers, (done, failed) in ((server.answers, (1, 1)), (echo, (1, 0))):
        server.answers = answers
        summary, rows = go([{"prompt": "a"}, {"prompt": "abcdefgh"}])
        assert (summary.done, summary.failed, summary.sampled_tokens) == (done, failed, 2 + 9 if failed else 8)
        if failed:
            assert (rows[1]["status"], rows[1]["error"]["type"]) == ("error", "APIResponseError")
            assert rows[1]["error"]["may_have_run"]
            assert rows[1]["sequences"][0]["text"] == "abcdefgh"
            assert rows[1]["usage"]["sampled_tokens"] == 9
    assert [row["status"] for row in rows] == ["ok", "ok"]


def test_failed_rows_are_tried_again(go, server):
    """What failed is tried again by the next run, and stands in the file once."""
    rows = [{"id": number, "prompt": [number]} for number in range(1, 6)]
    server.fail_samples("the model stumbled", times=2)
    summary, found = go(rows)
    assert (summary.done, summary.failed) == (3, 2)
    assert summary.errors[0][1] == 2
    assert "the model stumbled" in summary.errors[0][0]
    assert sum(row["status"] == "error" for row in found) == 2
    summary, found = go(rows)
    assert (summary.done, summary.skipped) == (2, 3)
    assert [(row["id"], row["status"]) for row in found] == [(number, "ok") for number in range(1, 6)]


def test_other_weights_of_one_model_are_another_model(go, service):
    """A client of other weights does not pass for the one before it, though both have one base model."""
    first, second = (service.create_sampling_client(model_path=f"tinker://run/weights/{name}") for name in "ab")
    for client in (first, second):
        client.get_base_model()
        summary, rows = go([{"id": 1, "prompt": [1]}], models=client)
        assert (summary.done, summary.skipped) == (1, 0)
    assert {row["model"] for row in rows} == {"tinker://run/weights/a", "tinker://run/weights/b"}


def test_changed_parameters(go, server):
    """Other parameters for a row that is there already are noticed: stop, keep or redo."""
    rows = [{"id": "a", "prompt": [1]}, {"id": "b", "prompt": [2]}]
    go(rows, canary=False)
    sent = server.counts["asample"]
    with pytest.raises(bulk.ChangedError, match=r"'a' of fake/model.*max_tokens=8 \(now 9\)"):
        go(rows, max_tokens=9)
    with pytest.raises(bulk.ChangedError, match="another prompt"):
        go([{"id": "a", "prompt": [3]}])
    summary, found = go(rows, max_tokens=9, changed="keep")
    assert (summary.kept, server.counts["asample"]) == (2, sent)
    assert [row["parameters"]["max_tokens"] for row in found] == [8, 8]
    summary, found = go(rows, max_tokens=9, changed="redo")
    assert [(row["id"], row["parameters"]["max_tokens"]) for row in found] == [("a", 9), ("b", 9)]


def test_several_models(go, service):
    """Every row goes to each model of the run, or to the one it names."""
    models = {name: service.create_sampling_client(base_model=f"fake/{name}") for name in ("x", "y")}
    given = [{"id": "a"}, {"id": "b", "model": "y"}, {"id": "c", "model": "z"}]
    _, rows = go([{**row, "prompt": [1]} for row in given], models)
    assert [(row["id"], row["model"], row["status"]) for row in rows] == [
        ("a", "x", "ok"), ("a", "y", "ok"), ("b", "y", "ok"), ("c", "z", "error"),
    ]  # fmt: skip


def test_a_model_that_cannot_be_had(go, service):
    """A row whose model cannot be opened is an error row; the model is asked for once."""
    asked = []

    def open_model(name):
        asked.append(name)
        if name == "gone":
            raise tinkex.NotFoundError("no such model", 404)
        return service.create_sampling_client(base_model=name)

    rows = [{"prompt": [1], "model": name} for name in ("gone", "fake/a", "gone", "fake/a")]
    _, found = go(rows, bulk.Models((), open_model, Letters()))
    assert [row["status"] for row in found] == ["error", "ok", "error", "ok"]
    assert found[0]["error"]["status"] == 404
    assert sorted(asked) == ["fake/a", "gone"]


def test_max_failures(go):
    """After more failures than allowed no more rows are begun, and the run says so."""
    read = itertools.count()
    rows = ({"id": next(read), "prompt": []} for _ in range(100_000))
    summary, found = go(rows, max_failures=3, limits=bulk.Limits(max_in_flight=4))
    assert summary.interrupted
    assert 3 < summary.failed < 100
    assert next(read) < 100
    assert "max_failures" in summary.notes[0]
    assert len(found) == summary.failed


def test_halt_lets_rows_end(go, server):
    """After a halt no row is begun; those in flight end and are written."""
    server.hold()
    halt, lines = threading.Event(), iter(range(1, 1000))
    threading.Thread(target=lambda: (until(lambda: server.running >= 5), halt.set(), server.release())).start()
    limits = bulk.Limits(max_in_flight=5)
    summary, found = go(({"prompt": [number]} for number in lines), halt=halt, limits=limits)
    assert summary.interrupted
    assert summary.done == len(found) == 5
    summary, found = go(({"prompt": [number]} for number in range(1, 11)), limits=limits)
    assert (summary.skipped, summary.done, [row["line"] for row in found]) == (5, 5, list(range(1, 11)))


def test_a_broken_input_ends_the_run(go):
    """What reading the rows raises is raised, once the rows before it are written."""

    def rows():
        yield {"id": "a", "prompt": [1]}
        raise OSError("the tape tore")

    with pytest.raises(OSError, match="the tape tore"):
        go(rows())
    assert go([{"id": "a", "prompt": [1]}])[0].skipped == 1


def test_a_slow_source_holds_nothing_up(client):
    """A result is written while the next row is still to come."""
    rows, written = queue.SimpleQueue(), queue.SimpleQueue()

    class Told(io.RawIOBase):
        def write(self, data):
            written.put(bytes(data))
            return len(data)

    rows.put({"id": "a", "prompt": [1]})
    run = threading.Thread(
        target=lambda: bulk.run(iter(rows.get, None), Told(), client, tokenizer=Letters(), max_tokens=1)
    )
    run.start()
    assert json.loads(written.get(timeout=10))["id"] == "a"
    rows.put(None)
    run.join(10)
    assert not run.is_alive()


def test_a_reader_that_leaves(client):
    """When nobody reads the output any more, the run ends."""

    class Closed(io.RawIOBase):
        def write(self, data):
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        bulk.run([{"prompt": [1]}], Closed(), client, tokenizer=Letters(), max_tokens=1)


def test_bounded(go, server):
    """No more rows are read and in flight than allowed."""
    server.hold()
    read = []

    def rows():
        for number in range(1, 60):
            read.append(number)
            yield {"prompt": [number]}

    def watch():
        until(lambda: server.running >= 7)
        seen.append((server.running, len(read)))
        server.release()

    seen = []
    watcher = threading.Thread(target=watch)
    watcher.start()
    go(rows(), limits=bulk.Limits(max_in_flight=7))
    watcher.join()
    assert seen[0][0] == 7
    assert seen[0][1] <= 8


def test_progress(go):
    """Progress counts what ended, knows how much of a file is left, and what it cost."""
    told = []
    prices = bulk.Prices.from_dict({"*": {"prompt": 1.0, "sampled": 2.0}})
    summary, _ = go(b'{"prompt": [1, 2]}\n' * 10, on_progress=told.append, prices=prices)
    last = told[-1]
    assert (last.done, last.failed, last.fraction) == (10, 0, 1.0)
    assert (last.prompt_tokens, last.sampled_tokens) == (20, 30)
    assert summary.cost == last.cost == pytest.approx((20 + 60) / 1e6)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"max_token": 5}, "max_token"),
        ({"temperature": -1}, "temperature"),
        ({"num_samples": 0}, "num_samples"),
        ({"changed": "maybe"}, "changed"),
        ({"omit": ["everything"]}, "omit"),
        ({"form": "xml"}, "form"), ({"input_format": "xml"}, "format"),
    ],
)  # fmt: skip
def test_wrong_arguments(go, options, word, tmp_path):
    """A wrong argument is named before anything is read or written."""
    with pytest.raises((TypeError, ValueError), match=word):
        go([{"prompt": [1]}], **options)
    assert not (tmp_path / "out.jsonl").exists()


def test_omit(go):
    """What is omitted is null, and the rest is there."""
    _, rows = go([{"prompt": "hi"}], omit=["text", "logprobs", "prompt_tokens"])
    assert rows[0]["sequences"] == [{"text": None, "tokens": [104, 105, 0], "logprobs": None, "stop_reason": "stop"}]
    assert rows[0]["prompt_tokens"] is None


def test_no_tokenizer_is_needed_for_token_ids(go, client, monkeypatch):
    """Without a tokenizer rows of token ids are sampled, and rows of text say what is missing."""

    def fail():
        raise tinkex.tokenizers.TokenizerError("no tokenizer here")

    monkeypatch.setattr(client, "get_tokenizer", fail)
    _, rows = go([{"prompt": [1]}, {"prompt": "a"}], tokenizer=None)
    assert rows[0]["sequences"][0]["text"] is None
    assert "no tokenizer here" in rows[1]["error"]["message"]


def test_the_first_result_is_written_at_once(client, server, tmp_path):
    """A result is in the file as soon as its answer is there, whatever the others do."""
    server.hold()
    output = tmp_path / "out.jsonl"
    rows = [{"prompt": [number]} for number in range(1, 20)]
    run = threading.Thread(target=lambda: bulk.run(rows, output, client, tokenizer=Letters(), max_tokens=1))
    run.start()
    until(lambda: server.running >= 19)
    server.release(1)
    until(lambda: output.read_bytes().count(b"\n") == 1)
    server.release()
    run.join(10)
    assert output.read_bytes().count(b"\n") == 19


def test_tasks_travel(client):
    """What an engine is given pickles, so that other processes can do the work."""
    models = pickle.loads(pickle.dumps(bulk.Models.of({"m": client}, "somewhere")))
    row = bulk.Row(1, "a", [1, 2], {"max_tokens": 3})
    task = bulk.Task(0, row, "m", {"max_tokens": 3}, "00")
    assert pickle.loads(pickle.dumps(task)) == task
    assert (models.names, models.tokenizer) == (("m",), "somewhere")


def test_another_engine(go, client):
    """An engine of one's own gets the tasks, and its records are written."""

    def engine(tasks, models, limits, *, halt, omit, timeout, tell):
        for task in tasks:
            yield []
            yield from bulk.perform(iter([task]), models, limits.share(2), halt=halt, omit=omit, timeout=timeout)

    summary, rows = go([{"prompt": [1]}, {"prompt": []}], engine=engine)
    assert (summary.done, summary.failed) == (1, 1)
    assert [row["status"] for row in rows] == ["ok", "error"]


def test_ids_without_text(go):
    """Answers that the tokenizer cannot turn into text have none; the run goes on."""

    class Few(Letters):
        def decode(self, ids):
            return "ab"[max(ids)]

    _, rows = go([{"prompt": [1]}, {"prompt": [9]}], tokenizer=Few())
    assert [row["sequences"][0]["text"] for row in rows] == ["b", None]


def test_pauses_shrink_the_window(go, server):
    """When the server refuses for a while, the window shrinks, and every row is sampled in the end."""
    server.fail_next("asample", status=429, headers={"Retry-After": "0.05"}, times=3)
    told = []
    summary, _ = go([{"prompt": [number]} for number in range(1, 101)], on_progress=told.append)
    assert (summary.done, summary.failed) == (100, 0)
    assert told[-1].flow.most_in_flight < 64


def test_an_interrupt_keeps_what_is_written(go, server):
    """Ctrl-C ends the run at once, cancels what is in flight, and leaves whole rows."""
    answered = []

    def interrupt(progress):
        answered.append(progress.done)
        if progress.done:
            raise KeyboardInterrupt

    rows = [{"prompt": [number]} for number in range(1, 100)]
    with pytest.raises(KeyboardInterrupt):
        go(rows, on_progress=interrupt, limits=bulk.Limits(max_in_flight=2))
    summary, found = go(rows)
    assert 0 < summary.skipped < 99
    assert summary.skipped + summary.done == len(found) == 99


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.tsv", "out.PARQUET", "out.Csv"])
def test_names_of_other_formats(client, server, tmp_path, name):
    """An output whose name says something else than what would be in it is refused before anything is sampled."""
    with pytest.raises(ValueError, match=rf"output: {name} would hold JSON lines"):
        bulk.run([{"id": 1, "prompt": [1]}], tmp_path / name, client, max_tokens=1)
    assert not list(tmp_path.iterdir())
    assert not server.requests_to("asample")


def test_a_folder_is_no_output(client, tmp_path):
    """A folder is refused like any other output that cannot be used."""
    with pytest.raises(bulk.OutputError, match="it is a folder"):
        bulk.run([{"id": 1, "prompt": [1]}], tmp_path, client, max_tokens=1)
