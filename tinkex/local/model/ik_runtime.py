"""Runtime over ik-llama-cpp-python, a prebuilt llama.cpp library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tinkex.local.model.cores import CoreBudget, usable_cores
from tinkex.local.model.gguf_file import GgufFile
from tinkex.local.model.hyperparameters import ROPE_FACTORS
from tinkex.local.model.ik_library import BATCH, LibraryContext, LibraryModel
from tinkex.local.model.runtime import MOST_SEQUENCES

_PROMPT = 0  # the library's number for the prompt; sequence i is i + 1
_SPARE_CELLS = 32
_MORE_SESSIONS = 2  # than threads: while one draws a token, another computes
_RECHECK = 0.1  # seconds between looks whether a waiting request was cancelled
_SMALLEST_CONTEXT = 512  # cells
_LARGEST_IDLE_CONTEXT = 1024  # cells
_IDLE_SECONDS = 10.0  # for which a context, 40 MB or more, is kept for the next session
# Threads of one computation wait for each other some hundred times; on less work than this for each of them (bytes of
# weights times tokens) that takes longer than one thread alone.
_WORK_OF_A_THREAD = 600e6
_IGNORES_FACTORS = (
    f"the prebuilt library computes without the tensor {ROPE_FACTORS}: log-probabilities are off, the more so the"
    ' longer the prompt is. runtime="numpy" computes with it.'
)


class IkRuntime:
    """Model loaded by the library, for the life of the process; sessions compute in parallel, on a core or more each.

    A session's logits do not depend on what others compute, nor on the number of threads, to the last bit.
    """

    name = "ik"
    prefill_chunk = BATCH

    def __init__(self, file: GgufFile, threads: int | None = None) -> None:
        ignored = ROPE_FACTORS in file.tensors
        self.warnings: Sequence[str] = [f"{file.path}: {_IGNORES_FACTORS}"] if ignored else []
        self.model: LibraryModel = LibraryModel(file)
        self.threads: int = threads or min(8, usable_cores())
        self.cores: CoreBudget = CoreBudget(self.threads)
        self._changed = threading.Condition()  # guards what follows
        # The first is made here, while the rest of the server starts.
        self._idle: list[LibraryContext] = [LibraryContext(self.model, _SMALLEST_CONTEXT, MOST_SEQUENCES + 1)]
        self._sessions = 0
        self._freeing: threading.Timer = self._free_later()

    def open(self, cells: int, sequences: int, check: Callable[[], None] = lambda: None) -> IkSession:
        """Start a session, in a context of an earlier one where one is large enough."""
        del sequences  # contexts are made for the most
        with self._changed:
            while self._sessions >= self.threads + _MORE_SESSIONS:
                check()
                self._changed.wait(_RECHECK)
            self._sessions += 1
            self._freeing.cancel()
            context = next((each for each in self._idle if each.cells >= cells + _SPARE_CELLS), None)
            if context is not None:
                self._idle.remove(context)
        try:
            size = max(_SMALLEST_CONTEXT, cells + _SPARE_CELLS)
            return IkSession(self, context or LibraryContext(self.model, size, MOST_SEQUENCES + 1))
        except BaseException:
            with self._changed:
                self._sessions -= 1
            raise

    def close(self, context: LibraryContext) -> None:
        """End a session: its context is kept for a later one, or freed; when none runs, one is kept for a while."""
        context.remove()
        with self._changed:
            self._sessions -= 1
            self._changed.notify()
            idle = [*self._idle, context]
            self._idle = [each for each in idle if each.cells <= _LARGEST_IDLE_CONTEXT][: max(1, self._sessions)]
            surplus = [each for each in idle if each not in self._idle]
            if not self._sessions:
                self._freeing = self._free_later()
        for each in surplus:
            each.free()

    def _free_later(self) -> threading.Timer:
        timer = threading.Timer(_IDLE_SECONDS, self.free_idle)
        timer.daemon = True
        timer.start()
        return timer

    def free_idle(self) -> None:
        """Free the contexts that are kept for later sessions, unless some run."""
        with self._changed:
            surplus, self._idle = ([], self._idle) if self._sessions else (self._idle, [])
        for each in surplus:
            each.free()


class IkSession:
    """A prompt and the sequences that continue it, in a context of the library's."""

    def __init__(self, runtime: IkRuntime, context: LibraryContext) -> None:
        self._runtime = runtime
        self._context: LibraryContext | None = context
        self._lengths = [0] * (MOST_SEQUENCES + 1)

    @property
    def _open(self) -> LibraryContext:
        assert self._context is not None, "the session is closed"
        return self._context

    def save(self, limit: int) -> NDArray[np.uint8] | None:
        """Copy the KV cache of the prompt."""
        return self._open.save(_PROMPT, limit)

    def restore(self, state: NDArray[np.uint8], length: int) -> None:
        """Begin the prompt with tokens of a saved one."""
        self._open.restore(state, _PROMPT)
        self._open.remove(_PROMPT, length)
        self._lengths[_PROMPT] = length

    def prefill(self, tokens: Sequence[int], first: int) -> NDArray[np.float32]:
        """Append tokens to the prompt."""
        return self._compute([(_PROMPT, token) for token in tokens], first)

    def branch(self, count: int) -> None:
        """Let sequences continue the prompt."""
        for sequence in range(1, MOST_SEQUENCES + 1):
            self._open.remove(sequence)
        for sequence in range(1, count + 1):
            self._open.copy(_PROMPT, sequence)
            self._lengths[sequence] = self._lengths[_PROMPT]

    def step(self, tokens: Mapping[int, int]) -> NDArray[np.float32]:
        """Append one token to each sequence."""
        return self._compute([(sequence + 1, token) for sequence, token in tokens.items()], 0)

    def _compute(self, items: Sequence[tuple[int, int]], first: int) -> NDArray[np.float32]:
        rows = np.empty((len(items) - first, self._runtime.model.tokens), np.float32)
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            skipped = min(max(first - start, 0), len(part))
            self._decode(part, skipped, rows[max(start - first, 0) :])
        return rows

    def _decode(self, items: Sequence[tuple[int, int]], first: int, rows: NDArray[np.float32]) -> None:
        """Decode tokens, and copy the logits after each from number *first* on into *rows*."""
        placed = []
        for sequence, token in items:
            placed.append((token, self._lengths[sequence], sequence))
            self._lengths[sequence] += 1
        work = len(items) * self._runtime.model.bytes
        with self._runtime.cores.take(1 + int(work / _WORK_OF_A_THREAD)) as threads:
            self._open.decode(placed, first, threads)
        for index in range(first, len(items)):
            rows[index - first] = self._open.logits(index)

    def close(self) -> None:
        """Give the context back; the session is not used again."""
        if self._context is not None:
            self._runtime.close(self._context)
            self._context = None
