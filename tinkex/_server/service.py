"""One server's parts, as its endpoints see them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web
from attrs import define, field

from tinkex._server.bodies import RefusedError
from tinkex._server.engine import AsyncEngine, Engine, EngineError
from tinkex._server.options import ServerOptions
from tinkex._server.state import Job, Sampler, Session, State
from tinkex.types import SampleRequest, SampleResponse


@define(eq=False)
class Service:
    """An engine, the options it is served with, and what has happened so far."""

    engine: Engine | AsyncEngine
    options: ServerOptions
    state: State
    threads: ThreadPoolExecutor = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        workers = self.options.engine_threads
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="tinkex-engine")

    def session(self, session_id: object) -> Session:
        """The open session of that id, or a 404 or 410."""
        session = self.state.sessions.get(str(session_id))
        if session is None:
            raise RefusedError(404, f"Session {session_id} does not exist.")
        if session.finished is not None:
            raise RefusedError(410, f"Session {session_id} has finished: {session.finished}.")
        return session

    def sampler(self, sampling_session_id: object) -> Sampler:
        """The sampling session of that id, or a 404."""
        sampler = self.state.samplers.get(str(sampling_session_id))
        if sampler is None:
            raise RefusedError(404, f"Sampling session {sampling_session_id} does not exist.")
        return sampler

    def start(self, job: Job, request: SampleRequest, model: str) -> None:
        """Compute a job's answer in the background."""
        self.state.running += 1
        job.task = asyncio.get_running_loop().create_task(self._run(job, request, model))
        self._tasks.add(job.task)
        job.task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job, request: SampleRequest, model: str) -> None:
        try:
            job.response = await self._answer(job, request, model)
        except EngineError as error:
            job.error = error
        except asyncio.CancelledError:
            job.error = EngineError("The sample was cancelled.")
        except Exception as error:  # noqa: BLE001  # the engine is anybody's code
            job.error = EngineError(f"The engine failed: {error!r}", 500, "server")
        finally:
            self.state.running -= 1
            self.state.finish_job(job)

    async def _answer(self, job: Job, request: SampleRequest, model: str) -> SampleResponse:
        if isinstance(self.engine, AsyncEngine):
            return await self.engine.sample_async(request, model=model)
        sample, loop = self.engine.sample, asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, lambda: sample(request, model=model, cancelled=job.cancelled))

    def close(self) -> None:
        """Cancel what still runs and let the threads go."""
        for job in self.state.jobs.values():
            job.cancel()
        self.threads.shutdown(wait=False, cancel_futures=True)


SERVICE: web.AppKey[Service] = web.AppKey("service", Service)


def digest(body: dict[str, Any]) -> bytes:
    """A short stand-in for a body: equal for equal JSON, whatever the order of its keys."""
    return hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).digest()
