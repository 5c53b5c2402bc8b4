"""Loopback Tinker server in a child process: start, stop, and what it runs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tinkex._validation.arguments import check_count, check_port, check_seconds
from tinkex._validation.public_names import with_public_names
from tinkex.local.errors import LocalError
from tinkex.local.fetch import MODEL_NAME, Progress, fetch_model, find_model
from tinkex.local.log import warn_once
from tinkex.local.model.load_runtime import SLOWER, RuntimeName
from tinkex.local.report import SampleReport
from tinkex.local.server_process import KilledError, ServerProcess
from tinkex.local.tokenization.tokenizer import GgufTokenizer, load_tokenizer

_Identity = tuple[int, int]  # of a file: inode and time of change
_Early = tuple[ServerProcess, _Identity]


@with_public_names
class LocalServer:
    """A loopback Tinker server over a small real model, with no key and no network.

    The model is SmolLM2-135M-Instruct, downloaded on first use (98 MB), or a GGUF file of another Llama model with a
    byte-level vocabulary: the documentation lists what is read. The server runs in a process of its own, which ends
    with this one, however this one ends. Safe to share between threads; a child made by `os.fork` can use the server
    but never stops it.

    Use it as a context manager, or call `start` and `close`::

        with LocalServer() as server:
            service = tinkex.ServiceClient.direct(server.url)

    Args:
        gguf: A model file; None means the one `TINKEX_GGUF` names, or the fetched one.
        runtime: "ik" (prebuilt library), "numpy", or "auto": the first where it is installed and works.
        threads: Threads to compute with; None means one a core, up to 8.
        port: The port to listen on; 0 takes a free one.
        startup_timeout: Most seconds from the start of the process until it answers; the download does not count.
        progress: Called with the bytes that are here and in all while the model is downloaded; None shows them on
            stderr.
        on_sample: Called with the timing of each sample, one at a time, on a thread of the server's.
        cache_bytes: Most memory for prompts that later ones may begin with; None means 64 MiB, 0 keeps none.
        preload_tokenizer: Load the tokenizer while the server starts, rather than when it is asked for.
    """

    def __init__(
        self,
        gguf: str | Path | None = None,
        *,
        runtime: RuntimeName = "auto",
        threads: int | None = None,
        port: int = 0,
        startup_timeout: float = 60.0,
        progress: Progress | None = None,
        on_sample: Callable[[SampleReport], None] | None = None,
        cache_bytes: int | None = None,
        preload_tokenizer: bool = False,
    ) -> None:
        if cache_bytes is not None:
            check_count("cache_bytes", cache_bytes, 0)
        if threads is not None:
            check_count("threads", threads, 1)
        self._gguf = gguf
        self._runtime = runtime
        self._threads = threads
        self._port = check_port(port)
        self._startup_timeout = check_seconds("startup_timeout", startup_timeout)
        self._progress = progress
        self._on_sample = on_sample
        self._cache_bytes = cache_bytes
        self._preload_tokenizer = preload_tokenizer
        self._lock = threading.RLock()  # guards what follows, also while starting: others wait for the one start
        self._early: _Early | None = None
        self._child: ServerProcess | None = None
        self._closed = False
        self._tokenizer_lock = threading.Lock()  # guards _tokenizer, also while it is loaded
        self._tokenizer: GgufTokenizer | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Start the server and wait until it answers; does nothing when it runs.

        Args:
            wait: Whether to wait; else the first use does, which then raises what is wrong.

        Raises:
            LocalError: The model cannot be fetched, or the server did not start; the message ends with its stderr.
        """
        if wait:
            self._running()
        else:
            with self._lock:
                self._check_open()
                if self._child is None and self._early is None:
                    self._early = self._spawned_early()
        return self

    def _check_open(self) -> None:
        if self._closed:
            raise LocalError("The local server is closed.")

    def _running(self) -> ServerProcess:
        with self._lock:
            self._check_open()
            if self._child is None:
                early, self._early = self._early or self._spawned_early(), None
                self._child = self._started(early)
            self._child.check()
            return self._child

    def _spawned_early(self) -> _Early | None:
        """Start the process with the file that is here, before it is checked; None where there is none."""
        path = find_model(self._gguf, check=False)
        return None if path is None else (self._process(path, self._runtime), _identity(path))

    def _started(self, early: _Early | None) -> ServerProcess:
        """Check the file while the process starts; if it has to be fetched, the process is started anew."""
        child, seen = early or (None, None)
        try:
            path = fetch_model(self._gguf, self._progress)
            if child is not None and _identity(path) != seen:
                child.stop()
                child = None
        except BaseException:
            if child is not None:
                child.stop()
            raise
        if self._preload_tokenizer:
            threading.Thread(target=self._try_tokenizer, name="tinkex-local-tokenizer", daemon=True).start()
        try:
            child = child or self._process(path, self._runtime)
            child.wait(self._startup_timeout)
        except KilledError:
            if self._runtime != "auto":
                raise
            # The prebuilt library needs a recent processor, and dies on others.
            warn_once(f"{SLOWER} ik-llama-cpp-python does not run here.")
            child = self._process(path, "numpy")
            child.wait(self._startup_timeout)
        for text in child.ready["warnings"]:
            warn_once(text)
        return child

    def _process(self, path: Path, runtime: RuntimeName) -> ServerProcess:
        tell = self._on_sample
        on_line = None if tell is None else lambda line: tell(SampleReport(**line))
        return ServerProcess(self._command(path, runtime), on_line)

    def _command(self, path: Path, runtime: RuntimeName) -> list[str]:
        command = [sys.executable, "-m", "tinkex.local.serve", "--owned", "--gguf", str(path), "--runtime", runtime]
        if self._gguf is None and not os.environ.get("TINKEX_GGUF"):
            command += ["--model-name", MODEL_NAME]
        if self._threads is not None:
            command += ["--threads", str(self._threads)]
        if self._cache_bytes is not None:
            command += ["--cache-bytes", str(self._cache_bytes)]
        if self._on_sample is not None:
            command.append("--report")
        return [*command, "--port", str(self._port)]

    @property
    def url(self) -> str:
        """The server's base URL; starts it first where needed."""
        return str(self._running().ready["url"])

    @property
    def base_model(self) -> str:
        """The name of its one model, for `create_sampling_client`; starts the server first where needed."""
        return str(self._running().ready["base_model"])

    @property
    def runtime(self) -> str:
        """What computes, "ik" or "numpy"; starts the server first where needed."""
        return str(self._running().ready["runtime"])

    @property
    def pid(self) -> int:
        """The server's process; starts it first where needed."""
        return self._running().process.pid

    def get_tokenizer(self) -> GgufTokenizer:
        """The model's tokenizer, read from its file; needs no running server."""
        with self._tokenizer_lock:
            if self._tokenizer is None:
                self._tokenizer = load_tokenizer(fetch_model(self._gguf, self._progress))
            return self._tokenizer

    def _try_tokenizer(self) -> None:
        with contextlib.suppress(Exception):  # raised again to the caller that asks for it
            self.get_tokenizer()

    def close(self) -> None:
        """Stop the server. Can be called again; in a forked child it does nothing."""
        with self._lock:
            self._closed = True
            for child in (self._child, self._early and self._early[0]):
                if child is not None:
                    child.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _identity(path: Path) -> _Identity:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns
