"""In-memory state of a server: sessions, sampling sessions, samples and completion queues, within a bound in bytes.

Everything here runs on the server's event loop; nothing is locked.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
from collections import OrderedDict
from typing import Any

from attrs import define, field

from tinkex._server.engine import EngineError
from tinkex._server.retention import ENTRY, EvictionQueue, response_size
from tinkex.types import Checkpoint, SampleResponse, TrainingRun

CLONE_BLOCK = 1_000_000_000
_MOST_TOKENS = 1000
#: Key of what belongs to no session: the sampler of requests that name none.
_NO_SESSION = ""


@define(eq=False)
class ServerSession:
    """Client session; `finished` is None while it is open, then the reason it was finished with."""

    session_id: str
    finished: str | None = None
    samplers: dict[int, str] = field(factory=dict)
    sampler_ids: list[str] = field(factory=list)
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
    queues: dict[int, CompletionQueue] = field(factory=dict)


@define(eq=False)
class PendingSample:
    """Accepted sample, from the promise until its result is acknowledged or evicted."""

    request_id: str
    queue: CompletionQueue
    sequences: int
    size: int
    cursor: int = 0
    cancelled: threading.Event = field(factory=threading.Event)
    done: asyncio.Event = field(factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    response: SampleResponse | None = None
    error: EngineError | None = None
    value: dict[str, Any] | None = None
    expired: bool = False

    @property
    def sequence_ids(self) -> list[str]:
        """The ids of its sequences."""
        return [f"{self.request_id}-{index}" for index in range(self.sequences)]

    def cancel(self) -> None:
        """Stop computing; polls of the sample then answer that it failed."""
        self.cancelled.set()
        if self.task is not None:
            self.task.cancel()


@define(eq=False)
class CompletionQueue:
    """Completed samples of one clone of a sampling session, in order, until the poller acknowledges them."""

    cursor: int = 0
    events: OrderedDict[int, PendingSample] = field(factory=OrderedDict)
    changed: asyncio.Event = field(factory=asyncio.Event)

    def add(self, pending: PendingSample) -> None:
        """Append a completed sample and wake the pollers."""
        self.cursor += 1
        pending.cursor = self.cursor
        self.events[self.cursor] = pending
        self.changed.set()

    def after(self, cursor: int) -> list[tuple[int, PendingSample]]:
        """Drop the events up to *cursor*; returns the later ones."""
        while self.events and next(iter(self.events)) <= cursor:
            self.events.popitem(last=False)
        return list(self.events.items())


@define(eq=False)
class ServerState:
    """Everything one server keeps between requests: at most `max_results` results, and about `max_bytes` in all.

    Half of the bytes are for running samples, which are refused beyond that, three eighths for results, and an eighth
    for sessions and the numbers their samples were submitted under; the oldest of these are evicted.
    """

    max_results: int
    max_bytes: int
    sessions: dict[str, ServerSession] = field(factory=dict)
    samplers: dict[str, ServerSampler] = field(factory=dict)
    samples: dict[str, PendingSample] = field(factory=dict)
    tokens: dict[str, float] = field(factory=dict)
    #: Part of the ids of sampling sessions: those of a server at the same address before this one are other ids.
    birth_mark: str = field(factory=lambda: secrets.token_hex(4))
    running: int = 0
    running_bytes: int = 0
    training_runs: list[TrainingRun] = field(factory=list)
    checkpoints: list[Checkpoint] = field(factory=list)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))
    _results: EvictionQueue[str] = field(init=False)
    _open: EvictionQueue[str] = field(init=False)
    _promised: EvictionQueue[tuple[str, int]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._results = EvictionQueue(self.max_bytes * 3 // 8, self._drop_result)
        self._open = EvictionQueue(self.max_bytes // 16, self._drop_session)
        self._promised = EvictionQueue(self.max_bytes // 16, self._drop_promise)

    @property
    def kept_bytes(self) -> int:
        """The estimated bytes of all that is kept."""
        return self.running_bytes + self._results.used + self._open.used + self._promised.used

    def number(self) -> int:
        """Return the next number of a sequence that never repeats."""
        return next(self._numbers)

    def add_session(self, session: ServerSession, size: int) -> None:
        """Keep a new session whose metadata takes *size* bytes."""
        self.sessions[session.session_id] = session
        self._open.add(session.session_id, ENTRY + size)

    def add_sampler(self, sampler: ServerSampler, size: int = 0) -> None:
        """Keep a new sampling session for as long as its session; its names take *size* bytes."""
        self.samplers[sampler.sampling_session_id] = sampler
        session = self.sessions.get(sampler.session_id or _NO_SESSION)
        if session is not None:
            session.sampler_ids.append(sampler.sampling_session_id)
        self._open.grow(sampler.session_id or _NO_SESSION, ENTRY + size)

    def touch(self, session_id: str) -> None:
        """Note that a session is in use."""
        self._open.touch(session_id)

    def add_token(self, token: str, expires: float) -> None:
        """Keep a token, in place of the oldest where there are many."""
        self.tokens[token] = expires
        while len(self.tokens) > _MOST_TOKENS:
            del self.tokens[next(iter(self.tokens))]

    def queue(self, sampler: ServerSampler, clone: int) -> CompletionQueue:
        """Return the completion queue of one clone, created on first use."""
        if clone not in sampler.queues:
            sampler.queues[clone] = CompletionQueue()
            self._open.grow(sampler.session_id or _NO_SESSION, ENTRY)
        return sampler.queues[clone]

    def has_room(self, size: int) -> bool:
        """Whether another sample of *size* bytes may run."""
        return self.running_bytes + size <= self.max_bytes // 2

    def add_sample(self, queue: CompletionQueue, sequences: int, size: int = 0) -> PendingSample:
        """Register a sample that has not started, whose request takes *size* bytes."""
        request_id = str(self.number())
        pending = self.samples[request_id] = PendingSample(request_id, queue, sequences, size)
        return pending

    def add_promise(self, sampler: ServerSampler, seq_id: int, digest: bytes, request_id: str) -> None:
        """Remember which request a seq_id stands for."""
        sampler.promises[seq_id] = (digest, request_id)
        self._promised.add((sampler.sampling_session_id, seq_id), ENTRY)

    def finish_sample(self, pending: PendingSample) -> None:
        """Publish the outcome of a sample, and evict the oldest finished ones above the bounds."""
        size = ENTRY if pending.response is None else response_size(pending.response)
        if size > self._results.limit:
            pending.response, size = None, ENTRY
            pending.error = EngineError("The result is larger than this server keeps: max_bytes.", 500, "server")
        pending.done.set()
        pending.queue.add(pending)
        self._results.add(pending.request_id, size)
        while len(self._results) > self.max_results:
            self._results.pop_oldest()

    def expire(self, request_id: str | None = None) -> None:
        """Expire one result, or all of them: later polls answer 410."""
        for pending in list(self.samples.values()):
            if request_id in (None, pending.request_id):
                pending.expired = True
                pending.cancel()
                pending.done.set()

    def forget(self, request_id: str) -> None:
        """Remove a finished sample, as after an acknowledgement; others are ignored."""
        if request_id in self._results:
            self._results.remove(request_id)
            self._drop_result(request_id)

    def _drop_result(self, request_id: str) -> None:
        pending = self.samples.pop(request_id)
        pending.queue.events.pop(pending.cursor, None)

    def _drop_session(self, session_id: str) -> None:
        session = self.sessions.pop(session_id, None)
        for name in [_NO_SESSION] if session is None else session.sampler_ids:
            sampler = self.samplers.get(name)
            if sampler is not None and (sampler.session_id or _NO_SESSION) == session_id:
                del self.samplers[name]

    def _drop_promise(self, key: tuple[str, int]) -> None:
        sampler = self.samplers.get(key[0])
        if sampler is not None:
            sampler.promises.pop(key[1], None)
