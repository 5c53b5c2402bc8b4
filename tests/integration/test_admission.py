from __future__ import annotations

import random
import threading
from collections import Counter
from functools import partial

import pytest
from admitting import Samples
from stepping import at_once, real_jobs, until

from tinkex._runtime.task import ScheduledTask
from tinkex._sampling.admission import Admission, ClientQueue, ReacquirePermit
from tinkex.errors import ClientClosedError, QueueFullError, SampleTimeoutError
from tinkex.future import ClientFuture
from tinkex.testing import ManualClock


@pytest.fixture
def blocked():
    """A full queue with callers blocked before it, by a clock that stands still."""
    samples = Samples(queued=1)
    samples.offer("first")
    return samples


def block(samples, outcomes, count, until_then=float("inf")):
    """Callers that wait for room, and note how that ended."""

    def call():
        outcomes.append(_reserve(samples, until_then))

    threads = [threading.Thread(target=call, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    until(lambda: len(samples.admission._blocked) == count)
    return threads


def test_blocked_callers_get_in_one_by_one(blocked):
    """More callers than places: each place that is freed lets exactly one in, to the last."""
    outcomes = []
    threads = block(blocked, outcomes, 5)
    for number in range(5):
        assert len(outcomes) == number
        blocked.admission.dropped(next(iter(blocked.admission._places)))
        until(lambda: len(outcomes) == number + 1)  # noqa: B023 - it runs within the round
        with pytest.raises(QueueFullError):
            blocked.offer("no")
    for thread in threads:
        thread.join(10)
    assert outcomes == [None] * 5


def test_refused_callers_let_nobody_in(blocked):
    """A call that is refused neither takes a place nor makes one."""
    outcomes = []
    block(blocked, outcomes, 2)
    for _ in range(20):
        with pytest.raises(QueueFullError):
            blocked.offer("no")
    assert outcomes == []
    blocked.admission.close()
    until(lambda: len(outcomes) == 2)
    assert outcomes == [ClientClosedError] * 2


def test_blocked_until_the_deadline(blocked):
    """A caller is blocked until its own deadline; those with more time, or without one, go on waiting."""
    soon, late = [], []
    block(blocked, late, 1)
    threading.Thread(target=lambda: soon.append(_reserve(blocked, 5.0)), daemon=True).start()
    until(lambda: len(blocked.admission._blocked) == 2)
    threading.Thread(target=lambda: late.append(_reserve(blocked, 9.0)), daemon=True).start()
    until(lambda: len(blocked.admission._blocked) == 3)
    blocked.steps.clock.advance(5.0)
    until(lambda: soon == [SampleTimeoutError])
    until(lambda: len(blocked.admission._blocked) == 2)
    blocked.steps.clock.advance(4.0)
    until(lambda: late == [SampleTimeoutError])
    blocked.admission.close()
    until(lambda: len(late) == 2)


def _reserve(samples, until_then):
    try:
        samples.offer("blocked", on_full="block", until=until_then)
    except (SampleTimeoutError, ClientClosedError) as error:
        return type(error)
    return None


class Traffic:
    """Samples of several clients on real threads, with refusals, pauses and cancels."""

    def __init__(self, scheduler, clock):
        self.scheduler = scheduler
        self.clock = clock
        self.admission = Admission(scheduler, clock, lambda: (20, 30, 1000))
        self.queues = [ClientQueue() for _ in range(3)]
        self.futures, self.begun = [], []
        self.most_in_flight = 0

    def coroutine(self, number, permit):
        self.begun.append(number)
        self.most_in_flight = max(self.most_in_flight, self.admission.in_flight)
        try:
            for _ in range(number % 3):
                permit.release()
                permit = yield ReacquirePermit(self.admission, 100)
        finally:
            permit.release()
            self.admission.ended()

    def offer(self, queue, count=150):
        for number in range(count):
            future = ClientFuture(None)
            task = ScheduledTask(
                self.scheduler, partial(self.coroutine, (number * 3) + queue), future, self.admission.dropped
            )
            future._on_cancel(task)
            self.admission.reserve(task, "block", float("inf"))
            self.scheduler.add(task)
            self.futures.append(future)
            self.admission.offer(self.queues[queue], task, 100)
            if number % 7 == 0:
                future.cancel()

    def disturb(self):
        chance = random.Random(1)
        while len(self.futures) < 450:
            self.admission.pause(0.2, 0.1, None)
            self.clock.advance(1.0)
            if self.futures:
                chance.choice(self.futures).cancel()
        self.clock.advance(100.0)


def test_under_threads():
    """The same on real threads, with callers that block: everything ends, and nothing is left taken."""
    clock = ManualClock()
    with real_jobs(workers=4, clock=clock) as scheduler:
        traffic = Traffic(scheduler, clock)
        at_once(*(partial(traffic.offer, queue) for queue in range(3)), traffic.disturb)
        for future in traffic.futures:
            if not future.cancelled():
                assert future.result(10) is None
        admission = traffic.admission
        until(lambda: not scheduler.live)
        until(lambda: (admission.in_flight, admission._submitting, admission._bytes) == (0, 0, 0))
    assert max(Counter(traffic.begun).values()) == 1
    assert traffic.most_in_flight <= 20
    assert not admission._places
