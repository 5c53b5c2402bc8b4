"""Scripted engine of the fake server; asynchronous, no thread a sample."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from tinkex._server import EngineError
from tinkex.testing._answers import answer_length, default_answer
from tinkex.types import SampleRequest, SampleResponse, SupportedModel

_LONG_ANSWER = 20_000  # numbers; computed on a thread, as other blocking answers are
Answers = Callable[[SampleRequest], SampleResponse | Awaitable[SampleResponse]]
Latency = float | Callable[[SampleRequest, int], float]


class ScriptedEngine:
    """Engine with scripted answers, latency and failures; runs on the server's event loop."""

    def __init__(self, models: Sequence[SupportedModel], answers: Answers, latency: Latency) -> None:
        self.models = models
        self.answers = answers
        self.latency = latency
        self.failures: deque[EngineError] = deque()
        self.held = False
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.started = 0
        self.cancelled = 0

    async def sample_async(self, request: SampleRequest, *, model: str) -> SampleResponse:
        """Answer one sample after its latency, and once `held` samples are released."""
        number = self.started
        self.started += 1
        failure = self.failures.popleft() if self.failures else None
        try:
            await self._wait(request, number)
            if failure is not None:
                raise failure
            return await self._answer(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _wait(self, request: SampleRequest, number: int) -> None:
        latency = self.latency(request, number) if callable(self.latency) else self.latency
        if latency > 0:
            await asyncio.sleep(latency)
        if self.held:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate

    async def _answer(self, request: SampleRequest) -> SampleResponse:
        answers = self.answers
        if answers is default_answer and answer_length(request) < _LONG_ANSWER:
            return default_answer(request)
        if inspect.iscoroutinefunction(answers):
            answer: SampleResponse = await answers(request)
            return answer
        found = await asyncio.to_thread(answers, request)
        return await found if inspect.isawaitable(found) else found

    def release(self, count: int | None) -> None:
        """Release the *count* oldest held samples; None releases all, and holds no more."""
        if count is None:
            self.held = False
        left = len(self.waiting) if count is None else count
        while self.waiting and left > 0:
            gate = self.waiting.popleft()
            if not gate.done():
                gate.set_result(None)
                left -= 1
