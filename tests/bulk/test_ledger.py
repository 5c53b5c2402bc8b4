"""The output file of a bulk run: whole rows, once each, whatever ended the run before."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.bulk._output.json_lines import encode_line
from tinkex.bulk._output.ledger import Ledger, Verdict
from tinkex.bulk._output.locked_file import OutputError

MARK = "00000000000000aa"


def line(id, *, status="ok", mark=MARK, tail="x"):
    """A row of the output, as far as the ledger looks at it."""
    return encode_line({"id": id, "model": "m", "fingerprint": mark, "status": status, "parameters": {}, "tail": tail})


def ids(path):
    """The ids of the rows in the file, all of which are whole."""
    return [json.loads(each)["id"] for each in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path):
    """Where the output goes."""
    return tmp_path / "out.jsonl"


def test_append_and_come_back(path):
    """What was appended is known the next time, by id, model and fingerprint."""
    with Ledger(path) as ledger:
        assert ledger.claim("a", "m", MARK) is Verdict.NEW
        ledger.append([(0, line("a"))])
        assert ids(path) == ["a"]  # before the close: it is in the file at once
    with Ledger(path) as ledger:
        assert ledger.claim("a", "m", MARK) is Verdict.DONE
        assert ledger.claim("a", "m", MARK) is Verdict.TWICE
        assert ledger.claim("a", "other", MARK) is Verdict.NEW
        assert ledger.claim(1, "m", MARK) is Verdict.NEW
        assert ledger.claim("1", "m", MARK) is Verdict.TWICE
        assert ledger.found("a", "m")["tail"] == "x"
    with Ledger(path) as ledger:
        assert ledger.claim("a", "m", "00000000000000ab") is Verdict.CHANGED


@pytest.mark.parametrize("id", ["\ud83e\udd8a", "\ud83e", "🦊"])
def test_ids_with_surrogates(path, id):
    """An id is known by what JSON makes of it, where two surrogates are one character."""
    for verdict in (Verdict.NEW, Verdict.DONE):
        with Ledger(path) as ledger:
            assert ledger.claim(id, "m", MARK) is verdict
            ledger.append([(0, line(id))])


@given(st.lists(st.integers(1, 200), min_size=1, max_size=6), st.data())
def test_cut_anywhere(tmp_path_factory, sizes, data):
    """Wherever a sudden end cuts the file, the whole rows before are kept and the torn one is new again."""
    path = tmp_path_factory.mktemp("cut") / "out.jsonl"
    rows = [line(number, tail="é" * size) for number, size in enumerate(sizes)]
    whole = b"".join(rows)
    at = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:at])
    kept = sum(len(b"".join(rows[: number + 1])) - 1 <= at for number in range(len(rows)))
    with Ledger(path) as ledger:
        found = [ledger.claim(number, "m", MARK) for number in range(len(rows))]
        assert found == [Verdict.DONE] * kept + [Verdict.NEW] * (len(rows) - kept)
        ledger.append([(number, rows[number]) for number in range(kept, len(rows))])
    assert path.read_bytes() == whole


def test_failed_and_damaged_rows_come_again(path):
    """Failed rows and what a power cut has blotted out leave the file when it is opened."""
    path.write_bytes(line("a") + line("b", status="error") + b"\0" * 40 + b"\n" + line("c"))
    with Ledger(path) as ledger:
        assert ids(path) == ["a", "c"]
        assert [ledger.claim(name, "m", MARK) for name in "abc"] == [Verdict.DONE, Verdict.NEW, Verdict.DONE]
        assert len(ledger.notes) == 2
        ledger.append([(1, line("b"))])
        ledger.put_in_order()
    assert ids(path) == ["a", "b", "c"]


def test_the_last_of_two_counts(path):
    """Where a run for other parameters was cut off, the later row stays."""
    path.write_bytes(line("a", tail="old") + line("b") + line("a", tail="new"))
    with Ledger(path):
        assert [json.loads(each)["tail"] for each in path.read_bytes().splitlines()] == ["x", "new"]


def test_put_in_order(path):
    """In the end rows stand as their tasks came; rows of other inputs stay, in front."""
    path.write_bytes(line("elsewhere"))
    path.chmod(0o640)
    with Ledger(path) as ledger:
        for name in "abc":
            ledger.claim(name, "m", MARK)
        ledger.append([(2, line("c")), (0, line("a"))])
        ledger.append([(1, line("b"))])
        ledger.put_in_order()
        assert ids(path) == ["elsewhere", "a", "b", "c"]
        ledger.claim("d", "m", MARK)
        ledger.append([(3, line("d"))])
    assert ids(path) == ["elsewhere", "a", "b", "c", "d"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in path.parent.iterdir()] == ["out.jsonl"]


def test_what_a_cut_off_rewrite_left_is_cleared(path):
    """A run that was killed while it rewrote the file leaves nothing behind once the next one has rewritten it."""
    path.write_bytes(line("a") + line("b", status="error"))
    path.with_name(".out.jsonl.new").write_bytes(line("a") * 1000)
    with Ledger(path):
        assert ids(path) == ["a"]
    assert [file.name for file in path.parent.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_in_the_way_of_a_rewrite_is_not_followed(path, link):
    """A link that bears the name of the rewritten file is replaced: what it points to stays as it is."""
    other = path.with_name("precious")
    other.write_bytes(b"as it was")
    path.write_bytes(line("a") + line("b", status="error"))
    link(other, path.with_name(".out.jsonl.new"))
    with Ledger(path):
        assert ids(path) == ["a"]
    assert other.read_bytes() == b"as it was"
    assert not path.is_symlink()


def test_a_folder_in_the_way_of_a_rewrite(path):
    """Where the rewritten file cannot be made, that is an error of the output, which stays as it is."""
    path.write_bytes(line("a") + line("b", status="error"))
    path.with_name(".out.jsonl.new").mkdir()
    with pytest.raises(OutputError, match="cannot be rewritten"):
        Ledger(path)
    assert ids(path) == ["a", "b"]


def test_nothing_to_do_changes_nothing(path):
    """A file that is complete and in order is left alone."""
    path.write_bytes(line("a") + line("b"))
    before = path.stat()
    with Ledger(path) as ledger:
        ledger.claim("a", "m", MARK)
        ledger.claim("b", "m", MARK)
        ledger.put_in_order()
    after = path.stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


@pytest.mark.parametrize("content", [b'{"prompt": "a"}\n', b"id,prompt\n1,a\n", b"torn, and not ours", b"\n"])
def test_other_files_are_left_alone(path, content):
    """A file that holds something else is refused, and not touched."""
    path.write_bytes(content)
    with pytest.raises(OutputError, match="does not hold results"):
        Ledger(path)
    assert path.read_bytes() == content


def test_locked(path):
    """Two writers of one file: the second is told so at once, also after the first has replaced the file."""
    with Ledger(path) as ledger:
        for number, name in enumerate("ba"):
            ledger.claim(name, "m", MARK)
            ledger.append([(number, line(name))])
        with pytest.raises(OutputError, match="another process"):
            Ledger(path)
        ledger._order.reverse()
        ledger.put_in_order()
        assert ids(path) == ["a", "b"]
        with pytest.raises(OutputError, match="another process"):
            Ledger(path)
    Ledger(path).close()


@pytest.mark.slow
def test_the_lock_ends_with_its_process(path):
    """A process that ends without a word leaves no lock behind."""
    script = f"import os; from tinkex.bulk._output.ledger import Ledger; Ledger({str(path)!r}); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    Ledger(path).close()


def test_full_disk(path, monkeypatch):
    """A full disk is an error that names the file, and leaves whole rows only."""
    write = os.write
    with Ledger(path) as ledger:
        ledger.claim("a", "m", MARK)
        ledger.append([(0, line("a"))])
        ledger.claim("b", "m", MARK)

        def no_room(fd, data):
            if len(data) > 10:
                return write(fd, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", no_room)
        with pytest.raises(OutputError, match=r"out\.jsonl.*No space left"):
            ledger.append([(1, line("b"))])
    assert ids(path) == ["a"]


def test_no_room_for_a_new_order(path, monkeypatch):
    """Where the new order cannot be written, the file stays as it is, and nothing else is left."""
    with Ledger(path) as ledger:
        for name in "ab":
            ledger.claim(name, "m", MARK)
        ledger.append([(1, line("b")), (0, line("a"))])
        monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(OutputError, match="cannot be rewritten"):
            ledger.put_in_order()
    assert ids(path) == ["b", "a"]
    assert [file.name for file in path.parent.iterdir()] == ["out.jsonl"]


def test_sync_follows_the_clock(path, monkeypatch):
    """The disk is waited for once in a while, and at the end."""

    class Hands:
        now = 0.0

        def monotonic(self):
            return self.now

        def wall(self):
            return self.now

    calls = []
    monkeypatch.setattr(os, "fsync", calls.append)
    clock = Hands()
    with Ledger(path, sync_seconds=1.0, clock=clock) as ledger:
        for number, now in enumerate([0.1, 0.2, 1.1, 1.2]):
            clock.now = now
            ledger.claim(number, "m", MARK)
            ledger.append([(number, line(number))])
        assert len(calls) == 1
    assert len(calls) == 2


def test_a_link_stays_a_link(tmp_path):
    """An output that is a symbolic link is followed, not replaced."""
    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    real.touch()
    link.symlink_to(real)
    with Ledger(link) as ledger:
        for name in "ab":
            ledger.claim(name, "m", MARK)
        ledger.append([(1, line("b")), (0, line("a"))])
        ledger.put_in_order()
    assert link.is_symlink()
    assert ids(real) == ["a", "b"]
