"""Every output read by the libraries that people read data with: each finds the numbers that are in it.

Needs the ``test-data`` extra. The readers are given what docs/batch.rst says they need, and nothing else.
"""

from __future__ import annotations

import json
import math
import pathlib

import pytest

import tinkex
from tinkex import bulk
from tinkex.testing import FakeServer

pytestmark = pytest.mark.clients

datasets = pytest.importorskip("datasets")
duckdb = pytest.importorskip("duckdb")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
for part in ("csv", "json", "parquet"):
    pytest.importorskip(f"pyarrow.{part}")

INF = math.inf
UNKNOWN = "unknown"  # what stands for NaN and null alike in comparisons
IDS = ["likely", "impossible", "007", "failed", "two"]
ROWS = [
    {"id": "likely", "prompt": [1, 8, 9], "topic": "ä", "n": 1},
    {"id": "impossible", "prompt": [2, 8, 9], "topic": "x, y", "n": 2},
    {"id": "007", "prompt": [3, 8, 9], "topic": "false", "n": 3},
    {"id": "failed", "prompt": [], "topic": None, "n": 4},
    {"id": "two", "prompt": [1, 8], "num_samples": 2, "topic": "z", "n": 5},
]
PROMPTS = [[UNKNOWN, -1.0, -0.5], [UNKNOWN, -INF, -0.5], [UNKNOWN, UNKNOWN, -0.5], UNKNOWN, [UNKNOWN, -1.0]]
SEQUENCES = [[-1.0, -0.5], [-INF, -0.5], [UNKNOWN, -0.5], [-1.0, -0.5], [-1.0, -0.5]]
SUMS = [-1.5, -INF, UNKNOWN, UNKNOWN, -1.5, -1.5]  # one a line of a table
NUMBERS = [1, 2, 3, 4, 5, 5]
LINES = ["likely", "impossible", "007", "failed", "two", "two"]


def answers(request):
    """The first token of a prompt says how likely the second is."""
    one = {1: -1.0, 2: -INF, 3: math.nan}[request.prompt.to_ints()[0]]
    sequence = tinkex.SampledSequence([5, 7], logprobs=[one, -0.5])
    scores = [None, one, -0.5][: request.prompt.length]
    return tinkex.SampleResponse([sequence] * request.num_samples, prompt_logprobs=scores)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The outputs of one run, by their suffixes."""
    folder = tmp_path_factory.mktemp("outputs")
    with FakeServer(answers=answers) as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="any/model")
        for suffix in ("jsonl", "csv", "parquet"):
            options = {"max_tokens": 2, "include_prompt_logprobs": True, "omit": ["text"]}
            bulk.run(ROWS, folder / f"out.{suffix}", client, **options)
    datasets.disable_progress_bars()
    return lambda suffix: str(folder / f"out.{suffix}")


def known(value, *, json_number=False):
    """A value with NaN and null as one, and minus infinity for -9999.0 where the format has no other."""
    listed = getattr(value, "tolist", None) or getattr(value, "to_list", None)  # NumPy's, Polars'
    value = listed() if listed else value
    if isinstance(value, list):
        return [known(each, json_number=json_number) for each in value]
    if value is None or value is pd.NA or value != value:
        return UNKNOWN
    return -INF if json_number and value == -9999.0 else value


def columns(ids, prompts, sequences):
    """Ids, the prompts' log-probabilities, and those of first sequences, where there are any."""
    return list(ids), list(prompts), [each[0]["logprobs"] for each in sequences if len(each)]


def frame_columns(frame):
    """The same of a data frame or a data set."""
    return columns(*(frame[name][:] for name in ("id", "prompt_logprobs", "sequences")))


def table_columns(table):
    """The same of an Arrow table."""
    return columns(*(table[name].to_pylist() for name in ("id", "prompt_logprobs", "sequences")))


def duckdb_columns(path):
    """The same by a query of DuckDB's."""
    return columns(*zip(*duckdb.sql(f"select id, prompt_logprobs, sequences from '{path}'").fetchall(), strict=True))


def arrow_lines(path):
    """Without a schema, PyArrow shifts lists that begin with null (apache/arrow issue 51305)."""
    numbers = pa.list_(pa.float64())
    schema = pa.schema({"prompt_logprobs": numbers, "sequences": pa.list_(pa.struct({"logprobs": numbers}))})
    return table_columns(pa.json.read_json(path, parse_options=pa.json.ParseOptions(explicit_schema=schema)))


def cache(path):
    """Where datasets keeps what it makes of a file."""
    return str(pathlib.Path(path).with_suffix(".cache"))


READERS = {
    "pandas jsonl": lambda path: frame_columns(pd.read_json(path, lines=True, dtype=False)),
    "polars jsonl": lambda path: frame_columns(pl.read_ndjson(path, infer_schema_length=None)),
    "duckdb jsonl": duckdb_columns,
    "pyarrow jsonl": arrow_lines,
    "datasets jsonl": lambda path: frame_columns(datasets.Dataset.from_json(path, cache_dir=cache(path))),
    "pandas parquet": lambda path: frame_columns(pd.read_parquet(path)),
    "polars parquet": lambda path: frame_columns(pl.read_parquet(path)),
    "duckdb parquet": duckdb_columns,
    "pyarrow parquet": lambda path: table_columns(pa.parquet.read_table(path)),
    "datasets parquet": lambda path: frame_columns(datasets.Dataset.from_parquet(path, cache_dir=cache(path))),
}
TABLES = {
    "pandas": pd.read_csv,
    "polars": pl.read_csv,
    "duckdb": lambda path: duckdb.sql(f"select * from '{path}'").df(),
    "pyarrow": lambda path: pa.csv.read_csv(path).to_pydict(),
    "datasets": lambda path: datasets.Dataset.from_csv(path, cache_dir=cache(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_rows(output, name):
    """Ids, and the log-probabilities of prompts and answers, are those that the server gave, in their places."""
    suffix = name.partition(" ")[2]
    ids, prompts, sequences = READERS[name](output(suffix))
    assert ids == IDS
    assert known(prompts, json_number=suffix == "jsonl") == PROMPTS
    assert known(sequences, json_number=suffix == "jsonl") == SEQUENCES[:4]


@pytest.mark.parametrize("name", TABLES)
def test_csv(output, name):
    """A CSV output has numbers in its columns of sums, minus infinity included, and the caller's own columns."""
    table = TABLES[name](output("csv"))
    assert list(table["id"]) == LINES
    assert known(list(table["logprob"])) == SUMS
    assert list(table["n"]) == NUMBERS
    assert list(table["topic"])[:3] == ["ä", "x, y", "false"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_data_frames(output, suffix):
    """`bulk.read` makes the same frame of each format, but for what CSV does not hold."""
    results = bulk.read(output(suffix))
    for frame in (results.to_pandas(), results.to_polars()):
        assert list(frame["id"]) == LINES
        assert known(list(frame["logprob"])) == SUMS
        assert known(list(frame["sequence"])) == [0, 0, 0, UNKNOWN, 0, 1]
        assert known(list(frame["topic"])) == ["ä", "x, y", "false", UNKNOWN, "z", "z"]
        assert list(frame["n"]) == (NUMBERS if suffix != "csv" else [str(n) for n in NUMBERS])
        if suffix != "csv":
            assert [known(list(each)) for each in frame["logprobs"] if each is not None] == [
                *SEQUENCES[:3], [-1.0, -0.5], [-1.0, -0.5],
            ]  # fmt: skip


INPUT = {
    "id": ["a", "007", "c"],
    "prompt": ["Name a river,\n please", None, 'ä "quoted"'],
    "prompt_tokens": [None, [5, 7], None],
    "max_tokens": [16, None, 4],
    "temperature": [None, 0.5, None],
    "topic": ["x", None, "z, y"],
}
WRITERS = {
    "pandas jsonl": lambda path: pd.DataFrame(INPUT).to_json(path, orient="records", lines=True),
    "pandas csv": lambda path: pd.DataFrame(cells()).to_csv(path, index=False),
    "pandas parquet": lambda path: pd.DataFrame(INPUT).to_parquet(path, index=False),
    "polars jsonl": lambda path: pl.DataFrame(INPUT).write_ndjson(path),
    "polars csv": lambda path: pl.DataFrame(cells()).write_csv(path),
    "polars parquet": lambda path: pl.DataFrame(INPUT).write_parquet(path),
    "duckdb jsonl": lambda path: copy(pa.table(INPUT), path, "format json"),
    "duckdb csv": lambda path: copy(pa.table(cells()), path, "format csv, header"),
    "duckdb parquet": lambda path: copy(pa.table(INPUT), path, "format parquet"),
    "pyarrow csv": lambda path: pa.csv.write_csv(pa.table(cells()), path),
    "pyarrow parquet": lambda path: pa.parquet.write_table(pa.table(INPUT), path),
    "datasets jsonl": lambda path: datasets.Dataset.from_dict(INPUT).to_json(path),
    "datasets csv": lambda path: datasets.Dataset.from_dict(cells()).to_csv(path),
    "datasets parquet": lambda path: datasets.Dataset.from_dict(INPUT).to_parquet(path),
}


def cells():
    """The same with lists as JSON, as CSV has them."""
    return {**INPUT, "prompt_tokens": [None if ids is None else json.dumps(ids) for ids in INPUT["prompt_tokens"]]}


def copy(rows, path, options):
    """Have DuckDB write a table."""
    duckdb.sql(f"copy (select * from rows) to '{path}' ({options})")


def taken(rows):
    """What of rows a run goes by; an own column that holds nothing may be there or not."""
    return [(row.id, row.prompt, row.parameters, row.extra.get("topic"), row.problem) for row in rows]


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_others_are_read(name, tmp_path):
    """A file that another library wrote has the rows that it was given, gaps and all."""
    path = str(tmp_path / f"in.{name.partition(' ')[2]}")
    WRITERS[name](path)
    assert taken(bulk.Source(path)) == [
        ("a", "Name a river,\n please", {"max_tokens": 16}, "x", None),
        ("007", [5, 7], {"temperature": 0.5}, None, None),
        ("c", 'ä "quoted"', {"max_tokens": 4}, "z, y", None),
    ]


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table, datasets.Dataset.from_dict])
def test_tables_in_memory_are_read(frame):
    """So has a table of theirs that is handed over as it is."""
    assert taken(bulk.Source(frame(INPUT)))[1:] == [
        ("007", [5, 7], {"temperature": 0.5}, None, None), ("c", 'ä "quoted"', {"max_tokens": 4}, "z, y", None),
    ]  # fmt: skip
