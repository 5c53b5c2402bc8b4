"""Reader of files packed with bzip2 or xz that takes no broken part of them for their end, as Python's own does."""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable
from typing import Any, BinaryIO, Final

_PIECE: Final = 2**16


class UnpackError(ValueError):
    """What was packed is broken, or something else follows it."""


class Unpacked(io.RawIOBase):
    """Reads the streams that a packed file consists of, one after the other, as one."""

    def __init__(self, file: BinaryIO, new_decompressor: Callable[[], Any]) -> None:
        self._file = file
        self._new = new_decompressor
        self._stream: Any = new_decompressor()
        self._rest = b""  # read, and not yet given to a stream

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as that is possible at once; 0 at the end."""
        while True:
            if self._stream.eof:
                self._rest = (self._stream.unused_data + self._file.read(_PIECE)).lstrip(b"\0")  # padding
                if not self._rest:
                    return 0
                self._stream = self._new()
            if self._stream.needs_input and not self._rest:
                self._rest = self._file.read(_PIECE)
                if not self._rest:
                    raise EOFError("it ends too early")
            try:
                found = self._stream.decompress(self._rest, len(buffer))
            except (OSError, ValueError, lzma.LZMAError) as error:
                raise UnpackError(f"it is broken, or something else follows it ({error})") from None
            self._rest = b""
            if found:
                buffer[: len(found)] = found
                return len(found)
