"""Submission of a sample by the caller: a place in the bounded queue, a task with a deadline, the hand-over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from tinkex import _wire
from tinkex._runtime.task import DEADLINE, Coroutine, ScheduledTask
from tinkex._sampling.admission import SubmitPermit
from tinkex._sampling.sample import Sample
from tinkex.errors import SampleTimeoutError
from tinkex.types import SampleRequest, SampleResponse

T = TypeVar("T")


def submit(
    sample: Sample, finish: Callable[[SampleResponse], Any] | None, timeout: float, on_full: str
) -> ScheduledTask:
    """Queue a sample with its deadline set; `finish`, if any, makes the future's result of the response.

    Raises QueueFullError, ClientClosedError or, where the queue stays full until the deadline, SampleTimeoutError.
    """
    session, future = sample.session, sample.future
    context = session.context
    admission, scheduler = context.admission, context.scheduler
    deadline = context.clock.monotonic() + timeout
    run = sample.run if finish is None else partial(_finished, sample, finish)
    task = ScheduledTask(scheduler, run, future, admission.dropped)
    task.on_deadline = _DeadlineError(sample, timeout)
    future._on_cancel(task)  # noqa: SLF001
    try:
        admission.reserve(task, on_full, deadline)
        future._counters = context.counters  # noqa: SLF001
        scheduler.add(task)
        scheduler.reactor.call_at(deadline, task, DEADLINE)
        admission.offer(session.queue, task, _wire.estimate_bytes(sample.request.prompt))
    except BaseException as error:  # a Ctrl-C, too, at any of these lines
        future._refuse(error)  # noqa: SLF001
        task.cancel()
        raise
    return task


def _finished(sample: Sample, finish: Callable[[SampleResponse], T], permit: SubmitPermit) -> Coroutine[T]:
    return finish((yield from sample.run(permit)))


class _DeadlineError:
    """Factory of the error of a missed deadline; smaller than a closure, of which many wait."""

    __slots__ = ("_sample", "_timeout")

    def __init__(self, sample: Sample, timeout: float) -> None:
        self._sample = sample
        self._timeout = timeout

    def __call__(self) -> SampleTimeoutError:
        sample, timeout = self._sample, self._timeout
        future, poller = sample.future, sample.session.poller
        state = future.queue_state
        return SampleTimeoutError(
            f"The sample did not end within {timeout:g} s. Raise timeout=, or see in stats() what the service waits"
            " for.",
            phase=future.phase,
            request_id=future.request_id,
            last_status=future.last_status,
            attempts=future.attempts,
            queue_state=None if state is None else state.value,
            timeout=timeout,
            last_failure=(poller.last_failure if poller is not None else None) or future.last_failure,
            may_have_run=sample.may_have_run or future.request_id is not None or future.phase == "submitting",
        )


def check_context(request: SampleRequest, limit: int, model: str | None) -> None:
    """Refuse a prompt and an answer that do not fit together."""
    length = request.prompt.known_length
    wanted = request.sampling_params.max_tokens or 0
    if length is not None and length + wanted > limit:
        raise ValueError(
            f"max_tokens is too large: a prompt of {length} tokens and max_tokens={wanted} exceed {limit} tokens,"
            f" the context of {model}"
        )
