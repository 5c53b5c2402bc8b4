"""Rows of Parquet files and of tables in memory."""

from __future__ import annotations

import json

import pytest

from tinkex.bulk import InputError
from tinkex.bulk._input.read import Source

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(params=["file", "table"])
def read(request, tmp_path):
    """Reads a table, from a file or as it is."""

    def rows(table):
        if request.param == "table":
            return list(Source(table))
        parquet.write_table(table, tmp_path / "in.parquet")
        return list(Source(tmp_path / "in.parquet"))

    return rows


def test_maps(read):
    """A column of maps is read as mappings; a map that has a key twice spoils its own row alone."""
    kind = pa.map_(pa.string(), pa.bool_())
    table = pa.table({
        "messages": [[{"role": "user", "content": "a"}]] * 3,
        "template_variables": pa.array([[("thinking", False)], [("x", True), ("x", False)], None], kind),
    })  # fmt: skip
    first, second, third = read(table)
    assert first.parameters == {"template_variables": {"thinking": False}}
    assert second.problem.startswith("The row cannot be read: ")
    assert (third.problem, third.parameters) == (None, {})


def test_fields_that_other_rows_have(read):
    """In a column of structs, what only other rows have is not in a row; the content of a message may be null."""
    call = {"function": {"name": "f", "arguments": {"city": "Oslo"}}}
    rows = [
        {"id": "t", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"id": "p", "messages": [{"role": "user", "content": [{"type": "image", "image": "cat.png"}]}]},
        {"id": "c", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]},
    ]
    text, picture, calls = read(pa.Table.from_pylist(rows))
    assert text.messages == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert picture.messages == [{"role": "user", "content": [{"type": "image", "image": "cat.png"}]}]
    assert calls.messages == [{"role": "assistant", "content": None, "tool_calls": [call]}]


def test_gaps(read):
    """Columns with gaps, as pandas writes them, hold floats; they are read as what they were."""
    table = pa.table({
        "id": [1.0, 2.0], "prompt_tokens": pa.array([[1, 2], [3]], pa.list_(pa.int32())),
        "max_tokens": [16.0, float("nan")], "score": [None, True],
    })  # fmt: skip
    first, second = read(table)
    assert (first.id, first.prompt, first.parameters) == (1, [1, 2], {"max_tokens": 16})
    assert (second.id, second.prompt, second.parameters) == (2, [3], {"score": True})


def test_tables_that_hold_no_prompts(tmp_path):
    """A file without a prompt's column, and one with a column twice, end the run."""
    parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"No column is called prompt.*there are text"):
        list(Source(tmp_path / "in.parquet"))
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    parquet.write_table(twice, tmp_path / "in.parquet")
    with pytest.raises(InputError, match="'prompt' comes twice"):
        list(Source(tmp_path / "in.parquet"))
    (tmp_path / "in.parquet").write_text("no")
    with pytest.raises(InputError, match=r"in\.parquet is not a Parquet file"):
        list(Source(tmp_path / "in.parquet"))


def test_data_frames():
    """Data frames are read row by row, with what pandas has in place of a missing value not given."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([{"id": 1, "prompt": "a", "max_tokens": 4, "model": "m"}, {"id": 2, "prompt": "b"}])
    for rows in (frame, frame.to_dict("records"), frame.convert_dtypes()):
        first, second = Source(rows)
        assert (first.id, first.prompt, first.parameters, first.model) == (1, "a", {"max_tokens": 4}, "m")
        assert (second.id, second.prompt, second.parameters, second.model) == (2, "b", {}, None)
    with pytest.raises(InputError, match="'prompt' comes twice"):
        list(Source(pandas.DataFrame([["a", "b"]], columns=["prompt", "prompt"])))
    with pytest.raises(InputError, match="'5' comes twice"):
        list(Source(pandas.DataFrame([["a", 1, 2]], columns=["prompt", 5, "5"])))


def test_data_frames_of_polars():
    """So are those of polars."""
    polars = pytest.importorskip("polars")
    (only,) = Source(polars.DataFrame({"id": [1], "prompt_tokens": [[1, 2]]}))
    assert (only.id, only.prompt) == (1, [1, 2])


CALL = {"function": {"name": "f", "arguments": {"city": "Oslo"}}}
OTHER = {"function": {"name": "g", "arguments": {"unit": 3}}}
COLUMNS = {
    "messages": [[{"role": "assistant", "content": None, "tool_calls": [call]}] for call in (CALL, OTHER)],
    "max_tokens": ["16", "NaN"],
    "stop": ['["a", "b"]', "x"],
}


class DataSet:
    """Rows with names and types of columns, as a data set of Hugging Face has them."""

    column_names = features = tuple(COLUMNS)

    def __iter__(self):
        return (dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True))


@pytest.mark.parametrize("kind", ["arrow", "reader", "pandas", "polars", "datasets"])
def test_one_meaning_in_all_tables(kind):
    """In a table of any library structs have what the row has, and text of parameters is JSON, as in a file."""
    if kind in ("pandas", "polars"):
        pytest.importorskip(kind)
    table = pa.table(COLUMNS)
    made = {
        "arrow": lambda: table, "reader": table.to_reader, "pandas": table.to_pandas, "datasets": DataSet,
        "polars": lambda: __import__("polars").from_arrow(table),
    }[kind]()  # fmt: skip
    first, second = Source(made)
    assert first.messages == [{"role": "assistant", "content": None, "tool_calls": [CALL]}]
    assert second.messages == [{"role": "assistant", "content": None, "tool_calls": [OTHER]}]
    assert [first.parameters, second.parameters] == [{"max_tokens": 16, "stop": ["a", "b"]}, {"stop": "x"}]


TOOLS = [[{"type": "function", "function": {"name": name, "parameters": {name: "string"}}}] for name in "fg"]
LINES = [
    {"custom_id": f"line-{at}", "body": {"messages": [{"role": "user", "content": None}], "tools": tools, **rest}}
    for at, (tools, rest) in enumerate(zip(TOOLS, ({"max_tokens": 3, "stop": "5"}, {"n": 2}), strict=True))
]


@pytest.mark.parametrize("kind", ["structs", "json"])
def test_openai_lines_in_a_table(tmp_path, kind):
    """Lines of an OpenAI batch mean in a table, as structs or as JSON, what they mean as JSON lines."""
    lines = LINES if kind == "structs" else [{**line, "body": json.dumps(line["body"])} for line in LINES]
    parquet.write_table(pa.Table.from_pylist(lines), tmp_path / "in.parquet")
    expected = list(Source(LINES))
    assert [row.parameters.get("tools") for row in expected] == TOOLS
    assert list(Source(tmp_path / "in.parquet")) == list(Source(pa.Table.from_pylist(lines))) == expected


def test_texts_of_numpy():
    """A cell that holds NumPy's kind of text is read as one that holds Python's."""
    numpy = pytest.importorskip("numpy")

    class Rows(DataSet):
        def __iter__(self):
            return iter([{"prompt_tokens": numpy.str_("[1, 2]"), "max_tokens": numpy.str_("NaN")}])

    (only,) = Source(Rows())
    assert (only.prompt, only.parameters) == ([1, 2], {})


def test_a_column_twice_in_memory():
    """A column that comes twice in a table in memory ends the run, too."""
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    with pytest.raises(InputError, match="'prompt' comes twice"):
        list(Source(twice))
