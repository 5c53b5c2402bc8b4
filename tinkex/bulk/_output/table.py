"""Output tables, made of the rows at the end of a run: Parquet, or CSV with a line for each answer."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

from tinkex.bulk._input.read import parquet_library
from tinkex.bulk._output.locked_file import create_file

SUFFIXES: Final = (".csv", ".parquet")
_CSV_COLUMNS: Final = (
    "id", "model", "status", "sequence", "text", "stop_reason", "sampled_tokens", "logprob", "prompt_logprob", "error",
)  # fmt: skip
_AS_JSON: Final = ("parameters", "extra", "topk_prompt_logprobs")
_ROWS_AT_ONCE: Final = 256


def rows_file(table: pathlib.Path) -> pathlib.Path:
    """Return the path of the JSON lines that a table is made of, and that a later run resumes from."""
    return table.with_name(table.name + ".jsonl")


def write_table(table: pathlib.Path) -> None:
    """Make the table of its rows, atomically; not again if it is newer than they are."""
    rows = rows_file(table)
    if table.exists() and table.stat().st_mtime_ns >= rows.stat().st_mtime_ns:
        return
    new = table.with_name(f".{table.name}.{os.getpid()}.new")
    try:
        with io.BufferedWriter(create_file(new)) as file:
            (_write_csv if table.suffix == ".csv" else _write_parquet)(file, rows)
        new.replace(table)
    finally:
        new.unlink(missing_ok=True)


def _records(rows: pathlib.Path) -> Iterator[dict[str, Any]]:
    with rows.open("rb") as file:
        yield from map(json.loads, file)


def _write_csv(new: BinaryIO, rows: pathlib.Path) -> None:
    with io.TextIOWrapper(new, encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, _CSV_COLUMNS)
        writer.writeheader()
        for record in _records(rows):
            error = record["error"]
            common = {
                "id": record["id"], "model": record["model"], "status": record["status"],
                "prompt_logprob": _sum(record.get("prompt_logprobs")),
                "error": error and f"{error['type']}: {error['message']}",
            }  # fmt: skip
            for number, sequence in enumerate(record["sequences"]):
                writer.writerow({
                    **common, "sequence": number, "text": sequence["text"], "stop_reason": sequence["stop_reason"],
                    "sampled_tokens": None if sequence["tokens"] is None else len(sequence["tokens"]),
                    "logprob": _sum(sequence["logprobs"]),
                })  # fmt: skip
            if not record["sequences"]:
                writer.writerow(common)


def _sum(logprobs: list[float | None] | None) -> float | None:
    return None if logprobs is None else sum(logprob for logprob in logprobs if logprob is not None)


def _write_parquet(new: BinaryIO, rows: pathlib.Path) -> None:
    parquet = parquet_library()
    import pyarrow as pa

    schema = _schema(pa)
    records = _records(rows)
    with parquet.ParquetWriter(new, schema) as writer:
        while batch := [_flat(record) for record in itertools.islice(records, _ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(batch, schema))


def _flat(record: dict[str, Any]) -> Mapping[str, Any]:
    """Convert a row to one type a column: ids as text, columns of any type as JSON."""
    for sequence in record["sequences"]:
        sequence["topk_logprobs"] = _json(sequence.get("topk_logprobs"))
    return {**record, "id": str(record["id"]), **{name: _json(record.get(name)) for name in _AS_JSON}}


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _schema(pa: Any) -> Any:
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    sequence = {
        "text": text, "tokens": pa.list_(whole), "logprobs": pa.list_(real), "stop_reason": text,
        "topk_logprobs": text,
    }  # fmt: skip
    usage = {"prompt_tokens": whole, "sampled_tokens": whole, "prompt_cache_hit_tokens": whole}
    timing = {"queued": real, "submit": real, "wait": real, "fetch": real}
    error = {
        "type": text, "message": text, "status": whole, "request_id": text, "phase": text,
        "retryable": pa.bool_(), "may_have_run": pa.bool_(),
    }  # fmt: skip
    columns = {
        "id": text, "model": text, "fingerprint": text, "status": text, "parameters": text, "extra": text,
        "prompt_tokens": pa.list_(whole), "prompt_logprobs": pa.list_(real), "topk_prompt_logprobs": text,
        "sequences": pa.list_(pa.struct(list(sequence.items()))), "usage": pa.struct(list(usage.items())),
        "timing": pa.struct(list(timing.items())), "request_id": text, "started_at": real, "finished_at": real,
        "attempts": whole, "error": pa.struct(list(error.items())),
    }  # fmt: skip
    return pa.schema(list(columns.items()))
