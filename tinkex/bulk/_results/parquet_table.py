"""Parquet outputs: written from records and read back; a line for each row of the output."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

from tinkex.bulk._input.parquet_file import parquet_library
from tinkex.bulk._results.lines import to_json
from tinkex.bulk._results.logprobs import restore_record
from tinkex.bulk._results.records import Record

_AS_JSON: Final = ("parameters", "extra", "messages", "topk_prompt_logprobs")
"""Columns that can be anything, and so hold JSON; those of sequences are the next ones."""
_SEQUENCE_AS_JSON: Final = ("topk_logprobs", "message")
_ROWS_AT_ONCE: Final = 256


def write_parquet(file: BinaryIO, lines: Iterable[bytes]) -> None:
    """Write records, which JSON lines of tinkex's own format hold."""
    parquet = parquet_library()
    import pyarrow as pa

    schema = _schema(pa)
    records = map(json.loads, lines)
    with parquet.ParquetWriter(file, schema) as writer:
        while batch := [_flat(record) for record in itertools.islice(records, _ROWS_AT_ONCE)]:
            try:
                table = pa.Table.from_pylist(batch, schema)
            except UnicodeEncodeError:
                table = pa.Table.from_pylist(_unicode(batch), schema)
            writer.write_table(table)


def read_parquet(path: pathlib.Path) -> Iterator[Record]:
    """Read the records that `write_parquet` wrote, restored."""
    with parquet_library().ParquetFile(path) as file:
        if not {"id", "model", "status", "sequences"} <= set(file.schema_arrow.names):
            raise ValueError(f"{path} is not a Parquet output of a batch: columns are missing")
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            for record in batch.to_pylist():
                _parse(record, _AS_JSON)
                for each in (*record["sequences"], *(record.get("choices") or ())):
                    _parse(each, _SEQUENCE_AS_JSON)
                yield restore_record(record)


def _parse(record: Record, names: Iterable[str]) -> None:
    for name in names:
        if record.get(name) is not None:
            record[name] = json.loads(record[name])


def _flat(record: Record) -> Record:
    """Convert a record to one type a column: ids as text, columns of any type as JSON, minus infinity as itself."""
    texts: Record = {
        name: [{**each, **_dumped(each, _SEQUENCE_AS_JSON)} for each in record[name]]
        for name in ("sequences", "choices") if name in record
    }  # fmt: skip
    return restore_record({**record, **texts, "id": str(record["id"]), **_dumped(record, _AS_JSON)})


def _dumped(record: Record, names: Iterable[str]) -> Record:
    return {name: to_json(record[name]) for name in names if record.get(name) is not None}


def _unicode(value: Any) -> Any:
    """Write lone surrogates, which Arrow refuses, as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _unicode(each) for name, each in value.items()}
    return [_unicode(each) for each in value] if isinstance(value, list) else value


def _schema(pa: Any) -> Any:
    text, whole, real, flag = pa.string(), pa.int64(), pa.float64(), pa.bool_()
    tokens = {"text": text, "tokens": pa.list_(whole), "logprobs": pa.list_(real)}
    sequence = {**tokens, "stop_reason": text, "topk_logprobs": text, "message": text}
    choice = {**tokens, "logprob": real, "mean_logprob": real, "topk_logprobs": text}
    usage = {"prompt_tokens": whole, "sampled_tokens": whole, "prompt_cache_hit_tokens": whole}
    timing = {"queued": real, "submit": real, "wait": real, "fetch": real}
    error = {
        "type": text, "message": text, "status": whole, "request_id": text, "phase": text,
        "retryable": flag, "may_have_run": flag,
    }  # fmt: skip
    columns = {
        "id": text, "line": whole, "model": text, "fingerprint": text, "status": text, "parameters": text,
        "date": text, "extra": text, "prompt": text, "messages": text,
        "prompt_tokens": pa.list_(whole), "prompt_logprobs": pa.list_(real), "topk_prompt_logprobs": text,
        "sequences": pa.list_(pa.struct(list(sequence.items()))), "choices": pa.list_(pa.struct(list(choice.items()))),
        "best": whole, "best_by_mean": whole, "answer": whole, "correct": flag, "correct_by_mean": flag,
        "usage": pa.struct(list(usage.items())), "timing": pa.struct(list(timing.items())),
        "request_id": text, "started_at": real, "finished_at": real, "attempts": whole,
        "error": pa.struct(list(error.items())),
    }  # fmt: skip
    return pa.schema(list(columns.items()))
