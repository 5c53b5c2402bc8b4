"""A locked file of lines: appended to by one process at a time, and replaced atomically."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from tinkex.errors import TinkexError

_PIECE: Final = 2**20


class OutputError(TinkexError):
    """The output file cannot be written: locked by another process, not a file of results, or out of space."""


def create_file(path: pathlib.Path) -> int:
    """Create an empty file and open it for appending, in place of the file or link of that name.

    A link is removed, not followed: in a shared folder others may have put it there.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


class LockedFile:
    """A file of lines with an exclusive lock, held until it is closed or the process ends.

    Raises OutputError where another process has it, OSError where it cannot be opened.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        while True:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._lock(self._fd)
                if self._is_current():
                    return
            except BaseException:
                os.close(self._fd)
                raise
            os.close(self._fd)  # it was replaced in between

    def lines(self) -> Iterator[bytes]:
        """Iterate over the lines, each with its line end."""
        with self._path.open("rb", buffering=_PIECE) as file:
            yield from file

    def line_at(self, offset: int) -> bytes:
        """Read the line that begins at `offset`."""
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.readline()

    def append(self, data: bytes, size: int) -> None:
        """Append data, all of it or nothing: OutputError where that fails, and the file has its former `size`."""
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, size)
            raise OutputError(
                f"{self._path} cannot be written: {error.strerror}. The rows before are kept; run again to go on."
            ) from error

    def cut(self, size: int) -> None:
        """Truncate the file to `size` bytes."""
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """Flush the file to the disk (fsync)."""
        os.fsync(self._fd)

    def replace(self, offsets: Iterable[int]) -> array.array[int]:
        """Atomically rewrite the file with the lines at `offsets`, in that order; it stays as it was where that fails.

        Returns the new offsets, and the size.
        """
        new = self._path.with_name(f".{self._path.name}.new")  # one name: what a sudden end leaves is written over
        places, position, fd = array.array("q"), 0, -1
        try:
            fd = create_file(new)
            os.fchmod(fd, stat.S_IMODE(os.fstat(self._fd).st_mode))  # before anything is in it
            self._lock(fd)
            with self._path.open("rb", buffering=_PIECE) as old, open(fd, "wb", _PIECE, closefd=False) as file:
                for offset in offsets:
                    old.seek(offset)
                    line = old.readline()
                    places.append(position)
                    position += file.write(line)
            os.fsync(fd)
            os.replace(new, self._path)  # noqa: PTH105
        except BaseException as error:
            if fd >= 0:
                os.close(fd)
                new.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise OutputError(f"{self._path} cannot be rewritten: {error.strerror}. It stays as it was.") from error
            raise
        os.close(self._fd)
        self._fd = fd
        _sync_folder(self._path.parent)
        places.append(position)
        return places

    def close(self) -> None:
        """Release the file and its lock."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{self._path} is being written by another process. Wait for it, or choose another output."
            ) from None

    def _is_current(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        return False


def _sync_folder(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
