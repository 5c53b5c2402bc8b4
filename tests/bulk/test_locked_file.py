"""The output file's lock: whose it is, when it ends, and what is said where there can be none."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import pathlib
import signal
import subprocess
import sys
import warnings

import pytest

from tinkex.bulk._output.locked_file import LockedFile, OutputError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    """Where the output goes."""
    return tmp_path / "out.jsonl"


@pytest.fixture
def forked():
    """Forks a child that does nothing until the end of the test, but keeps what it was born with."""
    reading, writing = os.pipe()
    children = []

    def fork():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads of the test run
            child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        children.append(child)
        return child

    yield fork
    os.close(writing)
    os.close(reading)
    for child in children:
        os.waitpid(child, 0)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_forked_child_does_not_keep_the_lock(path, forked, replaced, monkeypatch):
    """Closing ends the lock also where a child that was forked meanwhile still has the file open."""
    monkeypatch.setattr("tinkex.bulk._output.locked_file.LockedFile.forget", lambda self: None)  # one of two guards
    file = LockedFile(path)
    file.append(b"one\n", 0)
    forked()
    if replaced:
        file.replace([0])
    file.close()
    LockedFile(path).close()


def test_the_old_lock_ends_with_a_replacement(path, forked, monkeypatch):
    """What a replaced file was locked with is let go of, whatever a child still has open."""
    monkeypatch.setattr("tinkex.bulk._output.locked_file.LockedFile.forget", lambda self: None)
    file = LockedFile(path)
    file.append(b"one\n", 0)
    with path.open("rb") as old:
        forked()
        file.replace([0])
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.close()


@pytest.mark.slow
def test_children_of_a_killed_process_do_not_keep_the_lock(path):
    """When the process that writes is killed, a child it had forked does not hold the output."""
    script = f"""
import os, pathlib, sys, time
from tinkex.bulk._output.locked_file import LockedFile
file = LockedFile(pathlib.Path({str(path)!r}))
child = os.fork()
if child:
    os.write(1, b"%d" % child)
    os._exit(9)
os.close(1)
os.close(2)
time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, timeout=60, cwd=ROOT)
    try:
        assert ended.returncode == 9
        LockedFile(path).close()
    finally:
        os.kill(int(ended.stdout), signal.SIGKILL)


def test_a_child_cannot_write(path):
    """A forked child that goes on with its parent's file gets an error, and writes nothing."""
    file = LockedFile(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of the test run
        child = os.fork()
    if child == 0:
        try:
            file.append(b"row", 0)
        except OutputError as error:
            os._exit(0 if "forked" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file.close()
    assert path.read_bytes() == b""


def test_a_lock_that_fails(path, monkeypatch):
    """Whatever keeps a new file from being locked, it is not left behind, empty."""

    def failed(file, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", failed)
    with pytest.raises(OutputError, match=r"out\.jsonl cannot be used as output: Input/output error\.$"):
        LockedFile(path)
    assert not path.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(path, monkeypatch, number):
    """Where no file can be locked, the error names the file and what to do, and no empty file is left."""

    def refused(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(OutputError, match=r"out\.jsonl cannot .*no locks: put the output elsewhere"):
        LockedFile(path)
    assert not path.exists()
    path.write_bytes(b"")
    with pytest.raises(OutputError, match="no locks"):
        LockedFile(path)
    assert path.exists(), "it was there before"


def test_an_output_that_cannot_be_opened(tmp_path):
    """An output in a folder that is not there is an OutputError that names it."""
    with pytest.raises(OutputError, match=r"nowhere/out\.jsonl cannot be used as output: No such file"):
        LockedFile(tmp_path / "nowhere" / "out.jsonl")


@pytest.mark.usefixtures("only_new_garbage")
def test_the_lock_ends_with_its_object(path):
    """A file that is forgotten without being closed, as by Ctrl-C, does not stay locked."""
    forgotten = LockedFile(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del forgotten
        gc.collect()
    LockedFile(path).close()


def test_a_link_in_the_place_of_the_new_file_is_not_followed(path, tmp_path):
    """Rewriting touches no file that a link beside the output points to."""
    other = tmp_path / "other.txt"
    other.write_text("untouched")
    (tmp_path / ".out.jsonl.new").symlink_to(other)
    file = LockedFile(path)
    file.append(b"one\ntwo\n", 0)
    assert file.replace([4, 0]).tolist() == [0, 4, 8]
    file.append(b"three\n", 8)
    file.close()
    assert other.read_text() == "untouched"
    assert path.read_bytes() == b"two\none\nthree\n"
    assert not path.is_symlink()
