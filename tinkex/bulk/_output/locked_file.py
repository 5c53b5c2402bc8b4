"""A locked file of lines: appended to by one process at a time, and replaced atomically."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import io
import os
import pathlib
import stat
import weakref
from collections.abc import Iterable, Iterator
from typing import Final

from tinkex.errors import TinkexError

_PIECE: Final = 2**20
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


class OutputError(TinkexError):
    """The output file cannot be written: locked by another process, not a file of results, or out of space."""


def create_file(path: pathlib.Path) -> io.FileIO:
    """Create an empty file and open it, in place of the file or link of that name.

    A link is removed, not followed: in a shared folder others may have put it there.
    """
    path.unlink(missing_ok=True)
    return io.FileIO(path, "x+")


class LockedFile:
    """A file of lines with an exclusive lock, held until it is closed, collected, or the process ends.

    Raises OutputError where it cannot be opened or locked. In a forked child it is closed.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._file: io.FileIO | None = None  # an object, so that the descriptor never outlives this one
        self._other: io.FileIO | None = None  # while it is replaced: the new one, and then the one before
        is_new = not path.exists()
        _open_files.add(self)
        try:
            while not self._is_current():  # it was replaced in between
                self._file = io.FileIO(path, "a+")
                _lock(self._file, path)
        except OSError as error:
            hint = ""
            if error.errno in _NO_LOCKS:
                hint = " Its file system has no locks: put the output elsewhere."
            if is_new and self._file is not None:
                path.unlink(missing_ok=True)
            self.close()
            raise OutputError(f"{path} cannot be used as output: {error.strerror}.{hint}") from error
        except BaseException:
            self.close()
            raise

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
        """Append lines to a file of that `size`; OutputError where that fails: it has then those that fitted."""
        fd, written = self._descriptor(), 0
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size + data.rfind(b"\n", 0, written) + 1)
            raise OutputError(
                f"{self._path} cannot be written: {error.strerror}. The rows before are kept; run again to go on."
            ) from error

    def cut(self, size: int) -> None:
        """Truncate the file to `size` bytes."""
        os.ftruncate(self._descriptor(), size)

    def sync(self) -> None:
        """Flush the file to the disk (fsync)."""
        os.fsync(self._descriptor())

    def replace(self, offsets: Iterable[int]) -> array.array[int]:
        """Atomically rewrite the file with the lines at `offsets`, in that order; it stays as it was where that fails.

        Returns the new offsets, and the size.
        """
        new = self._path.with_name(f".{self._path.name}.new")  # one name: what a sudden end leaves is cleared away
        file = None
        try:
            self._other = file = create_file(new)
            os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(self._descriptor()).st_mode))  # before anything is in it
            _lock(file, self._path)
            places = self._copy(offsets, file)
            os.fsync(file.fileno())
            os.replace(new, self._path)  # noqa: PTH105
        except BaseException as error:
            if file is not None:
                file.close()
                new.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise OutputError(f"{self._path} cannot be rewritten: {error.strerror}. It stays as it was.") from error
            raise
        self._file, self._other = file, self._file
        _release(self._other)
        _sync_folder(self._path.parent)
        return places

    def _copy(self, offsets: Iterable[int], file: io.FileIO) -> array.array[int]:
        """Write the lines at `offsets` to an empty file; returns where they begin in it, and its size."""
        places, position = array.array("q"), 0
        with self._path.open("rb", buffering=_PIECE) as old, open(file.fileno(), "wb", _PIECE, closefd=False) as new:
            for offset in offsets:
                old.seek(offset)
                places.append(position)
                position += new.write(old.readline())
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
        places.append(position)
        return places

    def close(self) -> None:
        """Release the file and its lock."""
        for file in (self._other, self._file):
            _release(file)

    def forget(self) -> None:
        """Close the descriptor without releasing the lock, which is the parent's: for the child side of a fork."""
        for file in (self._other, self._file):
            if file is not None:
                file.close()

    def _descriptor(self) -> int:
        if self._file is None or self._file.closed:
            raise OutputError(f"{self._path} was closed, or opened by the process that this one was forked from.")
        return self._file.fileno()

    def _is_current(self) -> bool:
        if self._file is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        return False


def _lock(file: io.FileIO, path: pathlib.Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"{path} is being written by another process. Wait for it, or choose another output."
        ) from None


def _release(file: io.FileIO | None) -> None:
    """Unlock and close: a lock belongs to the open file, which a child forked meanwhile may hold open, too."""
    if file is not None and not file.closed:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
        file.close()


def _sync_folder(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _close_in_child() -> None:
    for file in tuple(_open_files):
        file.forget()


_open_files: weakref.WeakSet[LockedFile] = weakref.WeakSet()
os.register_at_fork(after_in_child=_close_in_child)
