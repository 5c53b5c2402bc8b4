"""Request-independent state of a running server: engine, options, sessions and running samples."""

from __future__ import annotations

import asyncio
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web
from attrs import define, field

from tinkex._server.bodies import RequestRefusedError
from tinkex._server.engine import AsyncEngine, BlockingEngine, EngineError
from tinkex._server.options import ServerOptions
from tinkex._server.state import PendingSample, ServerSampler, ServerSession, ServerState
from tinkex.types import SampleRequest, SampleResponse


@define(eq=False)
class Service:
    """Engine, options and state of one server, shared by its route handlers."""

    engine: BlockingEngine | AsyncEngine
    options: ServerOptions
    state: ServerState
    threads: ThreadPoolExecutor = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        workers = self.options.engine_threads
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="tinkex-engine")

    def session(self, session_id: object) -> ServerSession:
        """Look up an open session; raises 404 for an unknown one and 410 for a finished one."""
        session = self.state.sessions.get(str(session_id))
        if session is None:
            raise RequestRefusedError(404, f"Session {session_id} does not exist.")
        if session.finished is not None:
            raise RequestRefusedError(410, f"Session {session_id} has finished: {session.finished}.")
        self.state.touch(session.session_id)
        return session

    def sampler(self, sampling_session_id: object) -> ServerSampler:
        """Look up a sampling session; raises 404 for an unknown one."""
        sampler = self.state.samplers.get(str(sampling_session_id))
        if sampler is None:
            raise RequestRefusedError(404, f"Sampling session {sampling_session_id} does not exist.")
        return sampler

    def start(self, pending: PendingSample, request: SampleRequest, sampler: ServerSampler) -> None:
        """Start computing a sample in the background."""
        self.state.running += 1
        self.state.running_bytes += pending.size
        pending.task = asyncio.get_running_loop().create_task(self._run(pending, request, sampler))
        self._tasks.add(pending.task)
        pending.task.add_done_callback(self._tasks.discard)

    async def _run(self, pending: PendingSample, request: SampleRequest, sampler: ServerSampler) -> None:
        try:
            pending.response = await self._answer(pending, request, sampler)
        except EngineError as error:
            pending.error = error
        except asyncio.CancelledError:
            pending.error = EngineError("The sample was cancelled.")
        except Exception as error:  # noqa: BLE001  # engines are third-party code
            pending.error = EngineError(f"The engine failed: {error!r}", 500, "server")
        finally:
            self.state.running -= 1
            self.state.running_bytes -= pending.size
            self.state.finish_sample(pending)

    async def _answer(self, pending: PendingSample, request: SampleRequest, sampler: ServerSampler) -> SampleResponse:
        if isinstance(self.engine, AsyncEngine):
            return await self.engine.sample_async(request, model=sampler.model, weights=sampler.model_path)
        sample, loop = self.engine.sample, asyncio.get_running_loop()
        return await loop.run_in_executor(
            self.threads, lambda: sample(request, model=sampler.model, cancelled=pending.cancelled)
        )

    def close(self) -> None:
        """Cancel running samples and shut the thread pool down without waiting."""
        for pending in self.state.samples.values():
            pending.cancel()
        self.threads.shutdown(wait=False, cancel_futures=True)


SERVICE: web.AppKey[Service] = web.AppKey("service", Service)


def digest(body: dict[str, Any]) -> bytes:
    """Hash a JSON object independently of the order of its keys."""
    return hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).digest()
