"""Workers and a reactor without threads of their own: a test says when something runs and when time passes."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import deque

from tinkex._concurrency.worker_pool import WorkerPool
from tinkex._runtime.reactor import TIMED_OUT, Reactor
from tinkex._runtime.task import Permit, ScheduledTask, Scheduler
from tinkex.testing import ManualClock


class StepWorkers:
    """What is put runs when the test says so, on the test's thread."""

    count = 1

    def __init__(self):
        self.items = deque()
        self.put = self.items.append

    def run(self, most=100_000):
        """Run what is there and what comes of it."""
        for _ in range(most):
            if not self.items:
                return
            self.items.popleft().run()
        raise AssertionError("it never comes to rest")


class StepReactor:
    """Timers that fire when the test says so."""

    lapsed = 0

    def __init__(self, clock):
        self.clock = clock
        self.timers = []
        self._numbers = itertools.count()

    def call_at(self, at, who, wait_id):
        """The same as the real one's."""
        if at != float("inf"):
            self.timers.append((at, next(self._numbers), who, wait_id))

    def fire(self):
        """Resume the waits whose time has come."""
        now = self.clock.monotonic()
        due = sorted(timer for timer in self.timers if timer[0] <= now)
        self.timers = [timer for timer in self.timers if timer[0] > now]
        for _, _, who, wait_id in due:
            if who.is_waiting(wait_id):
                who.resume(wait_id, TIMED_OUT)


class Steps:
    """Tasks on the test's own thread: `run` lets the workers work, `advance` moves the clock as well."""

    def __init__(self):
        self.clock = ManualClock()
        self.workers = StepWorkers()
        self.reactor = StepReactor(self.clock)
        self.scheduler = Scheduler(self.workers, self.reactor)

    def run(self):
        """Let the workers work until nothing is left."""
        self.workers.run()

    def advance(self, seconds):
        """Come to rest, let time pass, and what comes of it happen."""
        self.workers.run()
        self.clock.advance(seconds)
        self.reactor.fire()
        self.workers.run()

    def start(self, coroutine, future):
        """Begin a task; returns it."""
        task = ScheduledTask(self.scheduler, coroutine, future)
        self.scheduler.launch(task)
        return task


class Gate:
    """A wait that the test ends with `open`."""

    def __init__(self, until=float("inf")):
        self.until = until
        self.waiting = deque()

    def subscribe(self, task, wait_id):
        """Stand in line."""
        self.waiting.append((task, wait_id))

    def open(self, value=None):
        """End the oldest wait; whether it was still on."""
        task, wait_id = self.waiting.popleft()
        return task.resume(wait_id, value)


class Loan(Permit):
    """A grant that counts how often it was given back."""

    def __init__(self):
        self.returned = 0

    def release(self):
        """Count."""
        self.returned += 1


@contextlib.contextmanager
def real_jobs(workers=2, clock=None):
    """Tasks on real threads."""
    pool = WorkerPool(workers, "test-worker")
    reactor = Reactor(clock or ManualClock(), "test-reactor", pool.watch)
    pool.watched_by(reactor.wake)
    pool.start()
    reactor.start()
    scheduler = Scheduler(pool, reactor)
    try:
        yield scheduler
    finally:
        scheduler.stop()
        pool.shutdown()
        pool.join(10)
        reactor.stop()


def until(condition, seconds=10.0):
    """Wait for what another thread is about to do."""
    moment = threading.Event()
    for _ in range(int(seconds * 1000)):
        if condition():
            return
        moment.wait(0.001)
    raise AssertionError("it does not happen")


def at_once(*calls):
    """Run all of them together, each on a thread of its own, to their ends; raises what one raised."""
    barrier = threading.Barrier(len(calls))
    errors = []

    def run(call):
        barrier.wait(10)
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]
