"""The byte budget: first come, first served; overdrawn by one at most; nothing is lost."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from stepping import Gate, Steps

from tinkex._runtime.byte_semaphore import AcquireBytes, ByteSemaphore


@pytest.fixture
def steps():
    """Tasks that run when the test says so."""
    return Steps()


def hold(budget, size, gate):
    """A coroutine that holds bytes until its gate opens."""
    reserved = yield AcquireBytes(budget, size)
    try:
        yield gate
    finally:
        reserved.release()
        reserved.release()  # once is enough, twice does no harm


def begin(steps, budget, size):
    """A task that wants bytes, and its gate."""
    gate = Gate()
    task = steps.start(lambda: hold(budget, size, gate), Future())
    steps.run()
    return task, gate


def test_first_come_first_served(steps):
    """A small request does not overtake a large one."""
    budget = ByteSemaphore(lambda: 10)
    _, first = begin(steps, budget, 10)
    _, large = begin(steps, budget, 9)
    _, small = begin(steps, budget, 1)
    assert budget.out == 10
    assert not large.waiting
    assert not small.waiting
    first.open()
    steps.run()
    assert budget.out == 10
    assert large.waiting
    assert small.waiting


def test_one_may_overdraw(steps):
    """A single huge request passes; nobody else does until it has given back."""
    budget = ByteSemaphore(lambda: 10)
    _, one = begin(steps, budget, 9)
    _, huge = begin(steps, budget, 1000)
    assert budget.out == 1009
    _, third = begin(steps, budget, 1)
    assert not third.waiting
    one.open()
    steps.run()
    assert not third.waiting
    huge.open()
    steps.run()
    assert third.waiting


@pytest.mark.parametrize("limit", [0, -1, 1])
def test_no_limit_stops_everything(steps, limit):
    """With nothing out one request passes, whatever the limit is set to."""
    budget = ByteSemaphore(lambda: limit)
    for _ in range(3):
        _, gate = begin(steps, budget, 5)
        assert budget.out == 5
        gate.open()
        steps.run()
    assert budget.out == 0


def test_cancelled_in_queue(steps):
    """Who leaves the line takes nothing with it, and holds nobody up."""
    budget = ByteSemaphore(lambda: 10)
    _, first = begin(steps, budget, 10)
    gone, _ = begin(steps, budget, 500)
    _, third = begin(steps, budget, 1)
    gone.cancel()
    steps.run()
    first.open()
    steps.run()
    assert third.waiting
    assert budget.out == 1


class Conservation(RuleBasedStateMachine):
    """What is out is what is held; the limit is passed by the last one only; the line moves while there is room."""

    def __init__(self):
        super().__init__()
        self.steps = Steps()
        self.limit = 10
        self.budget = ByteSemaphore(lambda: self.limit)
        self.held = {}

    @rule(size=st.integers(1, 25))
    def ask(self, size):
        """Stand in line."""
        task, gate = begin(self.steps, self.budget, size)
        self.held[task] = (size, gate)

    @rule(data=st.data(), cancel=st.booleans())
    def end(self, data, cancel):
        """End one that holds bytes or stands in line."""
        if self.held:
            task = list(self.held)[data.draw(st.integers(0, len(self.held) - 1))]
            gate = self.held[task][1]
            if cancel:
                task.cancel()
            elif not gate.waiting:
                return
            else:
                gate.open()
            del self.held[task]
            self.steps.run()

    @rule(limit=st.integers(0, 20))
    def change(self, limit):
        """The limit may change at any time; it counts from the next change on."""
        self.limit = limit

    @invariant()
    def conserved(self):
        """Nothing is lost, nobody is forgotten."""
        served = [size for size, gate in self.held.values() if gate.waiting]
        assert self.budget.out == sum(served)
        if len(served) < len(self.held):
            assert served

    def teardown(self):
        """Everybody is served in the end."""
        while self.held:
            task = next(task for task, (_, gate) in self.held.items() if gate.waiting)
            self.held.pop(task)[1].open()
            self.steps.run()
        assert self.budget.out == 0


Conservation.TestCase.settings = settings(stateful_step_count=25)
test_conservation = Conservation.TestCase
