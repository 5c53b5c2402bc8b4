"""Write-only outputs such as pipes and standard output, from which no run can resume: every row is new."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import BinaryIO

from tinkex.bulk._input.claims import NoOutput


class Stream(NoOutput):
    """Writes rows to a binary stream as they come, and closes it in the end if it is `owned`."""

    def __init__(self, file: BinaryIO | io.RawIOBase, *, owned: bool = False) -> None:
        super().__init__()
        self.notes: list[str] = []
        self._file = file
        self._owned = owned

    def append(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Write lines completely; OSError where that fails, BrokenPipeError where the reader has closed the pipe."""
        data = memoryview(b"".join(line for _, line in lines))
        while data:
            data = data[self._file.write(data) or 0 :]
        self._file.flush()

    def put_in_order(self) -> None:
        """Do nothing: what is written cannot be sorted any more."""

    def close(self) -> None:
        """Close the stream, if it is owned."""
        if self._owned:
            self._file.close()
