"""Scripted engine of the fake server; asynchronous, no thread a sample."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import cast

from tinkex._server import EngineError
from tinkex._validation.values import shown
from tinkex.testing._answers import answer_length, default_answer
from tinkex.testing._toy.texts import are_texts, text_answer
from tinkex.types import SampleRequest, SampleResponse, SupportedModel

_LONG_ANSWER = 20_000  # numbers; computed on a thread, as other blocking answers are
Answer = SampleResponse | str | Sequence[str]
Script = Callable[[SampleRequest], Answer | Awaitable[Answer]] | str | Sequence[str]
Answers = Script | Mapping[str, Script]
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

    async def sample_async(self, request: SampleRequest, *, model: str, weights: str | None) -> SampleResponse:
        """Answer one sample after its latency, and once `held` samples are released."""
        number = self.started
        self.started += 1
        failure = self.failures.popleft() if self.failures else None
        try:
            await self._wait(request, number)
            if failure is not None:
                raise failure
            answer = await self._answer(request, self._script_of(model, weights))
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
        scripts = answers if isinstance(answers, Mapping) else {"*": answers}
        self._scripts = {name: _checked(script) for name, script in scripts.items()}
        self._answers = answers

    def _script_of(self, model: str, weights: str | None) -> _Script:
        """The script of these weights, or else of their base model, or of all others."""
        for name in (weights, model, "*"):
            if name in self._scripts:
                return self._scripts[name]
        raise EngineError(f"answers names neither {weights or model} nor '*'", 404)

    async def _answer(self, request: SampleRequest, script: _Script) -> Answer:
        if not callable(script):
            return [next(script) for _ in range(request.num_samples)]
        if script is default_answer and answer_length(request) < _LONG_ANSWER:
            return default_answer(request)
        if inspect.iscoroutinefunction(script):
            answer: Answer = await script(request)
            return answer
        found = await asyncio.to_thread(script, request)
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


_Script = Callable[[SampleRequest], Answer | Awaitable[Answer]] | Iterator[str]
"""Script that was checked: texts come one after another, and then from the first again."""


def _checked(script: object) -> _Script:
    if callable(script):
        return script
    texts = [script] if isinstance(script, str) else script
    if not are_texts(texts) or not texts:
        raise TypeError(f"answers must be a function, a text, or a list of texts, got {shown(script)}")
    return itertools.cycle(cast("Sequence[str]", texts))
