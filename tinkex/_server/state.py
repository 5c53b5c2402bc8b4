"""In-memory state of a server: sessions, sampling sessions, samples and completion queues.

Everything here runs on the server's event loop; nothing is locked.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import OrderedDict, deque
from typing import Any

from attrs import define, field

from tinkex._server.engine import EngineError
from tinkex.types import Checkpoint, SampleResponse, TrainingRun

CLONE_BLOCK = 1_000_000_000


@define(eq=False)
class ServerSession:
    """Client session; `finished` is None while it is open, then the reason it was finished with."""

    session_id: str
    finished: str | None = None
    samplers: dict[int, str] = field(factory=dict)
    display_name: str | None = None
    user_metadata: dict[str, Any] = field(factory=dict)


@define(eq=False)
class ServerSampler:
    """Sampling session; `promises` maps each seq_id to the digest of its body and its request id."""

    sampling_session_id: str
    session_id: str | None
    model: str
    model_path: str | None = None
    clones: int = 0
    promises: dict[int, tuple[bytes, str]] = field(factory=dict)


@define(eq=False)
class PendingSample:
    """Accepted sample, from the promise until its result is acknowledged or evicted."""

    request_id: str
    queue: CompletionQueue
    sequence_ids: list[str]
    cancelled: threading.Event = field(factory=threading.Event)
    done: asyncio.Event = field(factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    response: SampleResponse | None = None
    error: EngineError | None = None
    value: dict[str, Any] | None = None
    expired: bool = False

    def cancel(self) -> None:
        """Stop computing; polls of the sample then answer that it failed."""
        self.cancelled.set()
        if self.task is not None:
            self.task.cancel()


@define(eq=False)
class CompletionQueue:
    """Completed samples of one clone of a sampling session, in order, until the poller acknowledges them."""

    cursor: int = 0
    events: deque[tuple[int, PendingSample]] = field(factory=deque)
    changed: asyncio.Event = field(factory=asyncio.Event)

    def add(self, pending: PendingSample) -> None:
        """Append a completed sample and wake the pollers."""
        self.cursor += 1
        self.events.append((self.cursor, pending))
        self.changed.set()

    def after(self, cursor: int) -> list[tuple[int, PendingSample]]:
        """Drop the events up to *cursor*; returns the later ones."""
        while self.events and self.events[0][0] <= cursor:
            self.events.popleft()
        return list(self.events)


@define(eq=False)
class ServerState:
    """Everything one server keeps between requests."""

    max_results: int
    sessions: dict[str, ServerSession] = field(factory=dict)
    samplers: dict[str, ServerSampler] = field(factory=dict)
    samples: dict[str, PendingSample] = field(factory=dict)
    queues: dict[tuple[str, int], CompletionQueue] = field(factory=dict)
    finished: OrderedDict[str, None] = field(factory=OrderedDict)
    tokens: dict[str, float] = field(factory=dict)
    running: int = 0
    training_runs: list[TrainingRun] = field(factory=list)
    checkpoints: list[Checkpoint] = field(factory=list)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def number(self) -> int:
        """Return the next number of a sequence that never repeats."""
        return next(self._numbers)

    def queue(self, sampling_session_id: str, clone: int) -> CompletionQueue:
        """Return the completion queue of one clone, created on first use."""
        key = (sampling_session_id, clone)
        if key not in self.queues:
            self.queues[key] = CompletionQueue(events=deque(maxlen=self.max_results))
        return self.queues[key]

    def add_sample(self, queue: CompletionQueue, sequences: int) -> PendingSample:
        """Register a sample that has not started."""
        request_id = str(self.number())
        names = [f"{request_id}-{index}" for index in range(sequences)]
        pending = self.samples[request_id] = PendingSample(request_id, queue, names)
        return pending

    def finish_sample(self, pending: PendingSample) -> None:
        """Publish the outcome of a sample, and evict the oldest finished ones above the bound."""
        pending.done.set()
        pending.queue.add(pending)
        self.finished[pending.request_id] = None
        while len(self.finished) > self.max_results:
            self.forget(next(iter(self.finished)))

    def expire(self, request_id: str | None = None) -> None:
        """Expire one result, or all of them: later polls answer 410."""
        for pending in list(self.samples.values()):
            if request_id in (None, pending.request_id):
                pending.expired = True
                pending.cancel()
                pending.done.set()

    def forget(self, request_id: str) -> None:
        """Remove a finished sample, as after an acknowledgement; unknown ids are ignored."""
        if request_id in self.finished:
            del self.finished[request_id], self.samples[request_id]
