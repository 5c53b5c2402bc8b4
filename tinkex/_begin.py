"""How a sample begins: what happens in the caller's thread, up to its place in line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinkex import _wire
from tinkex._job import DEADLINE, Job, Story
from tinkex._machine import Machine
from tinkex._sample import SampleStory
from tinkex.errors import SampleTimeoutError
from tinkex.types import SampleResponse

T = TypeVar("T")


def enter(
    machine: Machine, story: SampleStory, finish: Callable[[SampleResponse], Any] | None, timeout: float, on_full: str
) -> Job:
    """Put a sample in line, with its deadline set; `finish`, if any, makes the result of the response.

    Raises QueueFullError, ClientClosedError or, where the queue stays full until the deadline, SampleTimeoutError.
    """
    future, admission = story.future, machine.admission
    deadline = machine.clock.monotonic() + timeout
    admission.reserve(on_full, deadline)
    job = Job(
        machine.jobs, story.tell if finish is None else lambda slot: _then(story.tell(slot), finish), future,
        admission.dropped,
    )  # fmt: skip
    job.on_deadline = lambda: _too_late(story, timeout)
    future.on_cancel(job.interrupt)
    machine.waiter.call_at(deadline, job, DEADLINE)
    admission.offer(story.sampler.lane, job, _wire.estimate_bytes(story.request.prompt))
    return job


def _then(story: Story[SampleResponse], finish: Callable[[SampleResponse], T]) -> Story[T]:
    return finish((yield from story))


def _too_late(story: SampleStory, timeout: float) -> SampleTimeoutError:
    future = story.future
    state = future.queue_state
    return SampleTimeoutError(
        f"The sample did not end within {timeout:g} s. Raise timeout=, or see in stats() what the service waits for.",
        phase=future.phase,
        request_id=future.request_id,
        last_status=future.last_status,
        attempts=future.attempts,
        queue_state=None if state is None else state.value,
        timeout=timeout,
        may_have_run=story.risked or future.request_id is not None or future.phase == "submitting",
    )
