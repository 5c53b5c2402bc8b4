"""Input sources: files of any format, standard input, tables and iterables as streams of rows."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import os
import pathlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from tinkex._validation.public_names import with_public_names
from tinkex.bulk._input.csv_file import csv_rows
from tinkex.bulk._input.json_file import json_array, json_lines
from tinkex.bulk._input.parquet_file import check_once, dicts, parquet_rows, parse_arrow
from tinkex.bulk._input.rows import parse_row
from tinkex.bulk._input.task import InputError, Row
from tinkex.bulk._input.unpack import Unpacked, UnpackError

Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
FORMATS: Final = ("jsonl", "csv", "tsv", "parquet")
_SUFFIXES: Final = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_BUFFER: Final = 2**18
_PACKED: Final[Mapping[bytes, Callable[..., Any]]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": lambda raw: Unpacked(raw, bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": lambda raw: Unpacked(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)),
}  # fmt: skip
_PACKED_SUFFIXES: Final = (".gz", ".bz2", ".xz")
_OTHERS: Final[Mapping[bytes, str]] = {
    b"PAR1": "a Parquet file: say input_format='parquet'", b"\x28\xb5\x2f\xfd": "packed with Zstandard: unpack it",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet: save it as CSV or JSON lines", b"ARROW1": "an Arrow file",
    b"\xff\xfe": "UTF-16: save it as UTF-8", b"\xfe\xff": "UTF-16: save it as UTF-8", b"%PDF": "a PDF",
}  # fmt: skip


_ARRAY: Final = re.compile(rb"\[\s*([{\]]|\Z)")  # of objects; a line may hold another one, by mistake


@with_public_names
class Source:
    """The rows of a file, of standard input ("-"), of a table or of an iterable of mappings; iterate over it once.

    `format` is "jsonl", "csv", "tsv" or "parquet"; None goes by the file's name, and is "jsonl" where that tells
    nothing. A JSON array is read as such, and a file packed with gzip, bzip2 or xz is unpacked.
    """

    def __init__(self, rows: Rows, format: str | None = None) -> None:
        if format is not None and format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
        kinds: Any = (str, os.PathLike, Iterable)
        if isinstance(rows, Mapping | bytes) or not (isinstance(rows, kinds) or hasattr(rows, "to_batches")):
            raise TypeError(f"rows must be a path or an iterable of mappings, not {type(rows).__name__}")
        self._rows = rows
        self._format = format or _format_of(rows)
        self._read = 0.0  # of the file, in bytes or rows
        self._all = 0.0

    @property
    def fraction(self) -> float | None:
        """How much of it has been read, from 0 to 1; None where its size is not known."""
        return min(1.0, self._read / self._all) if self._all else None

    @property
    def is_at_hand(self) -> bool:
        """Whether its first rows can be had at once, as those of a file or a list."""
        rows = self._rows
        if isinstance(rows, str | os.PathLike):
            path = pathlib.Path(rows)
            return rows != "-" and (path.is_file() or not path.exists())
        return isinstance(rows, Sequence) or hasattr(rows, "columns")

    def __iter__(self) -> Iterator[Row]:
        if not isinstance(self._rows, str | os.PathLike):
            of_table, rows = _mappings(self._rows)
            parse = parse_arrow if of_table else parse_row
            return itertools.starmap(parse, enumerate(rows, 1))
        if self._format == "parquet":
            if self._rows == "-":
                raise InputError("Parquet is read from a file, not from standard input.")
            return parquet_rows(self._rows, self._tell_rows)
        return self._bytes(self._rows)

    def _bytes(self, path: str | os.PathLike[str]) -> Iterator[Row]:
        with _open(path) as raw:
            self._all = os.fstat(raw.fileno()).st_size if path != "-" else 0
            file = _unpacked(raw)
            try:
                yield from self._rows_of(file, path, raw)
            except (EOFError, gzip.BadGzipFile, zlib.error, UnpackError) as error:
                raise InputError(f"{os.fspath(path)} cannot be unpacked: {error}") from None

    def _rows_of(self, file: io.BufferedReader, path: str | os.PathLike[str], raw: io.BufferedReader) -> Iterator[Row]:
        def tell(count: int = 0) -> None:
            if self._all:
                self._read = self._read + count if count and file is raw else raw.tell()

        head = file.peek(_BUFFER)
        name = "The input" if path == "-" else os.fspath(path)
        _check_text(head, name)
        if self._format in ("csv", "tsv"):
            return csv_rows(file, tell, "\t" if self._format == "tsv" else ",")
        if _ARRAY.match(_without_mark(head)):
            return json_array(file, tell)
        if path == "-":  # what is at hand may be a part of a line
            head = _until_object(file)
            file = io.BufferedReader(_Again(head, file), _BUFFER)
        _check_json(_without_mark(head), name)
        return json_lines(file, tell)

    def _tell_rows(self, read: int, every: int) -> None:
        self._read, self._all = read, every


def _mappings(rows: Any) -> tuple[bool, Iterable[Any]]:
    """Return whether rows are a table of pandas, polars, Arrow or Hugging Face datasets, and an iterable of them."""
    if hasattr(rows, "to_batches") or hasattr(rows, "read_next_batch"):  # Arrow's tables and readers
        check_once(rows.schema.names)
        batches = rows.to_batches(64) if hasattr(rows, "to_batches") else rows
        return True, itertools.chain.from_iterable(map(dicts, batches))
    if hasattr(rows, "iter_rows"):  # polars
        return True, rows.iter_rows(named=True)
    if hasattr(rows, "itertuples") and hasattr(rows, "columns"):  # pandas
        names = list(rows.columns)
        check_once(list(map(str, names)))
        return True, (dict(zip(names, cells, strict=True)) for cells in rows.itertuples(index=False, name=None))
    return hasattr(rows, "column_names") and hasattr(rows, "features"), rows


def _format_of(rows: Rows) -> str:
    path = pathlib.Path(rows) if isinstance(rows, str | os.PathLike) else pathlib.Path()
    if path.suffix.lower() in _PACKED_SUFFIXES:
        path = path.with_suffix("")
    return _SUFFIXES.get(path.suffix.lower(), "jsonl")


def _open(path: str | os.PathLike[str]) -> Any:
    """Open a file; standard input through a reader of its own, which a thread may be in when the program ends."""
    return open(0 if path == "-" else path, "rb", buffering=_BUFFER, closefd=path != "-")


def _unpacked(raw: io.BufferedReader) -> io.BufferedReader:
    head = raw.peek(8)
    unpack = next((unpack for mark, unpack in _PACKED.items() if head.startswith(mark)), None)
    return raw if unpack is None else io.BufferedReader(unpack(raw), _BUFFER)


class _Again(io.RawIOBase):
    """Gives what was read from a file once more, and then the rest of the file."""

    def __init__(self, head: bytes, file: io.BufferedReader) -> None:
        self._head = head
        self._file = file

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as that is possible at once; 0 at the end."""
        if not self._head:
            return self._file.readinto1(buffer)
        given, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)


def _until_object(file: io.BufferedReader) -> bytes:
    """Read up to the line that begins an object, the end, or as much as is looked at."""
    head = bytearray()
    while len(head) < _BUFFER and (line := file.readline(_BUFFER)):
        head += line
        if _without_mark(line).startswith(b"{"):
            break
    return bytes(head)


def _without_mark(text: bytes) -> bytes:
    return text.removeprefix(b"\xef\xbb\xbf").lstrip()


def _check_text(head: bytes, name: str) -> None:
    other = next((what for mark, what in _OTHERS.items() if head.startswith(mark)), None)
    if other is not None:
        raise InputError(f"{name} holds no text of rows; it is {other}.")
    if b"\0" in head[:64]:
        raise InputError(f"{name} holds no text of rows; it is a binary file.")


def _check_json(head: bytes, name: str) -> None:
    """Refuse a file that cannot be JSON lines: of the lines seen, none begins as an object does."""
    lines = [line.strip() for line in head.split(b"\n")]
    if lines[0] == b"{":
        raise InputError(f"{name} holds an object over several lines. Give JSON lines, or a JSON array of objects.")
    if any(lines) and not any(line.startswith((b"{", b"\xef\xbb\xbf{")) for line in lines):
        first = lines[0][:60].decode("utf-8", "replace")
        raise InputError(
            f'{name} holds no JSON lines; it begins with {first!r}. Is it CSV? Then say input_format="csv".'
        )
