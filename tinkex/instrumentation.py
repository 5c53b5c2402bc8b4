"""Instrumentation: what wants to know of each sample from its beginning to its end, such as traces and metrics.

`tinkex.otel` and `tinkex.prometheus` are built on it, and so may others be:

>>> class Slow(SampleObserver):
...     def ended(self, end):
...         if end.seconds > 60:
...             print("slow:", end.outcome)
>>> class SlowSamples:
...     def begin(self, start):
...         return Slow()
>>> slow_samples = SlowSamples()
>>> install(slow_samples)
>>> uninstall(slow_samples)

Nothing is paid for it while nothing is installed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

from tinkex._concurrency.instrumentation_list import PROCESS
from tinkex._validation.field_docs import with_field_docs
from tinkex.errors import APIStatusError
from tinkex.queue_state import QueueState

if TYPE_CHECKING:
    from tinkex.types import Health, SampleRequest, SampleResponse, ServiceStats


class InstrumentedService(Protocol):
    """A service as instrumentations see it; it can be told from others, and referred to weakly."""

    def stats(self) -> ServiceStats:
        """Statistics at this moment; never blocks."""

    def health(self) -> Health:
        """Health check; never blocks."""


@with_field_docs
@attrs.frozen(eq=False)
class SampleStarted:
    """Event of a sample that begins, in the thread and context of the caller."""

    request: SampleRequest
    """What is asked for."""
    base_model: str | None
    """The base model, as the client was created with it; None where it was not named."""
    model_path: str | None
    """The weights, "tinker://..."; None for a base model, and for a client of a session id."""
    base_url: str
    """The server."""
    sampling_session_id: str
    """The id of the sampling session that it goes to."""
    service: InstrumentedService
    """The service that samples, in this process."""

    @property
    def model(self) -> str | None:
        """What is sampled from: the weights, else the base model; None for a client of a session id."""
        return self.model_path or self.base_model


@with_field_docs
@attrs.frozen(eq=False)
class SampleRetry:
    """Event of a failure, or of an answer that asks for a pause, after which a sample goes on."""

    error: Exception
    """What the sample met."""
    phase: str
    """Where it was: "submitting", "waiting" or "fetching"."""
    attempt: int
    """The number of the submission, from 1 on."""
    delay: float
    """Seconds until it goes on, as far as that is known now."""
    pause: bool
    """Whether the server asked all samples to pause: nothing has failed."""


@with_field_docs
@attrs.frozen(eq=False)
class SampleEnded:
    """Event of the end of a sample: a response, an error, or neither where it was cancelled."""

    response: SampleResponse | None
    error: BaseException | None
    seconds: float
    """From the call to here."""
    attempts: int
    """How many times it was submitted."""

    @property
    def outcome(self) -> str:
        """The kind of its end: "completed", "failed" or "cancelled"."""
        if self.response is not None:
            return "completed"
        return "cancelled" if self.error is None else "failed"

    @property
    def error_type(self) -> str | None:
        """The kind of its error, as `error_type` has it, "CancelledError", or None where it has a response."""
        if self.error is not None:
            return error_type(self.error)
        return "CancelledError" if self.response is None else None


class SampleObserver:
    """Callback interface for one sample, whose methods do nothing: override those that are of use.

    They are called on threads of the client, one at a time, and must not block. An exception is logged and ignored.
    """

    headers: Mapping[str, str] = {}
    """Headers to send with the requests of this sample, such as `traceparent`; read once, after `begin`."""

    def retrying(self, event: SampleRetry) -> None:
        """Take note of a failure, or of a pause, after which the sample goes on."""

    def queue_changed(self, state: QueueState, reason: str | None) -> None:
        """Take note of what the server says of its queue, in its words."""

    def ended(self, end: SampleEnded) -> None:
        """Take note of the end: called once, before the future has its result.

        Not called in a forked child for a sample of its parent: there it goes on.
        """


class Instrumentation(Protocol):
    """Callback interface for the samples of a service, or of a process. Must be safe to share between threads."""

    def begin(self, start: SampleStarted) -> SampleObserver | None:
        """Return an observer of this sample, or None; called by `sample()`, in the caller's thread and context."""


fork_guard: threading.RLock = threading.RLock()
"""Lock that a fork waits for. Hold it, for lines, in calls of a library whose own locks do not survive a fork."""

os.register_at_fork(before=fork_guard.acquire, after_in_parent=fork_guard.release, after_in_child=fork_guard.release)


def install(instrumentation: Instrumentation) -> None:
    """Observe the samples that begin from now on: of every service of this process, and of children forked from it.

    `ServiceClient.install` does it for one service.
    """
    PROCESS.add(instrumentation)


def uninstall(instrumentation: Instrumentation) -> None:
    """Observe no more samples; those under way are observed to their end."""
    PROCESS.remove(instrumentation)


def error_type(error: BaseException) -> str:
    """The kind of an error, one of few: the HTTP status where it is a server's answer, else the name of its class.

    >>> error_type(TimeoutError("after 3 s"))
    'TimeoutError'
    """
    return str(error.status) if isinstance(error, APIStatusError) else type(error).__qualname__
