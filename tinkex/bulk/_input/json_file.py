"""Readers of JSON: lines of objects, and one array of objects; both streamed."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import attrs

from tinkex._validation.strict_json import unique
from tinkex.bulk._input.rows import parse_row
from tinkex.bulk._input.task import LineId, Row

LONGEST_LINE: Final = 64 * 2**20
"""Bytes; a longer line is no row."""
_PIECE: Final = 2**16
_SPACE: Final = " \t\r\n"
_EXACT_FLOATS: Final = 2.0**53
_INTS: Final = frozenset({int})
_SPACED: Final = re.compile(rb'"[ \t\r]+:')


def json_lines(file: BinaryIO, tell: Callable[[int], None]) -> Iterator[Row]:
    """Yield a row for each line that is not empty; `tell` is called with the bytes read."""
    shape = "native"
    for row in _lines(file, tell):
        if row.problem is None or row.shape != "native":
            shape = row.shape
        # what cannot be read is meant to be like the line before
        yield row if row.shape == shape else attrs.evolve(row, shape=shape)


def _lines(file: BinaryIO, tell: Callable[[int], None]) -> Iterator[Row]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        tell(len(line))
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            tell(_skip_line(file))
            yield _broken(number, f"The line is longer than {LONGEST_LINE // 2**20} MiB.")
            continue
        line = line.removeprefix(codecs.BOM_UTF8)  # at the beginning of every file that was put together with others
        if line and not line.isspace():
            yield _parse_line(number, line)


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while piece := file.readline(2**20):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _parse_line(number: int, line: bytes) -> Row:
    data = None if _orjson is None else _flat(line)
    if data is not None:
        return parse_row(number, data)
    try:
        return parse_row(number, json.loads(line.decode(), object_pairs_hook=unique))
    except UnicodeDecodeError as error:
        problem = f"The line is not UTF-8: {error.reason} at byte {error.start}."
    except json.JSONDecodeError as error:
        problem = f"The line is not JSON: {error.msg} at column {error.colno}."
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits; brackets in brackets; a name twice
        problem = f"The line cannot be read as JSON: {error}."
    return _broken(number, problem)


def _flat(line: bytes) -> dict[str, Any] | None:
    """Parse a plain row quickly: text, numbers and token ids, each name once. None for any other, and for a broken one.

    Where orjson and Python's reader differ, as in whole numbers of more than 64 bits, it is another one.
    """
    try:
        data = _orjson.loads(line)
    except ValueError:
        return None
    if type(data) is not dict or line.count(b'":') != len(data) or _SPACED.search(line):
        return None
    for value in data.values():
        kind = type(value)
        if kind is float:
            if not -_EXACT_FLOATS < value < _EXACT_FLOATS:
                return None
        elif kind is list:
            if not value or set(map(type, value)) != _INTS:
                return None
        elif kind is dict:
            return None
    return data


def _broken(number: int, problem: str) -> Row:
    return Row(number, LineId(f"line {number}"), problem=problem)


def json_array(file: BinaryIO, tell: Callable[[], None]) -> Iterator[Row]:
    """Yield a row for each element of an array; where it is broken, an error row says so, and is the last."""
    with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        elements = _Elements(text, tell)
        try:
            for number, element in enumerate(elements, 1):
                wrong = isinstance(element, ValueError)
                yield _broken(number, f"The row cannot be read: {element}.") if wrong else parse_row(number, element)
        except (ValueError, RecursionError) as error:
            words = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            number = elements.count + 1
            yield _broken(number, f"The array cannot be read from element {number} on: {words}.")


class _Elements:
    """Iterates over the elements of a JSON array without holding more than one of them."""

    def __init__(self, text: io.TextIOWrapper, tell: Callable[[], None]) -> None:
        self._text = text
        self._tell = tell
        self._decoder = json.JSONDecoder(object_pairs_hook=unique)
        self._rest = ""  # read and not yet parsed
        self._ended = False
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        assert self._next_mark() == "["  # that is how the format was recognised
        if self._next_mark(take="]") == "]":
            return
        while True:
            yield self._element()
            mark = self._next_mark()
            if mark == "]":
                break
            if mark != ",":
                raise ValueError("a comma is missing" if mark else "the end is missing")
        if self._next_mark():
            raise ValueError("something follows the end of the array")

    def _next_mark(self, take: str = "") -> str:
        """Take the next character that is no space; with *take*, only if it is that one. Empty at the end."""
        while True:
            self._rest = self._rest.lstrip(_SPACE)
            if self._rest or not self._more(_PIECE):
                break
        mark = self._rest[:1]
        if not take or mark == take:
            self._rest = self._rest[1:]
        return mark

    def _element(self) -> Any:
        """Return the next element; one that can be told from its neighbours but not be used as the error it is."""
        self._rest = self._rest.lstrip(_SPACE)
        decoder, wrong = self._decoder, None
        while True:
            try:
                value, end = decoder.raw_decode(self._rest.lstrip(_SPACE))
            except json.JSONDecodeError:
                if len(self._rest) > LONGEST_LINE or not self._more(max(_PIECE, len(self._rest))):
                    raise
            except ValueError as error:  # a name twice, which does not keep from finding the end
                if wrong:
                    raise
                decoder, wrong = json.JSONDecoder(), error
            else:
                self._rest = self._rest.lstrip(_SPACE)[end:]
                self.count += 1
                return wrong or value

    def _more(self, size: int) -> bool:
        piece = self._text.read(size)
        self._tell()
        self._rest += piece
        return bool(piece)


try:
    import orjson as _orjson
except ModuleNotFoundError:
    _orjson = None  # type: ignore[assignment]
