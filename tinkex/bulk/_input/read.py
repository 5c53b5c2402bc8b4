"""Input readers: JSON lines, CSV, Parquet and iterables of mappings, streamed; broken input becomes error rows."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final

import attrs

from tinkex.bulk._input.rows import parse_row
from tinkex.bulk._input.task import PARAMETERS, Row

Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
FORMATS: Final = ("jsonl", "csv", "parquet")
LONGEST_LINE: Final = 64 * 2**20
"""Bytes; a longer line is no row."""
_JSON_CELLS: Final = PARAMETERS | {"prompt_tokens", "messages"}


class Source:
    """The rows of a file, of standard input ("-") or of an iterable; iterate over it once.

    `format` is "jsonl", "csv" or "parquet"; None goes by the file's name, and is "jsonl" where that tells nothing.
    """

    def __init__(self, rows: Rows, format: str | None = None) -> None:
        if format is not None and format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
        self._rows = rows
        self._format = format or _format_of(rows)
        self._read = 0.0  # of the file, in bytes or rows
        self._all = 0.0

    @property
    def fraction(self) -> float | None:
        """How much of it has been read, from 0 to 1; None where its size is not known."""
        return min(1.0, self._read / self._all) if self._all else None

    def __iter__(self) -> Iterator[Row]:
        if not isinstance(self._rows, str | os.PathLike):
            return (parse_row(number, data) for number, data in enumerate(self._rows, 1))
        if self._format == "parquet":
            return self._parquet(self._rows)
        return self._bytes(self._rows)

    def _bytes(self, path: str | os.PathLike[str]) -> Iterator[Row]:
        with _open(path) as file:
            self._all = os.fstat(file.fileno()).st_size if path != "-" else 0
            yield from (self._csv(file) if self._format == "csv" else self._jsonl(file))

    def _jsonl(self, file: BinaryIO) -> Iterator[Row]:
        shape = "native"
        for row in self._lines(file):
            if row.problem is None or row.shape != "native":
                shape = row.shape
            # what cannot be read is meant to be like the line before
            yield row if row.shape == shape else attrs.evolve(row, shape=shape)

    def _lines(self, file: BinaryIO) -> Iterator[Row]:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            self._read += len(line)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
                self._read += _skip_line(file)
                yield Row(number, f"line {number}", problem=f"The line is longer than {LONGEST_LINE // 2**20} MiB.")
            elif not line.isspace() and line:
                yield _parse_line(number, line)

    def _csv(self, file: BinaryIO) -> Iterator[Row]:
        csv.field_size_limit(LONGEST_LINE)
        with io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
            reader = csv.DictReader(text)
            for number in itertools.count(1):
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    yield Row(number, f"line {number}", problem=f"This is no CSV: {error}.")
                    continue
                if cells is None:
                    return
                self._read = file.tell() if self._all else 0
                yield _parse_cells(number, cells)

    def _parquet(self, path: str | os.PathLike[str]) -> Iterator[Row]:
        with parquet_library().ParquetFile(path) as file:
            self._all = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=64):
                for data in batch.to_pylist():
                    self._read += 1
                    yield parse_row(int(self._read), _cells_from_json(data))


def parquet_library() -> Any:
    """Return pyarrow's Parquet module; ModuleNotFoundError says what to install."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Parquet files need pyarrow. Run: pip install 'tinkex[parquet]'") from None
    return pyarrow.parquet


def _format_of(rows: Rows) -> str:
    suffix = pathlib.Path(rows).suffix.lower() if isinstance(rows, str | os.PathLike) else ""
    return {".csv": "csv", ".parquet": "parquet"}.get(suffix, "jsonl")


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file; standard input through a reader of its own, which a thread may be in when the program ends."""
    return open(0 if path == "-" else path, "rb", buffering=2**18, closefd=path != "-")


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while piece := file.readline(2**20):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _parse_line(number: int, line: bytes) -> Row:
    try:
        return parse_row(number, json.loads(line.decode()))
    except UnicodeDecodeError as error:
        problem = f"The line is not UTF-8: {error.reason} at byte {error.start}."
    except json.JSONDecodeError as error:
        problem = f"The line is not JSON: {error.msg} at column {error.colno}."
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits; brackets in brackets
        problem = f"The line cannot be read as JSON: {error}."
    return Row(number, f"line {number}", problem=problem)


def _parse_cells(number: int, cells: dict[Any, Any]) -> Row:
    if None in cells or None in cells.values():
        return Row(number, f"line {number}", problem="The row has more or fewer cells than the first line has names.")
    try:
        "".join(cells.values()).encode()
    except UnicodeEncodeError:
        return Row(number, f"line {number}", problem="The row is not UTF-8.")
    return parse_row(number, _cells_from_json({name: value for name, value in cells.items() if value != ""}))


def _cells_from_json(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the text of cells as JSON in the columns of parameters, token ids and messages."""
    return {name: _from_json(value) if name in _JSON_CELLS else value for name, value in cells.items()}


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # such as a stop text
