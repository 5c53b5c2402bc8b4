"""Input files as rows: nothing is repaired in silence, and a broken row takes none of the others."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.bulk import InputError
from tinkex.bulk._input.read import Source

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
GOOD = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}]
LINES = "".join(json.dumps(row) + "\n" for row in GOOD).encode()


@pytest.fixture
def read(tmp_path):
    """Reads a file of this content and name."""

    def rows(content, name="in.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(Source(path, **options))

    return rows


def good(rows):
    """Ids and prompts of the rows that can be sampled."""
    return [(row.id, row.prompt) for row in rows if row.problem is None]


def bad(rows):
    """Ids and problems of the others."""
    return {row.id: row.problem for row in rows if row.problem is not None}


@given(st.lists(st.tuples(CELL, CELL), max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_what_a_writer_wrote_is_read(tmp_path_factory, cells, end):
    """Whatever text the cells hold, quotes, commas and line ends included, it is read as Python's writer wrote it."""
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerow(["prompt", "note"])
        writer.writerows([["p" + prompt, note] for prompt, note in cells])
    rows = list(Source(path))
    assert [(row.prompt, row.extra.get("note", "")) for row in rows] == [("p" + prompt, note) for prompt, note in cells]


def test_a_quote_that_is_never_closed(read):
    """A quote without its end is an error of its row that names the line; the rows behind it are read as rows."""
    rows = read('id,prompt\n1,Name a colour\n2,"Name a fruit\n3,Name a river\n4,Name a bird\n')
    assert good(rows) == [("1", "Name a colour"), ("3", "Name a river"), ("4", "Name a bird")]
    assert list(bad(rows)) == ["2"]
    assert "opened in line 3 of the file" in bad(rows)["2"]


def test_two_stray_quotes(read):
    """Two quotes without an end do not make one row of what stands between them."""
    rows = read('id,prompt\n1,"Name a fruit\n2,Name a river\n3,"Name a bird\n4,Name a tree\n')
    assert good(rows) == [("2", "Name a river"), ("4", "Name a tree")]
    assert list(bad(rows)) == ["1", "3"]
    assert "line 2 of" in bad(rows)["1"]
    assert "line 4 of" in bad(rows)["3"]


def test_a_stray_quote_before_a_quoted_cell(read):
    """A stray quote takes no later row with it, also where that row has quotes of its own."""
    rows = read('id,prompt\n1,one\n2,"two\n3,"three, and more"\n4,four\n')
    assert good(rows) == [("1", "one"), ("3", "three, and more"), ("4", "four")]
    assert list(bad(rows)) == ["2"]


def test_text_behind_a_quoted_cell(read):
    """Quotes do not vanish without a word: text behind a closing quote is an error."""
    rows = read('id,prompt\n1,"Name" a colour\n2,"a ""word"" of it"\n3,Say "hi"\n')
    assert good(rows) == [("2", 'a "word" of it'), ("3", 'Say "hi"')]
    assert list(bad(rows)) == ["1"]


def test_the_quote_of_a_later_cell(read):
    """In a row of several lines the error names the line of the cell that is broken, not that of the row."""
    rows = read('id,note,prompt\n1,"two\nlines","open\n2,x,y\n')
    assert "opened in line 3 of the file" in next(iter(bad(rows).values()))
    assert ("2", "y") in good(rows)


def test_many_stray_quotes(read):
    """A file in which every other row is broken keeps all of the others."""
    lines = [f'{number},"open' if number % 2 else f"{number},text" for number in range(400)]
    rows = read("id,prompt\n" + "\n".join(lines) + "\n")
    assert [row.id for row in rows] == [str(number) for number in range(400)]
    assert len(good(rows)) == 200


def test_cells_that_hold_line_ends(read):
    """Text of several lines in quotes is one cell, as it was written."""
    assert good(read('id,prompt\r\n1,"one\r\ntwo"\r\n2,"a\nb"\r\n')) == [("1", "one\r\ntwo"), ("2", "a\nb")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,prompt,prompt\n1,a,b\n", "'prompt' comes twice"),
        ("id;prompt\n1;a\n", "No column is called prompt.*'id;prompt'"),
        ("id, prompt\n1,a\n", "' prompt'"),
        ('id,"prompt\n1,a\n', "first line does not name columns"),
    ],
)
def test_first_lines_that_name_no_columns(read, content, words):
    """A first line from which no row can come right ends the run."""
    with pytest.raises(InputError, match=words):
        read(content)


def test_csv_files_put_together(read):
    """The line of names in the middle of a file is told of, and not sampled."""
    rows = read("id,prompt\n1,a\nid,prompt\n2,b\n")
    assert good(rows) == [("1", "a"), ("2", "b")]
    assert "two files" in bad(rows)["line 2"]
    mark = b"\xef\xbb\xbf"
    rows = read(mark + b"id,prompt\r\n1,a\r\n" + mark + b"id,prompt\r\n2,b\r\n" + mark + b"3,c\r\n")
    assert good(rows) == [("1", "a"), ("2", "b"), ("3", "c")]
    assert "two files" in bad(rows)["line 2"]


def test_tab_separated(read):
    """A .tsv file has tabs between its cells."""
    assert good(read("id\tprompt\n1\ta, b\n", "in.tsv")) == [("1", "a, b")]
    assert good(read("id\tprompt\n1\ta, b\n", "in.txt", format="tsv")) == [("1", "a, b")]


def test_truth_in_cells(read):
    """True and False, as pandas writes them, and 0 and 1 are truth values; anything else is named later."""
    (a, b, c, d) = read("prompt,score,include_prompt_logprobs\na,True,FALSE\nb,1,0\nc,1.0,\nd,maybe,\n")
    assert a.parameters == {"score": True, "include_prompt_logprobs": False}
    assert b.parameters == {"score": True, "include_prompt_logprobs": False}
    assert c.parameters == {"score": True}
    assert d.parameters == {"score": "maybe"}


WORDS = ["NaN", "nan", "null", "NULL", "None", "none", "NA", "N/A", "<NA>", " NaN "]


@pytest.mark.parametrize("word", WORDS)
def test_words_for_nothing(read, word):
    """The words that tables have for nothing give no parameter, token ids, messages, choices or model; text is text."""
    names = ["max_tokens", "temperature", "score", "stop", "seed", "tools", "prompt_tokens", "messages", "choices",
             "model"]  # fmt: skip
    (row,) = read(f"id,prompt,topic,{','.join(names)}\n{word},{word},{word},{','.join([word] * len(names))}\n")
    assert (row.id, row.prompt, row.extra.get("topic"), row.problem) == (word, word, word, None)
    assert (row.parameters, row.model, list(row.choices)) == ({}, None, [])
    (row,) = read(f'prompt,stop\na,"""{word}"""\n')
    assert row.parameters == {"stop": word}


def test_json_in_cells(read):
    """What a cell of JSON says twice is an error of its row."""
    (row,) = read('id,messages\na,"[{""role"": ""user"", ""role"": ""system""}]"\n')
    assert row.problem == "messages cannot be read as JSON: 'role' comes twice."


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz")])
def test_packed_files(read, pack, suffix):
    """A packed file is unpacked, whatever it is called; two that were put together are read to the end."""
    assert good(read(pack(LINES), f"in.jsonl.{suffix}")) == [("a", "one"), ("b", "two")]
    assert good(read(pack(LINES[:30]) + pack(LINES[30:]), "in.jsonl")) == [("a", "one"), ("b", "two")]
    assert good(read(pack(b"id,prompt\n1,x\n"), f"in.csv.{suffix}")) == [("1", "x")]


def test_a_packed_file_that_is_cut_off(tmp_path):
    """A packed file that ends too early is told of, once what could be read of it has been."""
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(LINES * 5_000, 0)[:-40])
    source, found = Source(path), []
    with pytest.raises(InputError, match=r"in\.jsonl\.gz cannot be unpacked"):
        found.extend(source)
    assert 5_000 < len(found) < 10_000
    assert 0 < source.fraction <= 1


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("rest", [b"something else", b"BZh9", b"\xfd7zXZ\0..."])
def test_what_follows_a_packed_file(tmp_path, pack, rest):
    """Something else behind what was packed, such as a second file that is broken, is told of; padding is not."""
    (tmp_path / "in").write_bytes(pack(LINES) + rest)
    found = []
    with pytest.raises(InputError, match="in cannot be unpacked"):
        found.extend(Source(tmp_path / "in"))
    (tmp_path / "in").write_bytes(pack(LINES) + bytes(8))
    assert good(Source(tmp_path / "in")) == [("a", "one"), ("b", "two")]


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_large_packed_files(read, pack):
    """A packed file is read in pieces, to its end."""
    long = "".join(json.dumps({"id": number, "prompt": "x" * 1000}) + "\n" for number in range(1100)).encode()
    assert len(good(read(pack(long) + pack(LINES), "in.jsonl"))) == 1102
    with pytest.raises(InputError, match="cannot be unpacked: it ends too early"):
        read(pack(LINES * 1000)[:-20], "in.jsonl")


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_json_array(read, indent, mark):
    """A file that holds an array of objects is read as its rows, on one line or on many."""
    rows = GOOD + [{"id": number, "prompt": "x" * 1000 + "é"} for number in range(300)]
    content = mark + json.dumps(rows, indent=indent, ensure_ascii=False).encode() + b"\r\n"
    assert good(read(content, "in.json")) == [(row["id"], row["prompt"]) for row in rows]
    assert read(mark + b" [ ]\n", "in.json") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"id": "a", "prompt": "one"}, {"id": "b", "prompt', "from element 2 on: Unterminated"),
        (b'[{"id": "a", "prompt": "one"} {"id": "b"}]', "from element 2 on: a comma is missing"),
        (b'[{"id": "a", "prompt": "one"}', "from element 2 on: the end is missing"),
        (b'[{"id": "a", "prompt": "one"}]{"id": "b"}', "something follows the end"),
        (b'[{"id": "a", "prompt": "one"}, {"id": ' + b"1" * 5000 + b"}]", "from element 2 on: Exceeds the limit"),
        (b'[{"id": "a", "prompt": "one"}, ' + b"[" * 100_000, "from element 2 on: "),
    ],
)
def test_a_broken_json_array(read, content, words):
    """Where an array is broken an error row says so, and the rows before are kept."""
    rows = read(content, "in.json")
    assert good(rows) == [("a", "one")]
    ((_, problem),) = bad(rows).items()
    assert words in problem


def test_elements_that_are_no_rows(read):
    """An element of an array that is no object is an error row among the others."""
    rows = read(b'[{"id": "a", "prompt": "one"}, 12, "x", null, {"id": "b", "prompt": "two"}]', "in.json")
    assert good(rows) == [("a", "one"), ("b", "two")]
    assert list(bad(rows)) == ["line 2", "line 3", "line 4"]


@pytest.mark.parametrize("size", [1, 200_000])
def test_an_element_with_a_name_twice(read, size):
    """Such an element is an error row, and those behind it are read, however long it is."""
    twice = '{"id": 1, "id": 2, "x": "' + "y" * size + '"}'
    rows = read(f"[{twice}, {json.dumps(GOOD)[1:]}", "in.json")
    assert bad(rows) == {"line 1": "The row cannot be read: 'id' comes twice."}
    assert good(rows) == [("a", "one"), ("b", "two")]


def test_json_lines_put_together(read):
    """A mark in the middle, where a file from Windows was appended to another, is no part of a row."""
    assert good(read(LINES + b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"), "in.jsonl")) == [
        ("a", "one"), ("b", "two"), ("a", "one"), ("b", "two"),
    ]  # fmt: skip


def test_two_rows_on_one_line(read):
    """Two files put together without a line end between them are told of."""
    rows = read(LINES.rstrip() + LINES, "in.jsonl")
    assert good(rows) == [("a", "one"), ("b", "two")]
    assert "Extra data" in bad(rows)["line 2"]


@pytest.mark.parametrize("name", ["id", "custom_id", "prompt", "prompt_tokens", "messages", "model", "max_tokens", "x"])
@pytest.mark.parametrize("space", ["", " ", "\t \t"])
def test_a_name_that_comes_twice(read, name, space):
    """A row that says two things under one name is an error row; the same name further inside is another one."""
    twice = f'{{"{name}": "a", "{name}"{space}: "b"}}\n'
    rows = read(twice + '{"id": 1, "prompt": "id \\"id\\"", "x": {"id": 2}}\n', "in.jsonl")
    assert "comes twice" in bad(rows)["line 1"]
    assert good(rows) == [(1, 'id "id"')]
    (row,) = read('{"messages": [{"role": "user", "role": "system"}], "x": {"id": 2}}\n', "in.jsonl")
    assert "'role' comes twice" in row.problem


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"id,prompt\n1,a\n", "in.jsonl", "begins with 'id,prompt'. Is it CSV"),
        (b'"a"\n"b"\n', "in.jsonl", "no JSON lines"),
        (b'{\n  "id": 1\n}\n', "in.jsonl", "object over several lines"),
        (b"PAR1....", "in.jsonl", "a Parquet file: say input_format"),
        (b"PK\x03\x04....", "in.csv", "spreadsheet"),
        (b"\x28\xb5\x2f\xfd....", "in.jsonl.zst", "Zstandard"),
        ("\ufeff{}".encode("utf-16-le"), "in.jsonl", "UTF-16: save it as UTF-8"),
        ("\ufeffid,prompt".encode("utf-16-be"), "in.csv", "UTF-16"),
        (b"\0\1\2\3", "in.bin", "binary"),
        (LINES, "in.csv", "names no columns; it begins with '{.*Say input_format='jsonl'"),
        (b'{"prompt":"a","id":"x"}\n', "in.csv", "Say input_format='jsonl'"),
        (LINES, "in.tsv", "Say input_format='jsonl'"),
    ],
)
def test_files_of_the_wrong_kind(read, content, name, words):
    """A file none of whose rows can be read ends the run with one line that says what it is."""
    with pytest.raises(InputError, match=words):
        read(content, name)


def test_an_empty_file(read):
    """A file without rows has none, whatever it is called."""
    for name in ("in.jsonl", "in.csv", "in.tsv", "in.json"):
        assert read(b"", name) == []
        assert read(b"\xef\xbb\xbf", name) == []


def test_how_much_was_read(tmp_path):
    """How much of a file has been read is known, also of a packed one and of an array."""
    for name, content in {
        "in.jsonl": LINES, "in.jsonl.gz": gzip.compress(LINES), "in.json": json.dumps(GOOD).encode(),
        "in.csv": b"prompt\na\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        source = Source(tmp_path / name)
        list(source)
        assert source.fraction == 1.0


@pytest.mark.parametrize("rows", [{"prompt": "a"}, b"rows.jsonl", 5, None])
def test_what_is_no_source(rows):
    """A single row, bytes or a number are no rows."""
    with pytest.raises(TypeError, match="rows must be a path or an iterable of mappings"):
        Source(rows)


class Typed(io.RawIOBase):
    """A pipe whose other end writes pieces: each read gives one of them, or a part of it."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def readable(self):
        return True

    def readinto(self, buffer):
        """What is there."""
        if not self.pieces:
            return 0
        piece = self.pieces.pop(0)
        given, rest = piece[: len(buffer)], piece[len(buffer) :]
        if rest:
            self.pieces.insert(0, rest)
        buffer[: len(given)] = given
        return len(given)


@pytest.fixture
def typed(monkeypatch):
    """Return a function that makes a source of standard input, of the pieces that it comes in."""

    def source(*pieces, format=None):
        pipe = Typed(*pieces)
        monkeypatch.setattr("tinkex.bulk._input.read._open", lambda path: io.BufferedReader(pipe))
        return Source("-", format), pipe

    return source


def test_standard_input(typed):
    """Standard input may be packed, or an array, as a file may, in whatever pieces it comes."""
    for content in (LINES, b"\xef\xbb\xbf \n" + LINES, gzip.compress(LINES), json.dumps(GOOD).encode()):
        for size in (1000, 9):
            pieces = [content[at : at + size] for at in range(0, len(content), size)]
            assert good(typed(*pieces)[0]) == [("a", "one"), ("b", "two")]


def test_rows_of_standard_input_are_read_as_they_come(typed):
    """A row is there before the next one is written; a broken line before the first good one is an error row."""
    source, pipe = typed(b"no row\n", b'{"id": "a", ', b'"prompt": "one"}\n', b'{"id": "b", "prompt": "two"}\n')
    rows = iter(source)
    assert (next(rows).problem is None, next(rows).id) == (False, "a")
    assert len(pipe.pieces) == 1
    assert next(rows).id == "b"


@pytest.mark.parametrize(
    ("content", "format", "words"),
    [
        (b"id,prompt\n1,a\n2,b\n", None, "The input holds no JSON lines; it begins with 'id,prompt'. Is it CSV"),
        (b"Name a colour\n" * 20_000, None, "it begins with 'Name a colour'"),
        (LINES, "csv", "Say input_format='jsonl'"),
        (LINES, "parquet", "Parquet is read from a file, not from standard input"),
    ],
)
def test_standard_input_of_the_wrong_kind(typed, content, format, words):
    """It ends the run with one line, whether it comes at once or in pieces."""
    for pieces in ([content], [content[:3], content[3:]]):
        with pytest.raises(InputError, match=words):
            list(typed(*pieces, format=format)[0])
