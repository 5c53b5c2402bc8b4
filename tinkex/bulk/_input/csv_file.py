"""Reader of CSV: strict about quotes, so that a broken row is told of and takes none of the rows behind it."""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from tinkex.bulk._input import json_file
from tinkex.bulk._input.rows import PROMPTS, parse_row
from tinkex.bulk._input.task import InputError, LineId, Row


def csv_rows(file: BinaryIO, tell: Callable[[], None], delimiter: str = ",") -> Iterator[Row]:
    """Yield the rows of a file whose first line names the columns; `tell` is called as they are read.

    Raises InputError where the first line cannot be that of a file of prompts.
    """
    csv.field_size_limit(json_file.LONGEST_LINE)
    with io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        lines = _Lines(text)
        names = _names(lines, delimiter)
        number = 0
        while (found := _record(lines, delimiter)) is not None:
            tell()
            number += 1
            cells, problem = found
            yield _parse_cells(number, names, cells, problem)


class _Lines:
    """The lines of a file, of which those that a broken row has taken can be given back."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self.number = 0
        """How many lines were read."""
        self.taken: list[str] = []
        """The lines of the present row."""
        self._size = 0
        self.reader: Any = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        if not self.taken:
            line = line.removeprefix("\ufeff")  # at the beginning of every file that was put together with others
        self.number += 1
        self._size += len(line)
        if self._size > json_file.LONGEST_LINE:
            raise csv.Error(f"it is longer than {json_file.LONGEST_LINE // 2**20} MiB")
        self.taken.append(line)
        return line

    def begin(self) -> None:
        """Begin a row."""
        self.taken.clear()
        self._size = 0

    def give_back(self) -> None:
        """Have all lines of the present row but its first read again, as rows of their own."""
        self._again.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        self.reader = None


def _record(lines: _Lines, delimiter: str) -> tuple[Sequence[str], str | None] | None:
    """Return the cells of the next row and what is wrong with it; None at the end."""
    while True:
        lines.begin()
        if lines.reader is None:
            lines.reader = csv.reader(lines, strict=True, delimiter=delimiter)
        try:
            cells = next(lines.reader, None)
        except csv.Error as error:
            start = lines.number - len(lines.taken) + 1
            opened = start + _opened_at("".join(lines.taken), delimiter)
            problem = f"This is no CSV: {error} (the quote was opened in line {opened} of the file)."
            first = lines.taken[0] if lines.taken else ""
            lines.give_back()
            return next(csv.reader([first], delimiter=delimiter), []), problem
        if cells is None:
            return None
        if cells:  # not an empty line
            return cells, None


def _opened_at(text: str, delimiter: str) -> int:
    """Return in which line of a broken row its last quoted cell begins, from 0."""
    cell = re.compile(rf'(?:^|(?<=[{re.escape(delimiter)}\n\r]))"[^"]*(?:""[^"]*)*"?')
    last = 0
    for found in cell.finditer(text):
        last = found.start()
    return text.count("\n", 0, last)


def _names(lines: _Lines, delimiter: str) -> Sequence[str]:
    found = _record(lines, delimiter)
    if found is None:
        return ()
    names, problem = found
    known = {*PROMPTS, "body"} & set(names)
    if not known and names and names[0].lstrip().startswith("{"):
        raise InputError(
            f"The first line names no columns; it begins with {names[0][:60]!r}. Say input_format='jsonl'."
        )
    told = ", ".join(map(repr, names))
    if problem:
        raise InputError(f"The first line does not name columns. {problem}")
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        raise InputError(f"The column {twice[0]!r} comes twice: {told}. Give each a name of its own.")
    if not known:
        raise InputError(f"No column is called {', '.join(PROMPTS)}: the first line has {told[:300]}.")
    return names


def _parse_cells(number: int, names: Sequence[str], cells: Sequence[str], problem: str | None) -> Row:
    line = LineId(f"line {number}")
    row = dict(zip(names, cells, strict=False))
    if problem is None and len(cells) != len(names):
        problem = "The row has more or fewer cells than the first line has names."
        row = {}
    elif problem is None and cells == names:
        problem = "This is the line of names again: were two files put together?"
        row = {}
    if problem is not None:
        identity = row.get("custom_id") or row.get("id") or ""
        whole = identity.isprintable() and '"' not in identity and len(cells) > 1 and identity != cells[-1]
        return Row(number, identity if whole and identity else line, problem=problem)
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return Row(number, line, problem="The row is not UTF-8.")
    return parse_row(number, {name: value for name, value in row.items() if value != ""}, of_table=True)
