"""Scripted engine of the fake server; asynchronous, no thread a sample."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from tinkex._server import EngineError
from tinkex._validation.values import shown
from tinkex.testing._answers import answer_length, default_answer
from tinkex.testing._toy.texts import are_texts, text_answer
from tinkex.types import SampleRequest, SampleResponse, SupportedModel

_LONG_ANSWER = 20_000  # numbers; computed on a thread, as other blocking answers are
Answer = SampleResponse | str | Sequence[str]
Answers = Callable[[SampleRequest], Answer | Awaitable[Answer]] | str | Sequence[str]
Latency = float | Callable[[SampleRequest, int], float]


class ScriptedEngine:
    """Engine with scripted answers, latency and failures; runs on the server's event loop.

    `tokenizer_id` names the tokenizer of answers that are text; None: that of the model.
    """

    def __init__(
        self, models: Sequence[SupportedModel], answers: Answers, latency: Latency, tokenizer_id: str | None
    ) -> None:
        self.models = models
        self.answers = answers
        self.latency = latency
        self.tokenizer_id = tokenizer_id
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
            answer = await self._answer(request)
            if isinstance(answer, SampleResponse):
                return answer
            return await asyncio.to_thread(text_answer, request, answer, self.tokenizer_id or model)
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

    @property
    def answers(self) -> Answers:
        """What the answers are, or what computes them."""
        return self._answers

    @answers.setter
    def answers(self, answers: Answers) -> None:
        if not callable(answers):
            texts = [answers] if isinstance(answers, str) else answers
            if not are_texts(texts) or not texts:
                raise TypeError(f"answers must be a function, a text, or a list of texts, got {shown(answers)}")
            self._texts = itertools.cycle(list(texts))
        self._answers = answers

    async def _answer(self, request: SampleRequest) -> Answer:
        answers = self.answers
        if not callable(answers):
            return [next(self._texts) for _ in range(request.num_samples)]
        if answers is default_answer and answer_length(request) < _LONG_ANSWER:
            return default_answer(request)
        if inspect.iscoroutinefunction(answers):
            answer: Answer = await answers(request)
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
