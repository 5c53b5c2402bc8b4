"""HTTP server over a local engine, on the loopback interface."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from aiohttp import web
from attrs import frozen

from tinkex._server import ServerOptions, make_app
from tinkex.local.engine import CACHE_BYTES, LocalEngine
from tinkex.local.model.gguf_file import GgufFile
from tinkex.local.model.runtime import Runtime
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


def make_engine(
    model: GgufFile,
    runtime: Runtime,
    model_name: str | None = None,
    on_sample: Callable[[SampleReport], None] | None = None,
    cache_bytes: int | None = None,
) -> LocalEngine:
    """Make the engine of a model that is loaded.

    Args:
        model: The file.
        runtime: What computes.
        model_name: What clients call the model; None means the file's name without its ending.
        on_sample: Called with the timing of each sample, on the thread that computed it.
        cache_bytes: Most memory for the prefix cache; None means 64 MiB, 0 keeps nothing.

    Raises:
        LocalError: The file's vocabulary cannot be read.
    """
    name = model_name or model.path.stem
    prompts = PromptCache(CACHE_BYTES if cache_bytes is None else cache_bytes)
    return LocalEngine(runtime, Vocabulary(model), name, model.context_length, on_sample, prompts)


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
