"""Prefix cache: KV caches of the last prompts, bounded in bytes, for prompts that begin with the same tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from tinkex.local.model.runtime import KVState

Usable = Callable[[NDArray[np.float64], int], int]
"""How many tokens of a prefix a request can take from the cache, by its known log-probabilities and its length."""

# A saved prompt is restored whole, in a thousandth of the time that it took to compute. So one token of it can be worth
# it; but for less than a part of 64 the session would need many more cells than the request.
_LARGEST_WASTE = 64
_WORTH_WAITING = 4  # tokens, in which a request that waits for another makes good the time that it waits
_WORTH_KEEPING = 16  # new tokens, with which a copy of the whole prompt is kept; of a short one, more than half
_RECHECK = 0.1  # seconds between looks whether a waiting request was cancelled


@frozen(eq=False)
class CachedPrompt:
    """A prompt that was computed: its tokens, the log-probabilities that are known of them (else NaN), its KV cache."""

    tokens: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    state: KVState

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.tokens.nbytes + self.logprobs.nbytes + self.state.nbytes


@frozen(eq=False)
class PrefixHit:
    """What a request takes from the cache: the first *length* tokens of a prompt; None and zero for nothing."""

    prompt: CachedPrompt | None = None
    length: int = 0


@define(eq=False)
class _Running:
    tokens: NDArray[np.int64]
    expected: NDArray[np.float64]


class PromptCache:
    """Least-recently-used cache of prompts; requests with the same prefix compute it once, one waiting for the other.

    Safe to share between threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()  # guards what follows
        self._prompts: list[CachedPrompt] = []  # the one used last at the end
        self._running: list[_Running] = []

    @contextmanager
    def computing(
        self, tokens: NDArray[np.int64], expected: NDArray[np.float64], usable: Usable, check: Callable[[], None]
    ) -> Iterator[PrefixHit]:
        """Find the longest prefix, and hold off requests that share most of this prompt while it is computed.

        Args:
            tokens: The prompt.
            expected: Its log-probabilities as far as they will be known; any number for one that will be, else NaN.
            usable: How much of a prefix the request can take.
            check: Called now and then while waiting; what it raises ends the wait.
        """
        running = _Running(tokens, expected)
        with self._changed:
            while self._max_bytes and (hit := self._best(tokens, usable)).length + _WORTH_WAITING <= self._coming(
                tokens, usable
            ):
                check()
                self._changed.wait(_RECHECK)
            hit = self._best(tokens, usable)
            if hit.prompt is not None:
                self._prompts.remove(hit.prompt)
                self._prompts.append(hit.prompt)
            self._running.append(running)
        try:
            yield hit
        finally:
            with self._changed:
                self._running.remove(running)
                self._changed.notify_all()

    def _best(self, tokens: NDArray[np.int64], usable: Usable) -> PrefixHit:
        best = PrefixHit()
        for prompt in self._prompts:
            length = usable(prompt.logprobs, _common(prompt.tokens, tokens))
            if length > best.length and length >= len(prompt.tokens) // _LARGEST_WASTE:
                best = PrefixHit(prompt, length)
        return best

    def _coming(self, tokens: NDArray[np.int64], usable: Usable) -> int:
        """The longest prefix that will be there soon: of prompts of which it is at least half."""
        shared = [(each, _common(each.tokens, tokens)) for each in self._running]
        return max((usable(each.expected, n) for each, n in shared if 2 * n >= len(each.tokens)), default=0)

    def add(
        self,
        tokens: NDArray[np.int64],
        logprobs: NDArray[np.float64],
        hit: PrefixHit,
        save: Callable[[int], KVState | None],
    ) -> None:
        """Keep a prompt that was computed, unless little of it is new."""
        new = len(tokens) - hit.length
        if (new < _WORTH_KEEPING and 2 * new <= len(tokens)) or not self._max_bytes:
            return
        state = save(self._max_bytes)
        if state is None:
            return
        prompt = CachedPrompt(tokens, logprobs.copy(), state)
        with self._changed:
            self._prompts.append(prompt)
            total = sum(each.nbytes for each in self._prompts)
            while total > self._max_bytes:
                total -= self._prompts.pop(0).nbytes


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """The length of the longest common prefix."""
    shorter = min(len(one), len(other))
    different = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(different[0]) if len(different) else shorter
