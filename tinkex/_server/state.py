"""What a server remembers: sessions, samplers, jobs, and who waits for which of them.

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
class Session:
    """One client session; `finished` holds the reason once it has one."""

    session_id: str
    finished: str | None = None
    samplers: dict[int, str] = field(factory=dict)
    display_name: str | None = None
    user_metadata: dict[str, Any] = field(factory=dict)


@define(eq=False)
class Sampler:
    """One sampling session, and what was asked of it under which seq_id."""

    sampling_session_id: str
    session_id: str | None
    model: str
    model_path: str | None = None
    clones: int = 0
    promises: dict[int, tuple[bytes, str]] = field(factory=dict)


@define(eq=False)
class Job:
    """One sample between promise and result."""

    request_id: str
    channel: Channel
    sequence_ids: list[str]
    cancelled: threading.Event = field(factory=threading.Event)
    done: asyncio.Event = field(factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    response: SampleResponse | None = None
    error: EngineError | None = None
    value: dict[str, Any] | None = None
    expired: bool = False

    def cancel(self) -> None:
        """Stop computing; whoever waits is told that the sample failed."""
        self.cancelled.set()
        if self.task is not None:
            self.task.cancel()


@define(eq=False)
class Channel:
    """The completions of one clone of one sampling session, in order, until acknowledged."""

    cursor: int = 0
    events: deque[tuple[int, Job]] = field(factory=deque)
    changed: asyncio.Event = field(factory=asyncio.Event)

    def add(self, job: Job) -> None:
        """Announce a finished job."""
        self.cursor += 1
        self.events.append((self.cursor, job))
        self.changed.set()

    def after(self, cursor: int) -> list[tuple[int, Job]]:
        """Forget the events up to *cursor*; what is left."""
        while self.events and self.events[0][0] <= cursor:
            self.events.popleft()
        return list(self.events)


@define(eq=False)
class State:
    """Everything one server knows."""

    max_results: int
    sessions: dict[str, Session] = field(factory=dict)
    samplers: dict[str, Sampler] = field(factory=dict)
    jobs: dict[str, Job] = field(factory=dict)
    channels: dict[tuple[str, int], Channel] = field(factory=dict)
    finished: OrderedDict[str, None] = field(factory=OrderedDict)
    tokens: dict[str, float] = field(factory=dict)
    running: int = 0
    training_runs: list[TrainingRun] = field(factory=list)
    checkpoints: list[Checkpoint] = field(factory=list)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def number(self) -> int:
        """The next number of a series that never repeats."""
        return next(self._numbers)

    def channel(self, sampling_session_id: str, clone: int) -> Channel:
        """The channel of one clone, made when first asked for."""
        key = (sampling_session_id, clone)
        if key not in self.channels:
            self.channels[key] = Channel(events=deque(maxlen=self.max_results))
        return self.channels[key]

    def add_job(self, channel: Channel, sequences: int) -> Job:
        """A new job that has not started."""
        request_id = str(self.number())
        names = [f"{request_id}-{index}" for index in range(sequences)]
        job = self.jobs[request_id] = Job(request_id, channel, names)
        return job

    def finish_job(self, job: Job) -> None:
        """Publish a job's result, and forget the oldest ones above the bound."""
        job.done.set()
        job.channel.add(job)
        self.finished[job.request_id] = None
        while len(self.finished) > self.max_results:
            self.forget(next(iter(self.finished)))

    def expire(self, request_id: str | None = None) -> None:
        """Lose one result, or all: whoever asks for it is told that it is gone."""
        for job in list(self.jobs.values()):
            if request_id in (None, job.request_id):
                job.expired = True
                job.cancel()
                job.done.set()

    def forget(self, request_id: str) -> None:
        """Drop a job, as after an acknowledgement; unknown ones are ignored."""
        if request_id in self.finished:
            del self.finished[request_id], self.jobs[request_id]
