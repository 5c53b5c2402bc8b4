"""Admission: fair, bounded, paused together; whatever happens, no sample is left lying and none runs twice."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from admitting import Samples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from interrupting import each_line

from tinkex._concurrency.fork_locks import reopen
from tinkex._runtime.task import ScheduledTask
from tinkex._sampling import admission
from tinkex.errors import QueueFullError

FLOOR = 0.1  # of a pause


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
    samples.admission.pause(1.0, FLOOR, "busy")
    samples.steps.run()
    assert not samples.submitting
    samples.steps.advance(1.3)
    assert len(samples.submitting) == 1
    samples.admission.accepted()
    samples.steps.run()
    assert len(samples.submitting) == 10
    samples.steps.clock.advance(11.0)
    samples.submit(next(iter(samples.submitting)))
    assert len(samples.submitting) == 11
    samples.finish()
    assert sorted(samples.begun) == list(range(1000))


def test_one_tries_first():
    """After a pause a single submission goes; the others follow once it is accepted, or not answered for a second."""
    samples = Samples()
    samples.admission.pause(1.0, FLOOR, "busy")
    for name in range(20):
        samples.offer(name)
    samples.steps.advance(1.3)
    samples.steps.advance(0.65)
    assert len(samples.submitting) == 1
    samples.steps.advance(0.3)
    assert len(samples.submitting) == 10


@pytest.fixture
def lifted():
    """Twenty samples in a pause that was lifted just now: one of them tries."""
    samples = Samples()
    samples.admission.pause(300.0, FLOOR, "busy")
    for name in range(20):
        samples.offer(name)
    samples.steps.run()
    assert not samples.submitting
    samples.admission.lift_pause()
    samples.steps.run()
    assert len(samples.submitting) == 1
    return samples


def test_a_pause_that_is_lifted(lifted):
    """One tries at once, and the others once that is accepted; its refusal is a pause that follows the last one."""
    samples = lifted
    samples.admission.pause(1e-9, FLOOR, "busy")
    assert samples.admission.throttle._floor == 2 * FLOOR
    samples.admission.lift_pause()
    samples.admission.accepted()
    samples.steps.run()
    assert len(samples.submitting) == 10
    samples.finish()


def test_nobody_waits_for_one_that_tries_in_vain(lifted):
    """Where the one that tries after a lifted pause has no answer for a second, the others go."""
    lifted.steps.advance(1.0)
    assert len(lifted.submitting) == 10
    lifted.finish()


def test_nothing_to_lift():
    """Where no pause is on nothing changes, and a pause that is over is not begun again."""
    throttle = admission.Throttle()
    throttle.lift(5.0)
    assert throttle.submissions(5.0) == 400
    throttle.pause(5.0, 1.0, FLOOR, None)
    until = throttle.paused_until
    throttle.lift(100.0)
    assert (throttle.paused_until, throttle.refused_since) == (until, 5.0)


def test_refusals_long_after_each_other():
    """A pause that follows none counts as the first: how long samples have been refused is counted from it."""
    throttle = admission.Throttle()
    throttle.pause(0.0, 1.0, FLOOR, None)
    throttle.pause(30.0, 1.0, FLOOR, None)
    assert throttle.refused_since == 0.0
    throttle.pause(1000.0, 1.0, FLOOR, None)
    assert throttle.refused_since == 1000.0


def test_pauses_that_follow_each_other_grow():
    """A refusal of the one that tried doubles the least that the next pause lasts, up to five seconds."""
    throttle, now, lengths = admission.Throttle(), 0.0, []
    for _ in range(8):
        assert throttle.pause(now, 1e-9, 0.25, None)
        assert not throttle.pause(now + 0.1, 1e-9, 0.25, None)  # of a submission beside it
        lengths.append(throttle.paused_until - now)
        now = throttle.paused_until
    for length, least in zip(lengths, [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0], strict=True):
        assert least <= length <= 1.2 * least
    throttle.accept()
    throttle.pause(now, 1e-9, 0.25, None)
    assert throttle.paused_until - now <= 0.3
    now += 100.0
    throttle.pause(now, 1e-9, 0.25, None)
    assert throttle.paused_until - now <= 0.3


def test_bytes_at_once():
    """Submissions wait while too many bytes are on their way; in a pause's wake a byte counts twenty-fold."""
    samples = Samples(size=100)
    for name in range(20):
        samples.offer(name, size=30)
    samples.steps.run()
    assert len(samples.submitting) == 4  # the last may overdraw
    samples.admission.pause(1.0, FLOOR, None)
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
    samples.admission.pause(first, FLOOR, "first")
    until_then = samples.admission.throttle.paused_until
    assert first <= until_then <= first + min(1.0, first / 5) + 1e-9
    samples.admission.pause(second, FLOOR, "second")
    assert samples.admission.throttle.paused_until >= max(until_then, second)
    samples.offer("late")
    samples.steps.advance(samples.admission.throttle.paused_until * 0.999)
    assert not samples.begun
    samples.steps.advance(samples.admission.throttle.paused_until * 0.002)
    assert samples.begun == ["late"]


def test_full():
    """A full queue is said so, with a hint when to come again; what ends in line makes room."""
    samples = Samples(queued=2)
    futures = [samples.offer(name) for name in range(2)]
    for _ in range(5):
        with pytest.raises(QueueFullError, match="max_queued") as caught:
            samples.offer("no")
        assert caught.value.retry_after == 1.0
    samples.admission.pause(20.0, FLOOR, None)
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
    samples.admission.pause(1000.0, FLOOR, None)
    kept = [samples.offer(name) for name in range(5)]
    for _ in range(500):
        samples.offer("gone").cancel()
    assert len(kept) <= len(samples.queues[0].tasks) <= 20
    samples.steps.advance(2000.0)
    assert samples.begun == [0, 1, 2, 3, 4]


def test_interrupted_offer():
    """Ctrl-C at any line of an offer leaves its client's queue in line: the next sample goes, and only once."""
    for interrupter, interrupted in each_line():
        samples = Samples()
        with interrupted():
            samples.offer("interrupted")
        for number in range(3):
            samples.offer(number)
        samples.steps.run()
        assert [name for name in samples.begun if name != "interrupted"] == [0, 1, 2], interrupter.hit
        samples.finish()
        assert samples.admission.in_flight == 0


@pytest.mark.parametrize("change", ["limits_changed", "lift_pause"])
def test_interrupted_change(change):
    """Ctrl-C at any line of a change leaves no sample lying: all go, at the end of the pause at the latest."""
    for interrupter, interrupted in each_line():
        samples = Samples(in_flight=1)
        if change == "lift_pause":
            samples.admission.pause(60.0, FLOOR, None)
        for number in range(4):
            samples.offer(number)
        samples.steps.run()
        samples.limits[0] = 4
        with interrupted():
            getattr(samples.admission, change)()
        samples.steps.run()
        samples.steps.advance(120.0)
        samples.finish()
        assert samples.begun == [0, 1, 2, 3], interrupter.hit


@pytest.fixture
def blocked():
    """A full queue with callers blocked before it, by a clock that stands still."""
    samples = Samples(queued=1)
    samples.offer("first")
    return samples


def test_interrupted_while_blocked(blocked, monkeypatch):
    """Ctrl-C in a blocked call takes no place with it, and leaves nothing locked."""

    class Interrupted:
        def acquire(self, timeout=None):
            if timeout is not None:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(admission, "threading", SimpleNamespace(Lock=Interrupted))
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                blocked.offer("interrupted", on_full="block")
    assert not blocked.admission._blocked
    assert not blocked.admission._lock.locked()
    assert len(blocked.admission._places) == 1


def test_locks_open_in_a_child(blocked):
    """Whoever held the lock at a fork, the child's `finally` clauses get by."""
    blocked.admission._lock.acquire()
    reopen(blocked.admission._lock)
    blocked.admission.dropped(next(iter(blocked.admission._places)))


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
        self.samples.admission.pause(seconds, FLOOR, "busy")

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
        assert not admission._places


Conservation.TestCase.settings = settings(stateful_step_count=40)
test_conservation = Conservation.TestCase
