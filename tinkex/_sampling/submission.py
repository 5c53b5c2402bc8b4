"""How a sample begins: what happens in the caller's thread, up to its place in line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from tinkex import _wire
from tinkex._runtime.task import DEADLINE, Job, Story
from tinkex._sampling.admission import Slot
from tinkex._sampling.sample import SampleStory
from tinkex.errors import SampleTimeoutError
from tinkex.types import SampleResponse

T = TypeVar("T")


def enter(
    machine: Any, story: SampleStory, finish: Callable[[SampleResponse], Any] | None, timeout: float, on_full: str
) -> Job:
    """Put a sample in line, with its deadline set; `finish`, if any, makes the result of the response.

    Raises QueueFullError, ClientClosedError or, where the queue stays full until the deadline, SampleTimeoutError.
    """
    future, admission = story.future, machine.admission
    deadline = machine.clock.monotonic() + timeout
    admission.reserve(on_full, deadline)
    tell = story.tell if finish is None else partial(_told, story, finish)
    job = Job(machine.jobs, tell, future, admission.dropped)
    job.on_deadline = _TooLate(story, timeout)
    future.on_cancel(job.interrupt)
    machine.waiter.call_at(deadline, job, DEADLINE)
    admission.offer(story.sampler.lane, job, _wire.estimate_bytes(story.request.prompt))
    return job


def _told(story: SampleStory, finish: Callable[[SampleResponse], T], slot: Slot) -> Story[T]:
    return finish((yield from story.tell(slot)))


class _TooLate:
    """Makes the error of a sample that has not ended by its deadline; smaller than a closure, of which many wait."""

    __slots__ = ("_story", "_timeout")

    def __init__(self, story: SampleStory, timeout: float) -> None:
        self._story = story
        self._timeout = timeout

    def __call__(self) -> SampleTimeoutError:
        story, timeout = self._story, self._timeout
        future = story.future
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
            last_failure=_last_failure(story),
            may_have_run=story.risked or future.request_id is not None or future.phase == "submitting",
        )


def _last_failure(story: SampleStory) -> str | None:
    """What went wrong last, with the sample itself or with the poller that it waits through."""
    poller = story.sampler.poller
    return (poller.last_failure if poller is not None else None) or story.future.last_failure
