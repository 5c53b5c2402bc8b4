"""Laboratory of the checks: sends samples, within a budget, and keeps what came of each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import attrs

from tinkex.errors import APIResponseError, TinkexError
from tinkex.types import ModelInput, SampledSequence, SampleResponse, SamplingParams

AT_ONCE: Final = 16


class Waiting(Protocol):
    """Future of a sample, as far as the checks use it."""

    def result(self) -> SampleResponse:
        """Wait for the response."""


class Samples(Protocol):
    """Client that samples, as far as the checks use it: a `SamplingClient`, or a stand-in."""

    def sample(
        self,
        prompt: Any,
        sampling_params: SamplingParams,
        *,
        num_samples: int = 1,
        include_prompt_logprobs: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Begin to sample."""


@attrs.frozen
class Ask:
    """One sample to ask for."""

    prompt: tuple[int, ...]
    params: SamplingParams
    num_samples: int = 1
    scored: bool = False
    """Whether the prompt is scored."""


@attrs.frozen
class Trial:
    """What came of one sample: sequences, or an error."""

    ask: Ask
    sequences: tuple[SampledSequence, ...] = ()
    prompt_logprobs: tuple[float | None, ...] | None = None
    error: str | None = None

    @property
    def tokens(self) -> list[list[int]]:
        """The tokens of each sequence."""
        return [sequence.tokens for sequence in self.sequences]


class Lab:
    """Sender of the samples of a check run; counts what it sends, and keeps every answer."""

    def __init__(
        self,
        client: Samples,
        *,
        timeout: float | None = None,
        limit: float = math.inf,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.client = client
        self.clock = clock
        self._end = clock() + limit
        self.answers: list[Trial] = []
        self.requests: int = 0
        self.prompt_tokens: int = 0
        self.sampled_tokens: int = 0
        self._timeout = timeout

    def ask(self, asks: Iterable[Ask], client: Samples | None = None) -> list[Trial]:
        """Send samples, a few at once, and wait for all; a failed sample is an answer with an error."""
        todo, found = list(asks), list[Trial]()
        for begin in range(0, len(todo), AT_ONCE):
            part = todo[begin : begin + AT_ONCE]
            if self.clock() > self._end:
                found += [
                    Trial(each, error="the time for the whole check was over before this was asked") for each in part
                ]
                continue
            futures = [self._begin(each, client or self.client) for each in part]
            found += [self._answer(each, future) for each, future in zip(part, futures, strict=True)]
        self.answers += found
        return found

    def timed(self, ask: Ask, client: Samples) -> float | None:
        """Send one sample alone; the seconds that it took, None where it failed."""
        begun = self.clock()
        (answer,) = self.ask([ask], client)
        return None if answer.error is not None else self.clock() - begun

    def _begin(self, ask: Ask, client: Samples) -> Any:
        self.requests += 1
        self.prompt_tokens += len(ask.prompt)
        return client.sample(
            ModelInput.from_ints(ask.prompt), ask.params, num_samples=ask.num_samples,
            include_prompt_logprobs=ask.scored, timeout=self._timeout,
        )  # fmt: skip

    def _answer(self, ask: Ask, future: Any) -> Trial:
        try:
            response: SampleResponse = future.result()
        except TinkexError as error:
            if not isinstance(error, APIResponseError) or error.response is None:
                return Trial(ask, error=str(error))
            response = error.response  # what the client refuses is what the checks are to see
        self.sampled_tokens += sum(sequence.length for sequence in response.sequences)
        scores = response.prompt_logprobs
        return Trial(ask, response.sequences, None if scores is None else tuple(scores))


def problem(answers: Sequence[Trial]) -> str | None:
    """What the server said where every answer is an error, or there is none; else None."""
    if any(answer.error is None for answer in answers):
        return None
    return answers[0].error if answers else "nothing was asked"
