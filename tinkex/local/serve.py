"""Serves a model over HTTP on this machine: ``python -m tinkex.local.serve --gguf FILE``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web
from attrs import asdict, frozen

from tinkex._server import ServerOptions, make_app
from tinkex.local.engine import CACHE_BYTES, LocalEngine
from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.load_runtime import RuntimeName, load_runtime
from tinkex.local.prompt_cache import PromptCache
from tinkex.local.report import SampleReport
from tinkex.local.tokenization.vocabulary import Vocabulary

_BACKLOG = 1024
_ENGINE_THREADS = 32  # requests that are computed, or wait for one with the same prefix


@frozen
class Ready:
    """Readiness message of the server process: its URL, model and runtime."""

    url: str
    base_model: str
    runtime: str
    warnings: Sequence[str]


def load_engine(
    gguf: str | Path,
    model_name: str | None = None,
    runtime: RuntimeName = "auto",
    threads: int | None = None,
    on_sample: Callable[[SampleReport], None] | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> LocalEngine:
    """Load a GGUF file into an engine.

    Args:
        gguf: The file.
        model_name: What clients call the model; None means the file's name without its ending.
        runtime: "ik", "numpy" or "auto".
        threads: Threads to compute with; None leaves it to the runtime.
        on_sample: Called with the timing of each sample, on the thread that computed it.
        cache_bytes: Most memory for the prefix cache; 0 for none.

    Raises:
        LocalError: The file cannot be read or run.
    """
    model = read_gguf(gguf)
    loaded = load_runtime(model, runtime, threads)
    name, prompts = model_name or model.path.stem, PromptCache(cache_bytes)
    return LocalEngine(loaded, Vocabulary(model), name, model.context_length, on_sample, prompts)


def serve(engine: LocalEngine, on_ready: Callable[[Ready], None], *, host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve an engine until interrupted.

    Args:
        engine: Computes the answers.
        on_ready: Called once requests are accepted.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """
    listener = socket.create_server((host, port), backlog=_BACKLOG)
    asyncio.run(_serve(engine, listener, on_ready, host))


async def _serve(
    engine: LocalEngine, listener: socket.socket, on_ready: Callable[[Ready], None], listens_on: str
) -> None:
    options = ServerOptions(dynamic_config={"sample_cancel_enabled": True}, engine_threads=_ENGINE_THREADS)
    runner = web.AppRunner(make_app(engine, options, listens_on=listens_on), access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        host, port = listener.getsockname()[:2]
        on_ready(Ready(f"http://{host}:{port}", engine.model_name, engine.runtime.name, engine.runtime.warnings))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _exit_with_owner() -> None:
    """End this process at the end of file of its standard input, which comes when its owner ends."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="tinkex-owner-watch", daemon=True).start()


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tinkex.local.serve", description="Serve a model on this machine.")
    parser.add_argument("--gguf", required=True, help="the model file")
    parser.add_argument("--model-name", help="what clients call it")
    parser.add_argument("--runtime", choices=("auto", "ik", "numpy"), default="auto")
    parser.add_argument("--threads", type=int, help="threads to compute with")
    parser.add_argument("--cache-bytes", type=int, default=CACHE_BYTES, help="most memory for the prefix cache")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="print a line of JSON for each sample")
    parser.add_argument("--owned", action="store_true", help="end when standard input does")
    return parser.parse_args(arguments)


def _print_line(message: Ready | SampleReport) -> None:
    # In one piece, since samples end on several threads.
    print(f"{json.dumps(asdict(message))}\n", end="", flush=True)  # noqa: T201 - the lines that the owner waits for


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server that the arguments describe; prints one line of JSON once it can be used, then its reports."""
    options = _arguments(arguments)
    if options.owned:
        _exit_with_owner()
    try:
        on_sample = _print_line if options.report else None
        engine = load_engine(
            options.gguf, options.model_name, options.runtime, options.threads, on_sample, options.cache_bytes
        )
        serve(engine, _print_line, port=options.port)
    except (LocalError, ImportError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
