"""What must fail every row ends the run before anything is sampled, with one line."""

from __future__ import annotations

import json
import threading

import pytest

import tinkex
from tinkex import bulk, testing
from tinkex.errors import NotFoundError


@pytest.fixture
def server():
    """A server."""
    with testing.FakeServer() as running:
        yield running


@pytest.fixture
def client(server):
    """A model whose tokenizer cannot be had."""
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
        yield service.create_sampling_client(base_model="none/such")


TEXTS = [{"id": number, "prompt": "text"} for number in range(200)]
IDS = [{"id": number, "prompt": [1]} for number in range(200)]


class Letters:
    """A token for each character, and a chat template."""

    def __init__(self, chat_template):
        self.chat_template = chat_template

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


CHATS = [{"id": number, "messages": [{"role": "user", "content": "hi"}]} for number in range(3)]


@pytest.mark.thin(4)
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (IDS, {}, "max_tokens is missing"),
        ([{**row, "max_tokens": None} for row in IDS], {}, "max_tokens is missing"),
        (IDS[:1], {}, "max_tokens is missing"),
        ([{"id": 1, "question": "a"}, {"id": 2, "question": "b"}], {"max_tokens": 1}, "No row has a prompt.* question"),
        ([{"id": 1, "prompt": None}], {"max_tokens": 1}, "No row has a prompt"),
        ([{"id": 1, "prompt": []}, {"id": 2}], {"max_tokens": 1}, "No row has a prompt"),
        (["a", "b"], {"max_tokens": 1}, "A row must be a JSON object such as .*, not str"),
        ([{**row, "raw": b"x"} for row in IDS], {"max_tokens": 1}, "raw holds an object of type bytes"),
        (CHATS, {"max_tokens": 1, "tokenizer": Letters(None)}, "no chat template"),
        (CHATS, {"max_tokens": 1, "tokenizer": Letters("{% for %}")}, "broken"),
        (CHATS, {"max_tokens": 1, "tokenizer": Letters("x"), "template_variables": {"moood": 1}}, "moood"),
        (CHATS, {"max_tokens": 1, "tokenizer": Letters("x"), "tools": [{"type": "function"}]}, "tools"),
        ([{"id": "no prompt"}, *IDS], {}, "max_tokens is missing"),
        ([{**IDS[0], "temperature": -1}, *IDS[1:]], {}, "max_tokens is missing"),
        (TEXTS, {"max_tokens": 1, "tokenizer": "/no/such/tokenizer"}, "/no/such/tokenizer"),
        ([{"id": 1, "prompt": [1], "choices": ["a"]}], {"tokenizer": "/no/such/tokenizer"}, "/no/such/tokenizer"),
    ],
)
def test_hopeless(server, client, tmp_path, rows, options, words, lazy):
    """No max_tokens anywhere, or no tokenizer for text: one error, and nothing is sent."""
    output, before = tmp_path / "out.jsonl", threading.enumerate()
    with pytest.raises(tinkex.TinkexError, match=words):
        bulk.run(iter(rows) if lazy else rows, output, client, **options)
    assert not server.counts["asample"]
    assert output.exists() is lazy
    assert not lazy or output.read_bytes() == b""
    for thread in set(threading.enumerate()).difference(before):
        if thread.name == "tinkex-bulk":
            thread.join(10)  # it is told to end, and may be about to
            assert not thread.is_alive()


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    ("good", "options"),
    [
        ({"id": "good", "prompt": [1], "max_tokens": 1}, {}),
        ({"id": "good", "prompt": [1], "score": True}, {}),
        ({"id": "good", "prompt": [1], "choices": [[2]]}, {}),
        ({"id": "good", "prompt": [1]}, {"max_tokens": 1, "tokenizer": "/no/such/tokenizer"}),
    ],
)
@pytest.mark.parametrize("place", [0, 20])
def test_one_row_that_can_be_tried(client, tmp_path, good, options, place):
    """Where only some of the rows cannot be sampled, they become error rows and the others go on."""
    texts = [{"id": number, "prompt": "text"} for number in range(30)]
    summary = bulk.run([*texts[:place], good, *texts[place:]], tmp_path / "o.jsonl", client, omit=["text"], **options)
    assert (summary.done, summary.failed) == (1, 30)
    written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == [*range(place), "good", *range(place, 30)]


def test_a_template_that_refuses_every_row(client, tmp_path):
    """Conversations that a template refuses are the errors of their rows: another one it might take."""
    template = "{% if messages[0].content != 'Hello' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}"
    summary = bulk.run(CHATS, tmp_path / "out.jsonl", client, max_tokens=1, tokenizer=Letters(template))
    assert (summary.done, summary.failed) == (0, 3)


def test_a_model_of_the_run_that_cannot_be_opened(tmp_path):
    """A run whose one model is not there ends with the server's word for it; one that a row names spoils that row."""

    def open_model(name):
        raise NotFoundError(f"no model {name}", 404)

    with pytest.raises(NotFoundError, match="no model m"):
        bulk.run(IDS, tmp_path / "out.jsonl", bulk.Models(("m",), open_model), max_tokens=1)
    rows = [{**row, "model": "other"} for row in IDS[:3]]
    assert bulk.run(rows, tmp_path / "out.jsonl", bulk.Models((), open_model), max_tokens=1).failed == 3


def test_a_file_of_the_wrong_kind(client, tmp_path):
    """A file none of whose rows can be read leaves no output behind."""
    (tmp_path / "in.jsonl").write_text("id,prompt\n1,a\n")
    with pytest.raises(bulk.InputError, match="Is it CSV"):
        bulk.run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", client, max_tokens=1)
    with pytest.raises(FileNotFoundError):
        bulk.run(tmp_path / "none.jsonl", tmp_path / "out.jsonl", client, max_tokens=1)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_rows_with_and_without_ids(client, tmp_path):
    """A row without an id is never taken for one that has its line for an id, whichever comes first, or later."""
    rows = [{"prompt": [1, 3]}, {"id": 1, "prompt": [1, 2]}, {"prompt": [1, 4]}, {"id": 3, "prompt": [1, 5]},
            {"id": "line 1", "prompt": [1, 6]}, {"id": "line 6", "prompt": [1, 7]}]  # fmt: skip
    rows += [{"prompt": [1, 8]}, {"id": "line 8", "prompt": [1, 9]}]
    for expected in ((8, 0), (0, 8)):
        summary = bulk.run(rows, tmp_path / "out.jsonl", client, max_tokens=1, omit=["text"])
        assert (summary.done, summary.failed, summary.skipped) == (expected[0], 0, expected[1])
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["prompt_tokens"][1] for row in written] == [3, 2, 4, 5, 6, 7, 8, 9]
    assert [row["id"] for row in written] == ["line 1", 1, "line 3", 3, "line 1", "line 6", "line 7", "line 8"]
    assert [row.get("line") for row in written] == [1, None, 3, None, None, None, 7, None]


def test_ids_of_subclasses_are_found_again(client, tmp_path):
    """Ids of NumPy's and enums' types are the same rows the next time."""
    np = pytest.importorskip("numpy")
    rows = [{"id": each, "prompt": [1, 2]} for each in (np.str_("a"), np.int64(3), 1.0)]
    counts = []
    for _ in range(3):
        summary = bulk.run(rows, tmp_path / "out.jsonl", client, max_tokens=np.int64(1), omit=["text"])
        counts.append((summary.done, summary.skipped))
    plain = [{"id": each, "prompt": [1, 2]} for each in ("a", 3, 1)]
    again = bulk.run(plain, tmp_path / "out.jsonl", client, max_tokens=1, omit=["text"])
    assert counts == [(3, 0), (0, 3), (0, 3)]
    assert again.skipped == 3
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["id"], row["parameters"]) for row in written] == [(each, {"max_tokens": 1}) for each in ("a", 3, 1)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_the_input_is_no_output(client, tmp_path, name):
    """A run that would write over its input, or into it, is refused, and leaves it as it was."""
    path = tmp_path / name
    path.write_bytes(b'{"prompt": [1]}\n')
    link = tmp_path / f"other{path.suffix}"
    link.symlink_to(path)
    for output in (path, str(path), link):
        with pytest.raises(ValueError, match="is the input"):
            bulk.run(path, output, client, max_tokens=1)
    assert path.read_bytes() == b'{"prompt": [1]}\n'


def test_nor_are_the_rows_of_a_table(client, tmp_path):
    """The JSON lines that a table is made of are written, too."""
    path = tmp_path / "out.csv.jsonl"
    path.write_bytes(b'{"prompt": [1]}\n')
    with pytest.raises(ValueError, match=r"out\.csv\.jsonl is the input"):
        bulk.run(path, tmp_path / "out.csv", client, max_tokens=1)
    assert path.read_bytes() == b'{"prompt": [1]}\n'


def test_a_parameter_that_is_no_number(client, tmp_path):
    """NaN for the whole run is an error; in a cell of a table it says that nothing is given."""
    with pytest.raises(ValueError, match="temperature must be a number, not nan"):
        bulk.run([[1]], tmp_path / "out.jsonl", client, max_tokens=1, temperature=float("nan"))
