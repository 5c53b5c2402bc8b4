"""Admission: fair, bounded, paused together; whatever happens, no sample is left lying and none runs twice."""

from __future__ import annotations

import random
import threading
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from stepping import Gate, Steps, at_once, real_jobs, until

from tinkex._concurrency.fork_locks import reopen
from tinkex._runtime.task import ScheduledTask
from tinkex._sampling import admission
from tinkex._sampling.admission import Admission, ClientQueue, ReacquirePermit
from tinkex.errors import ClientClosedError, QueueFullError, SampleTimeoutError
from tinkex.future import ClientFuture
from tinkex.testing import ManualClock


class Samples:
    """Samples of a few clients that are submitted, wait for an answer, and end when the test says so."""

    def __init__(self, in_flight=10_000, queued=100_000, size=10 * 2**20):
        self.steps = Steps()
        self.limits = [in_flight, queued, size]
        self.admission = Admission(self.steps.scheduler, self.steps.clock, lambda: tuple(self.limits))
        self.queues = [ClientQueue() for _ in range(3)]
        self.begun = []
        self.submitting, self.answering = {}, {}

    def offer(self, name, queue=0, size=1, on_full="raise"):
        """Ask for a sample; its future."""
        self.admission.reserve(on_full, float("inf"))
        future = ClientFuture(None)
        task = ScheduledTask(self.steps.scheduler, partial(self.coroutine, name, size), future, self.admission.dropped)
        future.on_cancel(task.cancel)
        self.admission.offer(self.queues[queue], task, size)
        return future

    def coroutine(self, name, size, permit):
        self.begun.append(name)
        try:
            while True:
                gate = self.submitting[name] = Gate()
                try:
                    accepted = yield gate
                finally:
                    permit.release()
                    permit.release()  # once is enough
                    del self.submitting[name]
                if accepted:
                    break
                permit = yield ReacquirePermit(self.admission, size)
            gate = self.answering[name] = Gate()
            try:
                return (yield gate)
            finally:
                del self.answering[name]
        finally:
            self.admission.ended()

    def submit(self, name, *, accepted=True):
        """End a submission."""
        self.submitting[name].open(accepted)
        self.steps.run()

    def answer(self, name):
        """End a sample."""
        self.answering[name].open(name)
        self.steps.run()

    def finish(self):
        """Let everything end that can."""
        for _ in range(10_000):
            self.steps.run()
            if self.submitting:
                self.submit(next(iter(self.submitting)))
            elif self.answering:
                self.answer(next(iter(self.answering)))
            else:
                return
        raise AssertionError("it never ends")


def test_in_turn():
    """Clients take turns, however many samples each has; within a client they go in order."""
    samples = Samples()
    for number in range(4):
        samples.offer(f"a{number}", queue=0)
    for number in range(2):
        samples.offer(f"b{number}", queue=1)
    samples.offer("c0", queue=2)
    samples.steps.run()
    assert samples.begun == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_a_cancelled_sample_costs_its_client_no_turn():
    """Samples that ended in line are passed over."""
    samples = Samples()
    futures = [samples.offer(f"a{number}", queue=0) for number in range(3)]
    samples.offer("b0", queue=1)
    samples.offer("b1", queue=1)
    futures[0].cancel()
    samples.steps.run()
    assert samples.begun == ["a1", "b0", "a2", "b1"]


def test_in_flight():
    """No more are in flight than allowed; the end of one lets the next go."""
    samples = Samples(in_flight=2)
    for name in range(5):
        samples.offer(name)
    samples.steps.run()
    samples.submit(0)
    samples.submit(1)
    assert samples.begun == [0, 1]
    samples.answer(1)
    assert samples.begun == [0, 1, 2]
    samples.limits[0] = 4
    samples.answer(0)
    assert samples.begun == [0, 1, 2, 3, 4]


def test_raised_limit():
    """Who stands in line goes as soon as more may be in flight, though nobody ends."""
    samples = Samples(in_flight=1)
    for name in range(4):
        samples.offer(name)
    samples.steps.run()
    samples.submit(0)
    assert samples.begun == [0]
    samples.limits[0] = 3
    samples.admission.limits_changed()
    samples.steps.run()
    assert samples.begun == [0, 1, 2]
    samples.finish()
    assert samples.begun == [0, 1, 2, 3]


def test_submissions_at_once():
    """So many are submitted at once, and after a pause so few; more when that has worn off."""
    samples = Samples()
    for name in range(1000):
        samples.offer(name)
    samples.steps.run()
    assert len(samples.submitting) == 400
    for name in list(samples.submitting):
        samples.submitting[name].open(True)
    samples.admission.pause(1.0, "busy")
    samples.steps.run()
    assert not samples.submitting
    samples.steps.advance(1.3)
    assert len(samples.submitting) == 10
    samples.steps.clock.advance(11.0)
    samples.submit(next(iter(samples.submitting)))
    assert len(samples.submitting) == 11
    samples.finish()
    assert sorted(samples.begun) == list(range(1000))


def test_bytes_at_once():
    """Submissions wait while too many bytes are on their way; in a pause's wake a byte counts twenty-fold."""
    samples = Samples(size=100)
    for name in range(20):
        samples.offer(name, size=30)
    samples.steps.run()
    assert len(samples.submitting) == 4  # the last may overdraw
    samples.admission.pause(1.0, None)
    for name in range(4):
        samples.submit(name)
    samples.steps.advance(1.3)
    assert len(samples.submitting) == 1
    samples.finish()
    assert sorted(samples.begun) == list(range(20))
    assert samples.admission._bytes == 0


def test_again_goes_first():
    """A submission that has to be made again passes those not made yet, and needs no new place in flight."""
    samples = Samples(in_flight=1)
    samples.offer("first")
    samples.offer("second")
    samples.steps.run()
    samples.submit("first", accepted=False)
    assert list(samples.submitting) == ["first"]
    assert samples.begun == ["first"]
    samples.finish()
    assert samples.begun == ["first", "second"]


@given(st.floats(0.1, 100.0), st.floats(0.1, 100.0))
def test_pauses(first, second):
    """The later end of two pauses counts; each is stretched by a fifth, and a second, at most."""
    samples = Samples()
    samples.admission.pause(first, "first")
    until_then = samples.admission.paused_until
    assert first <= until_then <= first + min(1.0, first / 5) + 1e-9
    samples.admission.pause(second, "second")
    assert samples.admission.paused_until >= max(until_then, second)
    samples.offer("late")
    samples.steps.advance(samples.admission.paused_until * 0.999)
    assert not samples.begun
    samples.steps.advance(samples.admission.paused_until * 0.002)
    assert samples.begun == ["late"]


def test_full():
    """A full queue is said so, with a hint when to come again; what ends in line makes room."""
    samples = Samples(queued=2)
    futures = [samples.offer(name) for name in range(2)]
    for _ in range(5):
        with pytest.raises(QueueFullError, match="max_queued") as caught:
            samples.offer("no")
        assert caught.value.retry_after == 1.0
    samples.admission.pause(20.0, None)
    with pytest.raises(QueueFullError) as caught:
        samples.offer("no")
    assert caught.value.retry_after >= 20.0
    futures[0].cancel()
    samples.offer("yes")
    with pytest.raises(QueueFullError):
        samples.offer("no")
    samples.steps.advance(30.0)
    samples.finish()
    assert samples.begun == [1, "yes"]


def test_cancelled_between_ticket_and_beginning():
    """A sample that ends just as it is admitted takes no place, in flight or in the queue, with it."""
    samples = Samples(queued=1, in_flight=1)
    future = samples.offer("gone")
    original = ScheduledTask.begin

    def begin(task, permit):
        ScheduledTask.begin = original
        future.cancel()
        return original(task, permit)

    try:
        ScheduledTask.begin = begin
        samples.steps.run()
    finally:
        ScheduledTask.begin = original
    assert (samples.admission.in_flight, samples.admission._submitting, samples.admission._bytes) == (0, 0, 0)
    samples.offer("next")
    with pytest.raises(QueueFullError):
        samples.offer("no")
    samples.finish()
    assert samples.begun == ["next"]


def test_nothing_lies_in_a_long_pause(monkeypatch):
    """Samples that end in line are cleared away before they fill the memory; the others keep their order."""
    monkeypatch.setattr(admission, "_SWEEP_ABOVE", 10)
    samples = Samples()
    samples.admission.pause(1000.0, None)
    kept = [samples.offer(name) for name in range(5)]
    for _ in range(500):
        samples.offer("gone").cancel()
    assert len(kept) <= len(samples.queues[0].tasks) <= 20
    samples.steps.advance(2000.0)
    assert samples.begun == [0, 1, 2, 3, 4]


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
    until(lambda: samples.admission._blocked == count)
    return threads


def test_blocked_callers_get_in_one_by_one(blocked):
    """More callers than places: each place that is freed lets exactly one in, to the last."""
    outcomes = []
    threads = block(blocked, outcomes, 5)
    for number in range(5):
        assert len(outcomes) == number
        blocked.admission.dropped()
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
    blocked_callers = partial(getattr, blocked.admission, "_blocked")
    threading.Thread(target=lambda: soon.append(_reserve(blocked, 5.0)), daemon=True).start()
    until(lambda: blocked_callers() == 2)
    threading.Thread(target=lambda: late.append(_reserve(blocked, 9.0)), daemon=True).start()
    until(lambda: blocked_callers() == 3)
    blocked.steps.clock.advance(5.0)
    blocked.steps.reactor.fire()
    until(lambda: soon == [SampleTimeoutError])
    until(lambda: blocked_callers() == 2 and blocked.steps.reactor.timers)
    blocked.steps.clock.advance(4.0)
    blocked.steps.reactor.fire()
    until(lambda: late == [SampleTimeoutError])
    blocked.admission.close()
    until(lambda: len(late) == 2)


def _reserve(samples, until_then):
    try:
        samples.admission.reserve("block", until_then)
    except (SampleTimeoutError, ClientClosedError) as error:
        return type(error)
    return None


def test_interrupted_while_blocked(blocked, monkeypatch):
    """Ctrl-C in a blocked call takes no place with it."""

    def wait():
        raise KeyboardInterrupt

    monkeypatch.setattr(blocked.admission._room, "wait", wait)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            blocked.admission.reserve("block", float("inf"))
    blocked.admission.dropped()
    blocked.admission.reserve("raise", 0.0)
    assert blocked.admission._blocked == 0


def test_locks_open_in_a_child(blocked):
    """Whoever held the lock at a fork, the child's `finally` clauses get by."""
    blocked.admission._lock.acquire()
    reopen(blocked.admission._lock)
    blocked.admission.dropped()


class Conservation(RuleBasedStateMachine):
    """Every sample that was offered is begun exactly once or was dropped; the bounds hold all the way."""

    def __init__(self):
        super().__init__()
        self.samples = Samples(in_flight=3, queued=8, size=40)
        self.futures = {}
        self.cancelled_in_queue = set()

    @rule(queue=st.integers(0, 2), size=st.integers(0, 30))
    def offer(self, queue, size):
        """Ask for a sample."""
        name = len(self.futures)
        waiting = sum(self.is_queued(name) for name in self.futures)
        try:
            self.futures[name] = self.samples.offer(name, queue, size)
        except QueueFullError:
            assert waiting == 8
        else:
            assert waiting < 8

    def is_queued(self, name):
        """Whether a sample still waits to begin."""
        return name not in self.samples.begun and not self.futures[name].done()

    @rule()
    def work(self):
        """Let the workers work."""
        self.samples.steps.run()

    @rule()
    def one(self):
        """Let a worker do one thing."""
        if self.samples.steps.workers.items:
            self.samples.steps.workers.items.popleft().run()

    @precondition(lambda self: self.samples.submitting)
    @rule(data=st.data(), accepted=st.booleans())
    def submit(self, data, accepted):
        """End a submission."""
        gate = self.samples.submitting[data.draw(st.sampled_from(sorted(self.samples.submitting)))]
        if gate.waiting:
            gate.open(accepted)

    @precondition(lambda self: self.samples.answering)
    @rule(data=st.data())
    def answer(self, data):
        """End a sample."""
        gate = self.samples.answering[data.draw(st.sampled_from(sorted(self.samples.answering)))]
        if gate.waiting:
            gate.open(True)

    @precondition(lambda self: self.futures)
    @rule(data=st.data())
    def cancel(self, data):
        """Cancel one."""
        name = data.draw(st.sampled_from(sorted(self.futures)))
        if self.is_queued(name):
            self.cancelled_in_queue.add(name)
        self.futures[name].cancel()

    @rule(seconds=st.sampled_from([0.5, 5.0]))
    def pause(self, seconds):
        """The server asks for a pause."""
        self.samples.admission.pause(seconds, "busy")

    @rule(seconds=st.sampled_from([0.0, 1.0, 7.0]))
    def time(self, seconds):
        """Let time pass."""
        self.samples.steps.clock.advance(seconds)
        self.samples.steps.reactor.fire()

    @rule(most=st.integers(1, 5))
    def reconfigure(self, most):
        """The limit may change at any time; what is in flight stays."""
        if self.samples.admission.in_flight <= most:
            self.samples.limits[0] = most

    @invariant()
    def bounds(self):
        """The limits hold, and nothing has begun twice or after its end."""
        admission = self.samples.admission
        assert admission.in_flight <= self.samples.limits[0]
        assert max(Counter(self.samples.begun).values(), default=1) == 1
        assert not self.cancelled_in_queue & set(self.samples.begun)

    def teardown(self):
        """When time has passed and all could end, all has ended."""
        self.samples.steps.advance(30.0)
        self.samples.finish()
        admission = self.samples.admission
        assert all(future.done() for future in self.futures.values())
        assert set(self.samples.begun) | self.cancelled_in_queue == set(self.futures)
        assert (admission.in_flight, admission._submitting, admission._bytes) == (0, 0, 0)
        assert next(admission._claims) - admission._taken == 1


Conservation.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
test_conservation = Conservation.TestCase


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
            self.admission.reserve("block", float("inf"))
            future = ClientFuture(None)
            task = ScheduledTask(
                self.scheduler, partial(self.coroutine, (number * 3) + queue), future, self.admission.dropped
            )
            future.on_cancel(task.cancel)
            self.futures.append(future)
            self.admission.offer(self.queues[queue], task, 100)
            if number % 7 == 0:
                future.cancel()

    def disturb(self):
        chance = random.Random(1)
        while len(self.futures) < 450:
            self.admission.pause(0.2, None)
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
    assert next(admission._claims) - admission._taken == 1
