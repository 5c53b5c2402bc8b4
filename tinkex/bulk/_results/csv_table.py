"""CSV outputs: written from results and read back; a line for each sequence or choice."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TextIO

from tinkex.bulk._results.lines import (
    LISTS,
    OF_A_ROW,
    OF_A_SEQUENCE,
    OF_CHOICES,
    RESERVED,
    Line,
    columns_of,
    lines_of,
    own_name,
)
from tinkex.bulk._results.result import Result, ResultSequence

_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("sequence", "sampled_tokens", "best", "best_by_mean", "answer"), int),
    **dict.fromkeys(("logprob", "mean_logprob", "prompt_logprob"), float),
    **dict.fromkeys(("correct", "correct_by_mean", "messages"), json.loads),
}

_QUOTED: Final = re.compile(r'[",\r\n]|\A\Z')  # an empty text is told by its quotes from a cell without a value
_CELL: Final = re.compile(r'(?:\A|,)("[^"]*(?:""[^"]*)*"|[^,]*)')
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_LONGEST_CELL: Final = 2**30  # characters; Python's own limit is for a text of 128 KiB


def write_csv(file: TextIO, results: Iterable[Result], *, escape_formulas: bool = False) -> None:
    """Write results, which are iterated over twice: the first time to find the columns.

    *escape_formulas* puts an apostrophe before text that a spreadsheet would compute, as spreadsheets themselves do.
    """
    escaped = _not_a_formula if escape_formulas else str
    lines = itertools.chain.from_iterable(map(lines_of, results))
    columns = [name for name in columns_of(lines) if name not in LISTS]
    file.write(",".join(_cell(escaped(name)) for name in columns) + "\r\n")
    for result in results:
        for line in lines_of(result):
            values = (line.get(name) for name in columns)
            cells = (_cell(escaped(value) if isinstance(value, str) else value) for value in values)
            file.write(",".join(cells) + "\r\n")


def read_csv(file: TextIO) -> Iterator[Result]:
    """Read what `write_csv` wrote: of log-probabilities it holds the sums, of the caller's columns the text.

    ValueError for a file that was not written by it.
    """
    csv.field_size_limit(_LONGEST_CELL)
    taken: list[str] = []  # the lines of the present row
    lines = csv.reader(taken.append(line) or line for line in file)  # type: ignore[func-returns-value]
    names = next(lines, [])
    texts = {at for at, name in enumerate(names) if name in ("text", "prompt") or name not in RESERVED}
    if not {"id", "model", "status", "sequence"} <= set(names):
        raise ValueError("not a CSV output of a batch: columns are missing")
    ahead: list[Line] = []
    taken.clear()
    for cells in filter(None, lines):
        empty = texts & _empty_texts("".join(taken).lstrip("\r\n"))
        taken.clear()
        line = {
            name: _READ.get(name, str)(cell)
            for at, (name, cell) in enumerate(zip(names, cells, strict=False))
            if cell or at in empty
        }
        if ahead and not line.get("sequence"):
            yield _result(ahead)
            ahead = []
        ahead.append(line)
    if ahead:
        yield _result(ahead)


def _result(lines: list[Line]) -> Result:
    row = {"id": "", **lines[0]}
    error = row.get("error")
    kind, _, message = (error or "").partition(": ")
    texts = [_sequence(line) for line in lines if "sequence" in line]
    sampled = "stop_reason" in row
    return Result(
        **{name: row[name] for name in (*OF_A_ROW, "prompt", "messages", *OF_CHOICES) if name in row},
        sequences=texts if sampled else (),
        choices=() if sampled else texts,
        error=error and {"type": kind, "message": message},
        extra={own_name(name): cell for name, cell in row.items() if name not in RESERVED},
    )


def _sequence(line: Line) -> ResultSequence:
    return ResultSequence(**{name: line.get(name) for name in OF_A_SEQUENCE}, length=line.get("sampled_tokens"))


def _empty_texts(row: str) -> set[int]:
    """Return which cells of a row hold an empty text, in quotes; an empty one without quotes holds no value."""
    if '""' not in row:
        return set()
    return {at for at, cell in enumerate(_CELL.findall(row)) if cell.strip() == '""'}


def _not_a_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _cell(value: Any) -> str:
    if isinstance(value, str):
        doubled = value.replace('"', '""')
        return f'"{doubled}"' if _QUOTED.search(value) else value
    if value != value:
        return "NaN"  # as Polars reads it, too
    return "" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)
