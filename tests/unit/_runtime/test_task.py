"""Tasks: they end once, give back what they hold, and never run twice at a time."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from concurrent.futures import Future

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from interrupting import each_line
from stepping import Gate, Loan, Steps

from tinkex._runtime import task as task_module
from tinkex._runtime.reactor import TIMED_OUT, TimedOut
from tinkex._runtime.task import DEADLINE, FutureWait, Permit, ScheduledTask, Sleep, TaskCancelled
from tinkex.errors import ClientClosedError, ForkedFutureError, TinkexError
from tinkex.future import ClientFuture

VARIABLE = contextvars.ContextVar("VARIABLE", default="outside")


@pytest.fixture
def steps():
    """Tasks that run when the test says so."""
    return Steps()


def test_a_job_runs_to_its_result(steps):
    """Waits yield what ended them; what the coroutine returns is the result."""
    first, second = Gate(), Gate()

    def coroutine():
        return [(yield first), (yield second)]

    future = Future()
    steps.start(coroutine, future)
    steps.run()
    assert first.open("a")
    steps.run()
    assert not future.done()
    assert second.open("b")
    steps.run()
    assert future.result(0) == ["a", "b"]
    assert steps.scheduler.live == set()


def test_sleep_and_timeouts(steps):
    """A wait ends with TIMED_OUT at its time, not before; a late wake-up is turned away."""
    gate = Gate(until=7.0)

    def coroutine():
        yield Sleep(5.0)
        return (yield gate)

    future = Future()
    steps.start(coroutine, future)
    steps.advance(4.9)
    assert not gate.waiting
    steps.advance(0.1)
    steps.advance(2.0)
    assert isinstance(future.result(0), TimedOut)
    assert not gate.open("late")


def test_outcome(steps):
    """A task can wait for another's future."""
    other = Future()

    def coroutine():
        done = yield FutureWait(other)
        return done.result()

    future = Future()
    steps.start(coroutine, future)
    steps.run()
    other.set_result(3)
    steps.run()
    assert future.result(0) == 3


def test_an_error_as_value_is_raised(steps):
    """A wait that is ended with an error raises it in the coroutine."""
    gate = Gate()

    def coroutine():
        try:
            yield gate
        except OSError as error:
            return str(error)

    future = Future()
    steps.start(coroutine, future)
    steps.run()
    gate.open(OSError("lost"))
    steps.run()
    assert future.result(0) == "lost"


def test_a_wait_that_cannot_begin(steps):
    """What beginning a wait raises is raised in the coroutine, which may deal with it."""

    class Broken:
        until = float("inf")

        def subscribe(self, task, wait_id):
            raise RuntimeError("can't start new thread")

    def coroutine():
        try:
            yield Broken()
        except RuntimeError as error:
            return str(error)

    future = Future()
    steps.start(coroutine, future)
    steps.run()
    assert future.result(0) == "can't start new thread"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_base_exceptions_are_wrapped(steps, error):
    """What would end a program does not end whoever asks for the result."""

    def coroutine():
        yield Sleep(0.0)
        raise error

    future = Future()
    steps.start(coroutine, future)
    steps.advance(0)
    assert isinstance(future.exception(0), TinkexError)
    assert future.exception(0).__cause__ is error


def test_context(steps):
    """A coroutine runs in a copy of the context it was made in, in every step."""

    def coroutine():
        seen = [VARIABLE.get()]
        VARIABLE.set("inside")
        yield Sleep(0.0)
        return [*seen, VARIABLE.get()]

    VARIABLE.set("caller's")
    future = Future()
    steps.start(coroutine, future)
    VARIABLE.set("changed")
    steps.advance(0)
    assert future.result(0) == ["caller's", "inside"]
    assert VARIABLE.get() == "changed"


def test_the_context_is_left_before_anybody_can_go_on(steps):
    """Whoever ends a wait the moment it has begun may run the task at once, also while the first thread looks on."""
    gate = Gate(until=1.0)

    def call_at(at, who, wait_id):
        if wait_id != DEADLINE and gate.waiting:  # the worker is on its way out: another takes the task over now
            gate.open("quick")
            steps.run()

    def coroutine():
        return (yield gate)

    steps.reactor.call_at = call_at
    future = Future()
    steps.start(coroutine, future)
    steps.run()
    assert future.result(0) == "quick"


def test_interrupting(steps):
    """A cancelled task runs its clauses and ends; its future, still pending, fails."""
    seen = []

    def coroutine():
        try:
            yield Gate()
        except TaskCancelled:
            seen.append("interrupted")
            raise

    future = Future()
    task = steps.start(coroutine, future)
    steps.run()
    task.cancel()
    task.cancel()
    assert task.done
    steps.run()
    assert seen == ["interrupted"]
    assert isinstance(future.exception(0), ClientClosedError)


def test_a_task_is_unwound_once(steps):
    """Of two workers that are to unwind one task, the second leaves it alone, meanwhile and afterwards."""
    marks = []

    def coroutine():
        try:
            yield Gate()
        finally:
            task.unwind()
            marks.append("ended")

    future = ClientFuture(None)
    task = steps.start(coroutine, future)
    steps.run()
    task.cancel()
    task.cancel()
    steps.run()
    assert marks == ["ended"]
    assert isinstance(future.exception(0), ClientClosedError)
    task.unwind()
    assert marks == ["ended"]


def test_a_cancelled_future_costs_no_error_of_the_close(steps, monkeypatch):
    """The error of a closed client is made only where a future takes it: not for one that its caller cancelled."""
    made = []
    monkeypatch.setattr(task_module, "_closed", lambda: made.append(ClientClosedError("closed")) or made[-1])
    futures = []
    for begins in (False, True):
        future = ClientFuture(None)
        work = ScheduledTask(steps.scheduler, lambda: (yield Sleep(60.0)), future)
        future._on_cancel(work)
        steps.scheduler.launch(work)
        if begins:
            steps.run()
        future.cancel()
        steps.run()
        futures.append(future)
    assert all(future.cancelled() for future in futures)
    assert made == []


def test_interrupted_before_it_begins(steps):
    """A task that is cancelled while queued never begins, and says so once."""
    dropped = []
    future = Future()
    task = ScheduledTask(steps.scheduler, lambda: pytest.fail("must not run"), future, dropped.append)
    task.cancel()
    task.cancel()
    assert dropped == [task]
    assert task.begin() is False
    assert future.done()
    assert steps.scheduler.live == set()


def test_interrupted_while_it_begins(steps):
    """What a coroutine is begun with is released also if it is cancelled before its first step."""
    loan = Loan()

    def coroutine(lent):
        try:
            yield Gate()
        finally:
            lent.release()

    task = ScheduledTask(steps.scheduler, coroutine, Future())
    task._lock = _AfterBegin(task)
    assert task.begin(loan)
    assert loan.returned == 1
    assert task.done


class _AfterBegin:
    """A lock whose first release is followed by an interruption from elsewhere."""

    def __init__(self, task):
        self._lock = threading.Lock()
        self._task = task
        self._first = True

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()
        first, self._first = self._first, False
        if first:
            self._task.cancel()


def test_a_grant_is_given_back_when_the_job_was_interrupted(steps):
    """A value on its way to a cancelled task is returned; one that comes later stays with the giver."""
    gate, loan, late = Gate(), Loan(), Loan()

    def coroutine():
        yield gate

    task = steps.start(coroutine, Future())
    steps.run()
    job_and_epoch = gate.waiting[0]
    assert gate.open(loan)
    task.cancel()
    assert not job_and_epoch[0].resume(job_and_epoch[1], late)
    steps.run()
    assert (loan.returned, late.returned) == (1, 0)


@pytest.mark.parametrize("order", ["grant first", "interrupt first"])
def test_interrupted_during_arm(steps, order):
    """An interruption while a wait begins ends it, and a grant given meanwhile is returned or refused."""
    loan, refused = Loan(), []

    class Arming:
        until = float("inf")

        def subscribe(self, task, wait_id):
            if order == "grant first":
                assert task.resume(wait_id, loan)
            task.cancel()
            if order == "interrupt first" and not task.resume(wait_id, loan):
                refused.append(loan)

    def coroutine():
        yield Arming()

    future = Future()
    steps.start(coroutine, future)
    steps.run()
    assert future.done()
    assert loan.returned + len(refused) == 1


@pytest.mark.parametrize("then", ["cancel", "deadline"])
@pytest.mark.parametrize("begins", [False, True])
def test_interrupted_cancel(begins, then):
    """What a Ctrl-C leaves of a cancel another call does, or the deadline: nothing stays held or ends twice."""
    for interrupter, interrupted in each_line():
        steps, marks = Steps(), []

        def coroutine(marks=marks):
            marks.append("begun")
            try:
                yield Gate()
            finally:
                marks.append("ended")

        future = ClientFuture(None)
        task = ScheduledTask(steps.scheduler, coroutine, future)
        task.on_deadline = lambda: TimeoutError("late")
        future._on_cancel(task)
        steps.scheduler.launch(task, 5.0)
        if begins:
            steps.run()
        with interrupted():
            future.cancel()
        if then == "cancel":
            assert future.cancel()
        else:
            steps.advance(5.0)
        steps.run()
        assert future.done()
        assert marks in ([], ["begun", "ended"]), interrupter.hit
        assert task.done
        assert steps.scheduler.live == set(), interrupter.hit


def test_deadline(steps):
    """A deadline ends the future at once, and the task soon after; none comes after the end."""
    gate = Gate()

    def coroutine():
        try:
            yield gate
        finally:
            seen.append(steps.clock.monotonic())

    seen = []
    future = Future()
    task = ScheduledTask(steps.scheduler, coroutine, future)
    task.on_deadline = lambda: TimeoutError("late")
    steps.scheduler.launch(task, 5.0)
    steps.run()
    steps.clock.advance(5.0)
    steps.reactor.fire()
    assert isinstance(future.exception(0), TimeoutError)
    steps.run()
    assert seen == [5.0]
    assert not task.is_waiting(DEADLINE)
    assert task.resume(DEADLINE, TIMED_OUT)  # nothing happens


class Thing:
    """Something that can be watched."""


def finished(steps):
    """A task that has ended, hours before its deadline; references to all it dealt with."""

    def coroutine(kept):
        yield Sleep(0.0)
        return Thing()

    argument, future = Thing(), Future()
    task = ScheduledTask(steps.scheduler, lambda: coroutine(argument), future)
    task.on_deadline = lambda: TimeoutError(str(future))
    steps.scheduler.launch(task, 7200.0)
    steps.advance(0)
    return [weakref.ref(argument), weakref.ref(future.result(0)), weakref.ref(future)]


@pytest.mark.usefixtures("only_new_garbage")
def test_an_ended_job_keeps_nothing_alive(steps):
    """The timer of a deadline hours away holds no result and no argument."""
    references = finished(steps)
    gc.collect()
    assert steps.reactor.timers
    assert [reference() for reference in references] == [None, None, None]


def test_stop(steps):
    """Stopping fails what is under way and whatever is launched later; nobody waits for ever."""

    def coroutine():
        yield Gate()

    before, after = Future(), Future()
    steps.start(coroutine, before)
    steps.run()
    steps.scheduler.stop()
    steps.start(coroutine, after)
    steps.run()
    assert isinstance(before.exception(0), ClientClosedError)
    assert isinstance(after.exception(0), ClientClosedError)
    assert steps.scheduler.live == set()


def test_forked(steps):
    """In a child the future fails, clauses run, and one that fails there does not matter."""
    seen = []

    def coroutine():
        try:
            yield Gate()
        finally:
            seen.append("cleaned")
            raise RuntimeError("not in a child")

    future = ClientFuture(None)
    task = steps.start(coroutine, future)
    steps.run()
    task._lock.acquire()
    task.reopen()
    task.forked()
    assert isinstance(future.exception(0), ForkedFutureError)
    assert seen == ["cleaned"]
    assert steps.scheduler.live == set()


class Races(RuleBasedStateMachine):
    """Whatever the order of wake-ups, interruptions, timers and steps: one end, and every loan given back once."""

    def __init__(self):
        super().__init__()
        self.steps = Steps()
        self.loans, self.ends = [], []
        self.gates = [Gate(until=float(number)) for number in range(1, 4)]
        self.future = ClientFuture(None)
        self.future.add_done_callback(self.ends.append)
        self.task = ScheduledTask(self.steps.scheduler, self.coroutine, self.future)
        self.task.on_deadline = lambda: TimeoutError("late")
        self.future._on_cancel(self.task)
        self.steps.scheduler.launch(self.task, 2.5)

    def coroutine(self):
        for gate in self.gates:
            value = yield gate
            if isinstance(value, Permit):
                value.release()
        return "done"

    @rule(number=st.integers(0, 2))
    def resume(self, number):
        """End a wait, also one that is over."""
        loan = Loan()
        for task, wait_id in self.gates[number].waiting:
            if task.resume(wait_id, loan):
                self.loans.append(loan)
                break

    @rule()
    def step(self):
        """Let a worker do one thing."""
        if self.steps.workers.items:
            self.steps.workers.items.popleft().run()

    @rule()
    def cancel(self):
        """Cancel the future."""
        self.future.cancel()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0]))
    def time(self, seconds):
        """Let time pass."""
        self.steps.clock.advance(seconds)
        self.steps.reactor.fire()

    @invariant()
    def ends_once(self):
        """The future has not ended twice."""
        assert len(self.ends) == self.future.done()

    def teardown(self):
        """At the end all is over."""
        self.steps.advance(10.0)
        assert self.future.done()
        assert [loan.returned for loan in self.loans] == [1] * len(self.loans)
        assert self.steps.scheduler.live == set()


Races.TestCase.settings = settings(stateful_step_count=20)
test_races = Races.TestCase
