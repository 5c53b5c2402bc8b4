"""Output files as append-only ledgers: which rows are finished, and how more are added without losing one.

A row is appended with one write and is whole or torn; a torn one is cut off by the next run. The file never holds two
rows of one key, except while rows are sampled again for other parameters; then the last one counts.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock
from tinkex.bulk._input.claims import NoOutput, Verdict, key_of
from tinkex.bulk._input.task import LineId, RowId
from tinkex.bulk._output.locked_file import LockedFile, OutputError

_NOWHERE: Final = -1
_CUTS: Final = (b',"parameters":', b',"response":')  # all that matters here stands before; inside text it reads \"


class Ledger:
    """Append-only file of finished rows, indexed by id and model, from which an interrupted run resumes.

    `claim` and `append` may be called from two threads.

    Args:
        path: The file; created if it does not exist.
        sync_seconds: Longest time between two calls of fsync, for which a finished row may be in the system's memory
            only, where a power cut takes it; 0 syncs every write. The end of a program, however sudden, takes none.
        clock: Source of the time.
    """

    def __init__(self, path: str | os.PathLike[str], sync_seconds: float = 1.0, clock: Clock = SYSTEM_CLOCK) -> None:
        self.path = pathlib.Path(os.path.realpath(path))
        self.notes: list[str] = []
        """Repairs made when the file was opened, as sentences for the summary."""
        self.date: str | None = None
        """The date that prompts of rows in the file were made with; None where none was."""
        self._sync_seconds = sync_seconds
        self._clock = clock
        self._synced_at = clock.monotonic()
        self._unsynced = False
        self._known: dict[int, int] = {}  # key -> number; what follows is by number
        self._offsets = array.array("q")
        self._fingerprints = array.array("Q")
        self._claimed = bytearray()
        self._order = array.array("q")  # the numbers, as their tasks came
        self._rows = 0  # in the file, those that do not count any more included
        self._file = LockedFile(self.path)
        try:
            self._size = self._read()
        except BaseException:
            self._file.close()
            raise

    @property
    def is_empty(self) -> bool:
        """Whether the file has no rows."""
        return self._rows == 0

    def claim(self, id: RowId, model: str, fingerprint: str) -> Verdict:
        """Register a task, and tell its state before that. Its index is how many were claimed before it."""
        key, mark = key_of(id, model), int(fingerprint, 16)
        number = self._known.get(key)
        if number is None:
            number = self._add(key, _NOWHERE, mark)
            verdict = Verdict.NEW
        elif self._claimed[number]:
            return Verdict.TWICE
        elif self._offsets[number] == _NOWHERE:
            verdict = Verdict.NEW
        else:
            verdict = Verdict.DONE if self._fingerprints[number] == mark else Verdict.CHANGED
        self._claimed[number] = True
        self._order.append(number)
        return verdict

    def found(self, id: RowId, model: str) -> dict[str, Any]:
        """Return the row that the file holds."""
        found: dict[str, Any] = json.loads(self._file.line_at(self._offsets[self._known[key_of(id, model)]]))
        return found

    def append(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Append the lines of tasks, by their index: in the file when this returns, or OutputError is raised."""
        position, pieces = self._size, []
        for index, line in lines:
            self._offsets[self._order[index]] = position
            position += len(line)
            pieces.append(line)
        self._file.append(b"".join(pieces), self._size)
        self._size = position
        self._rows += len(pieces)
        self._unsynced = True
        if self._clock.monotonic() - self._synced_at >= self._sync_seconds:
            self.sync()

    def sync(self) -> None:
        """Flush the file to the disk (fsync)."""
        if self._unsynced:
            self._file.sync()
            self._synced_at = self._clock.monotonic()
            self._unsynced = False

    def put_in_order(self) -> None:
        """Sort the rows by the order of their tasks, unless they are; those of other tasks stay in front."""
        numbers = array.array("q", (number for number, claimed in enumerate(self._claimed) if not claimed))
        numbers.extend(self._order)
        kept = array.array("q", (number for number in numbers if self._offsets[number] != _NOWHERE))
        offsets = self._offsets
        if len(kept) != self._rows or any(offsets[a] > offsets[b] for a, b in itertools.pairwise(kept)):
            self._rewrite(kept)

    def close(self) -> None:
        """Release the file and its lock."""
        try:
            with contextlib.suppress(OSError):
                self.sync()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, key: int, offset: int, mark: int) -> int:
        self._known[key] = number = len(self._offsets)
        self._offsets.append(offset)
        self._fingerprints.append(mark)
        self._claimed.append(False)
        return number

    def _read(self) -> int:
        """Index the file, repair what a crash has left, drop failed rows, which are tried again; returns its size."""
        size = damaged = failed = 0
        for line in self._file.lines():
            head = _head(line)
            if head is None and not line.endswith(b"\n"):
                self._cut_torn(line, size)
                break
            if head is None and self._rows == 0:
                raise OutputError(f"{self.path} does not hold results of this kind. Choose another output.")
            self._rows += 1
            damaged += head is None
            failed += head is not None and head["status"] != "ok"
            if head is not None and head["status"] == "ok":
                key, mark = key_of(head["id"], head["model"]), int(head["fingerprint"], 16)
                number = self._known.get(key)
                number = self._add(key, size, mark) if number is None else number
                self._offsets[number], self._fingerprints[number] = size, mark
                self.date = self.date or head["date"]
            size += len(line)
            if not line.endswith(b"\n"):
                self._file.append(b"\n", size)
                size += 1
                break
        if damaged:
            self.notes.append(f"{damaged} damaged lines were taken out of the output; their rows are sampled again")
        if failed:
            self.notes.append(f"{failed} rows had failed and are tried again")
        kept = sorted(range(len(self._offsets)), key=self._offsets.__getitem__)
        return self._rewrite(kept) if len(kept) != self._rows else size

    def _cut_torn(self, line: bytes, start: int) -> None:
        if self._rows == 0 and not (_BEGINNING.startswith(line) or line.startswith(_BEGINNING)):
            raise OutputError(f"{self.path} does not hold results of this kind. Choose another output.")
        self._file.cut(start)
        self.notes.append("the last line of the output was torn; its row is sampled again")

    def _rewrite(self, numbers: Sequence[int]) -> int:
        """Rewrite the file with these rows only, in this order; returns its size."""
        places = self._file.replace(self._offsets[number] for number in numbers)
        for number, place in zip(numbers, places, strict=False):
            self._offsets[number] = place
        self._rows, self._size = len(numbers), places[-1]
        return self._size


class ReadOnlyLedger(NoOutput):
    """Claims against an output file that is neither locked nor repaired nor changed: for estimates."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._marks: dict[int, str] = {}
        if path.is_file():
            with path.open("rb", buffering=2**20) as file:
                for head in filter(None, map(_head, file)):
                    if head["status"] == "ok":
                        self._marks[key_of(head["id"], head["model"])] = head["fingerprint"]

    def claim(self, id: RowId, model: str, fingerprint: str) -> Verdict:
        """Register a task, and tell its state before that."""
        verdict = super().claim(id, model, fingerprint)
        done = verdict is Verdict.NEW and self._marks.get(key_of(id, model)) == fingerprint
        return Verdict.DONE if done else verdict


_BEGINNING: Final = b'{"id":'


def _head(line: bytes) -> dict[str, Any] | None:
    """Parse the first columns of a line without those of its tokens; None if it is no row, or torn."""
    cut = min((place for mark in _CUTS if (place := line.find(mark)) > 0), default=_NOWHERE)
    if cut == _NOWHERE or b"\0" in line or not line.rstrip().endswith(b"}"):
        return None
    try:
        head = json.loads(line[:cut] + b"}") if line.endswith(b"\n") else json.loads(line)
        int(head["fingerprint"], 16)
        identity = head.get("custom_id", head["id"])
        found = {
            "id": LineId(identity) if "line" in head else identity, **{name: head[name] for name in _NAMES}
        }  # fmt: skip
        return {**found, "date": head.get("date")}
    except (ValueError, KeyError, TypeError):
        return None


_NAMES: Final = ("model", "fingerprint", "status")
