from __future__ import annotations

import socket
import threading

import pytest
from serving import until

from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.worker_pool import WorkerPool
from tinkex._runtime.reactor import Reactor
from tinkex._runtime.task import ScheduledTask, Scheduler
from tinkex._transport.connection import Connection
from tinkex._transport.connection_pool import _IDLE_SECONDS, _SETTLING_SECONDS, ConnectionPool, Lease
from tinkex.errors import APIConnectionError
from tinkex.future import ClientFuture
from tinkex.testing import ManualClock


class Dialled:
    """A dialer whose peers the test holds; `refuse` makes it raise."""

    def __init__(self):
        self.peers = []
        self.refuse = None
        self.stuck = []  # events to wait for, one for each of the next connections

    def open(self):
        if self.stuck:
            self.stuck.pop(0).wait(10)
        if self.refuse is not None:
            raise self.refuse
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.peers.append(theirs)
        return ours


class Bench:
    """A pool and tasks that lease from it; a task keeps its connection until `give`."""

    def __init__(self, most=4, most_idle=2, busiest=3):
        self.clock = ManualClock()
        self.workers = WorkerPool(2, "test-worker")
        self.reactor = Reactor(self.clock, "test-reactor", self.workers.watch)
        self.workers.watched_by(self.reactor.wake)
        self.scheduler = Scheduler(self.workers, self.reactor)
        self.threads = ElasticPool(4, "test-connect")
        self.dialer = Dialled()
        self.pool = ConnectionPool(
            self.dialer, self.reactor, self.threads, self.clock, most=most, most_idle=most_idle, busiest=busiest
        )
        self.workers.start()
        self.reactor.start()

    def lease(self, *, high_priority=True, fresh=False):
        future = ClientFuture(None)

        def coroutine():
            return (yield Lease(self.pool, high_priority=high_priority, fresh=fresh))

        task = ScheduledTask(self.scheduler, coroutine, future)
        future._on_cancel(task)
        self.scheduler.launch(task)
        return future

    def settle(self):
        """Wait until the workers have done what is queued."""
        for _ in range(3):
            for future in [self.workers.submit(int) for _ in range(4)]:
                future.result(5)

    def stop(self):
        self.scheduler.stop()
        self.pool.close()
        self.workers.shutdown()
        self.workers.join(5)
        self.reactor.stop()
        self.threads.stop()
        for each in (*self.dialer.peers, *self.pool._all):
            each.close()


@pytest.fixture
def bench():
    """A pool of 4 connections, 2 of them idle, 3 at work."""
    made = Bench()
    yield made
    made.stop()


@pytest.fixture
def wide_bench():
    """A pool of 6 connections, all of which may be idle, or at work."""
    made = Bench(most=6, most_idle=6, busiest=6)
    yield made
    made.stop()


def resting(bench, count):
    """So many connections that rest, for as long as the clock stands still."""
    bench.pool._cooling_seconds = 60.0
    held = [bench.lease().result(5) for _ in range(count)]
    for connection in held:
        connection.finish(reusable=True)


def at_rest(bench):
    """Whether no thread opens anything."""
    return bench.threads._idle == bench.threads.threads and not bench.threads._items


def test_the_last_one_back_is_the_first_one_out(bench):
    """Idle connections are used last in, first out."""
    first, second = bench.lease().result(5), bench.lease().result(5)
    first.finish(reusable=True)
    second.finish(reusable=True)
    assert bench.lease().result(5) is second
    assert bench.lease().result(5) is first
    first.close()
    second.close()


def test_those_at_rest_are_closed(bench):
    """Those that no task has are closed on demand; one that a task has comes back as ever."""
    resting, held = bench.lease().result(5), bench.lease().result(5)
    resting.finish(reusable=True)
    bench.pool.close_kept()
    assert bench.dialer.peers[0].recv(1) == b""
    assert bench.pool.open == 1
    held.finish(reusable=True)
    assert bench.lease().result(5) is held
    held.close()


def test_a_task_that_waits_for_one_that_is_closed(wide_bench):
    """Where one that rests is closed, the task that waits for it gets another."""
    bench = wide_bench
    bench.pool._most = 1
    resting(bench, 1)
    waiting = bench.lease()
    bench.settle()
    assert not waiting.done()
    bench.pool.close_kept()
    waiting.result(5).finish(reusable=False)
    assert len(bench.dialer.peers) == 2


def test_no_more_than_most_are_at_work_or_idle(bench):
    """Tasks beyond that stand in line, and surplus connections are closed when they come back."""
    leases = [bench.lease() for _ in range(6)]
    until(lambda: sum(lease.done() for lease in leases) == 3)
    bench.settle()
    held = [lease for lease in leases if lease.done()]
    assert len(held) == 3
    for lease in held:
        lease.result().finish(reusable=True)
    others = [lease.result(5) for lease in leases if lease not in held]
    assert set(others) == {lease.result() for lease in held}
    for connection in others:
        connection.finish(reusable=True)
    assert bench.pool.open == 2


def test_a_thread_that_cannot_be_had(bench, monkeypatch):
    """Where no thread can be started to open a connection the task is told, and the pool keeps no count of it."""

    def refuse(work):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(bench.threads, "submit", refuse)
        leases = [bench.lease() for _ in range(5)]
        errors = [lease.exception(5) for lease in leases]
    assert {type(error) for error in errors} == {APIConnectionError}
    assert "can't start new thread" in str(errors[0])
    assert (bench.pool.open, bench.pool._opening, bench.pool._parked) == (0, 0, 0)
    bench.lease().result(5).close()


def test_submissions_go_before_polls(bench):
    """The line of the urgent moves first."""
    held = [bench.lease().result(5) for _ in range(3)]
    poll, submission = bench.lease(high_priority=False), bench.lease()
    bench.settle()
    held[0].finish(reusable=True)
    assert submission.result(5) is held[0]
    assert not poll.done()
    held[1].finish(reusable=True)
    assert poll.result(5) is held[1]
    for connection in held:
        connection.close()


def test_a_connection_parked_for_a_while_is_not_at_work(bench):
    """While one waits for the server another may be opened, up to the limit; not at once: an answer may be near."""
    bench.pool._settling = _SETTLING_SECONDS  # by a clock that is moved by hand it is 0
    held = [bench.lease().result(5) for _ in range(3)]
    waiting = bench.lease()
    bench.settle()
    assert not waiting.done()
    task = ScheduledTask(bench.scheduler, lambda: iter(()), ClientFuture(None))
    held[0].park(task, 1)
    bench.clock.advance(0.9 * _SETTLING_SECONDS)
    bench.settle()
    assert not waiting.done()
    for _ in range(3):
        bench.clock.advance(_SETTLING_SECONDS)
        bench.settle()
    fourth = waiting.result(5)
    assert fourth not in held
    assert bench.pool.open == 4
    for connection in [*held, fourth]:
        connection.finish(reusable=False)
    assert bench.pool.open == 0


def test_idle_connections_are_closed_after_a_while(bench):
    """After 30 s on the client's clock, the oldest first; the sweep ends when there are none."""
    first, second = bench.lease().result(5), bench.lease().result(5)
    first.finish(reusable=True)
    bench.clock.advance(_IDLE_SECONDS / 2)
    second.finish(reusable=True)
    bench.clock.advance(_IDLE_SECONDS / 2 + 1)
    assert bench.dialer.peers[0].recv(1) == b""
    assert bench.pool.open == 1
    bench.clock.advance(_IDLE_SECONDS)
    assert bench.dialer.peers[1].recv(1) == b""
    assert bench.pool.open == 0
    assert not bench.pool.is_waiting(0)


@pytest.mark.parametrize("since", [0.3, 0.7])
def test_a_connection_is_closed_in_the_moment_that_its_sweep_is_due(bench, since):
    """However the sum of the times is rounded: else the reactor would turn without a rest until the clock moves on."""
    bench.clock.advance(since)
    bench.lease().result(5).finish(reusable=True)
    bench.clock.advance(_IDLE_SECONDS)
    bench.dialer.peers[0].settimeout(5)
    assert bench.dialer.peers[0].recv(1) == b""


@pytest.mark.parametrize("most", [1, 4])
def test_a_fresh_connection_has_carried_nothing(most):
    """A task that wants a new connection gets none that was used, not even where no more may be open."""
    bench = Bench(most=most, busiest=1)
    try:
        used = bench.lease().result(5)
        used.finish(reusable=True)
        first = bench.lease(fresh=True).result(5)
        assert first is not used
        waiting = bench.lease(fresh=True)
        bench.settle()
        first.finish(reusable=True)
        second = waiting.result(5)
        assert not second.reused
        assert second not in (used, first)
        second.finish(reusable=False)
        assert bench.pool.open <= most
    finally:
        bench.stop()


def test_a_stuck_dial_holds_no_task(bench):
    """A connection is opened for the pool: a task whose dial hangs gets the next one that comes back."""
    held = bench.lease().result(5)
    stuck = threading.Event()
    bench.dialer.stuck.append(stuck)
    waiting = bench.lease()
    until(lambda: not bench.dialer.stuck)
    assert not waiting.done()
    held.finish(reusable=True)
    assert waiting.result(5) is held
    stuck.set()
    until(lambda: bench.pool._opening == 0)
    opened = bench.lease().result(5)
    assert opened is not held
    for connection in (held, opened):
        connection.finish(reusable=False)


def test_a_dial_that_fails_after_its_task_was_served(bench):
    """It is nobody's error then; a task that is queued and has no other dial under way is told."""
    held = bench.lease().result(5)
    stuck = threading.Event()
    bench.dialer.stuck.append(stuck)
    served = bench.lease()
    until(lambda: not bench.dialer.stuck)
    held.finish(reusable=True)
    assert served.result(5) is held
    bench.dialer.refuse = OSError("no")
    stuck.set()
    until(lambda: bench.pool._opening == 0)
    with pytest.raises(OSError, match="no"):
        bench.lease().result(5)
    bench.dialer.refuse = None
    held.finish(reusable=False)
    until(lambda: (bench.pool.open, bench.pool._opening) == (0, 0))


def test_a_connection_rests_after_an_exchange(bench):
    """Another is opened meanwhile where that is right; a queued task gets it once it has cooled down."""
    bench.pool._cooling_seconds = 0.003
    first = bench.lease().result(5)
    first.finish(reusable=True)
    second, third, fourth = (bench.lease().result(5) for _ in range(3))
    assert first not in (second, third, fourth)
    waiting = bench.lease()
    bench.settle()
    assert not waiting.done()
    bench.clock.advance(0.004)
    assert waiting.result(5) is first
    for connection in (first, second, third, fourth):
        connection.finish(reusable=False)


def test_so_many_may_rest():
    """Of those that rest, four times as many as may be at work do not count: beyond that the next is soon cool."""
    bench = Bench(most=20, most_idle=20, busiest=1)
    try:
        bench.pool._cooling_seconds = 60.0
        for _ in range(5):
            bench.lease().result(5).finish(reusable=True)
            until(lambda: at_rest(bench))
        waiting = bench.lease()
        bench.settle()
        assert not waiting.done()
        assert bench.pool.open == 5
    finally:
        bench.stop()


def test_nothing_is_dialled_for_a_task_that_was_served(bench):
    """Where a connection has come back before a thread was free to open one, none is opened."""
    held, gate = bench.lease().result(5), threading.Event()
    for _ in range(4):
        bench.threads.submit(lambda: gate.wait(10))
    waiting = bench.lease()
    until(lambda: len(bench.threads._items) == 1)
    held.finish(reusable=True)
    assert waiting.result(5) is held
    gate.set()
    until(lambda: bench.pool._opening == 0)
    assert len(bench.dialer.peers) == 1


def test_connections_are_opened_ahead():
    """Where tasks come faster than connections cool, as many are to be ready, but no more than may be at work.

    None is opened so where they rest for a reason.
    """
    bench = Bench(most=12, most_idle=12, busiest=4)
    bench.pool._cooling_seconds = 60.0
    opened = []

    def lease():
        connection = bench.lease().result(5)
        until(lambda: at_rest(bench))
        opened.append(bench.pool.open)
        return connection

    try:
        for _ in range(4):
            lease().finish(reusable=True)
        held = [lease(), lease()]
        bench.pool.distrust()
        for connection in held:
            connection.finish(reusable=True)
        lease().finish(reusable=True)
        assert opened == [1, 2, 5, 5, 5, 8, 3]
    finally:
        bench.stop()


def test_no_more_are_opened_ahead_than_may_be_open(wide_bench):
    """The bound on open connections holds for those, too."""
    resting(wide_bench, 4)
    wide_bench.lease().result(5)
    until(lambda: at_rest(wide_bench))
    assert wide_bench.pool.open == 6


def test_no_more_are_opened_ahead_than_may_be_idle(wide_bench):
    """Nothing is opened to be closed at once."""
    resting(wide_bench, 3)
    wide_bench.pool._most_idle = 1
    wide_bench.lease().result(5)
    until(lambda: at_rest(wide_bench))
    assert len(wide_bench.pool._idle) == 1
    assert len(wide_bench.dialer.peers) == 5


def test_a_closed_pool_opens_nothing_ahead(wide_bench):
    """Where it is closed while one is being opened, that is the last."""
    bench, stuck = wide_bench, threading.Event()
    resting(bench, 3)
    bench.dialer.stuck.append(stuck)
    bench.lease()
    until(lambda: not bench.dialer.stuck)
    bench.pool._closed = True
    stuck.set()
    until(lambda: at_rest(bench))
    assert len(bench.dialer.peers) == 4


@pytest.mark.parametrize("which", [0, 1])
def test_a_dial_that_fails_is_the_last_one_ahead(wide_bench, which):
    """Where one cannot be opened, whether for a task or ahead, no other is tried before a task asks."""
    bench, dials = wide_bench, []
    resting(bench, 3)
    dial = bench.dialer.open

    def refuse_from():
        dials.append(1)
        if len(dials) > which:
            raise OSError("no")
        return dial()

    bench.dialer.open = refuse_from
    lease = bench.lease()
    until(lambda: lease.done() and at_rest(bench))
    assert len(dials) == which + 1
    assert (bench.pool._opening, bench.pool._opening_ahead) == (0, 0)


def test_a_dial_ahead_that_hangs_is_no_tasks(wide_bench):
    """A task that cannot have one that rests gets a connection of its own meanwhile."""
    bench, stuck = wide_bench, threading.Event()
    resting(bench, 2)
    bench.dialer.stuck = [threading.Event(), stuck]
    bench.dialer.stuck[0].set()
    first = bench.lease().result(5)
    until(lambda: bench.pool._opening_ahead == 1)
    until(lambda: not bench.dialer.stuck)
    second = bench.lease(fresh=True).result(5)
    assert second.reused is False
    stuck.set()
    until(lambda: at_rest(bench))
    assert (bench.pool._opening, bench.pool._opening_ahead) == (0, 0)
    for connection in (first, second):
        connection.finish(reusable=False)


def test_a_timer_gives_out_connections_where_many_tasks_wait():
    """Where more tasks wait than may be at work, one that comes back serves none: soon a timer serves them together."""
    bench = Bench(busiest=1)
    try:
        bench.pool._cooling_seconds = 0.003
        first, second = bench.lease().result(5), bench.lease(fresh=True).result(5)
        waiting = [bench.lease() for _ in range(3)]
        bench.settle()
        first.finish(reusable=True)
        bench.clock.advance(0.0032)  # it has rested, and the timer is not due
        second.finish(reusable=True)
        bench.settle()
        served = [future for future in waiting if future.done()]
        bench.clock.advance(0.0005)
        assert waiting[0].result(5) is first
        assert served == []
        bench.clock.advance(0.004)
        assert waiting[1].result(5) is second
        for connection in (first, second):
            connection.finish(reusable=False)
    finally:
        bench.stop()


def test_connections_that_are_not_trusted(bench, caplog):
    """After a surplus those that are kept are closed, one that comes back rests for a second, and it is said once."""
    kept, held = bench.lease().result(5), bench.lease().result(5)
    kept.finish(reusable=True)
    bench.pool.distrust()
    bench.pool.distrust()
    assert bench.dialer.peers[0].recv(1) == b""
    held.finish(reusable=True)
    bench.clock.advance(0.9)
    other = bench.lease().result(5)
    assert other is not held
    bench.clock.advance(0.2)
    assert bench.lease().result(5) is held
    assert caplog.text.count("no request asked for") == 1
    bench.clock.advance(3600.0)
    other.finish(reusable=True)
    assert bench.lease().result(5) is other
    for connection in (held, other):
        connection.finish(reusable=False)


def test_a_refused_connection_is_its_jobs_error_alone(bench):
    """Others in line try for themselves; nothing is counted as open afterwards."""
    bench.dialer.refuse = OSError("no")
    for lease in [bench.lease() for _ in range(10)]:
        with pytest.raises(OSError, match="no"):
            lease.result(5)
    bench.settle()
    assert (bench.pool.open, bench.pool._opening, bench.pool._parked) == (0, 0, 0)
    bench.dialer.refuse = None
    bench.lease().result(5).finish(reusable=True)


def test_a_task_that_was_cancelled_in_queue_is_passed_over(bench):
    """Its turn, or the connection that was opened for it, goes to the next."""
    held = [bench.lease().result(5) for _ in range(3)]
    cancelled, waiting = bench.lease(), bench.lease()
    bench.settle()
    assert cancelled.cancel()
    held[0].finish(reusable=True)
    assert waiting.result(5) is held[0]
    for connection in held:
        connection.finish(reusable=False)
    until(lambda: (bench.pool.open, bench.pool._opening, bench.pool._parked) == (0, 0, 0))


def test_a_closed_pool_keeps_nothing(bench):
    """Idle connections are closed at once, leased ones when they come back."""
    idle, leased = bench.lease().result(5), bench.lease().result(5)
    idle.finish(reusable=True)
    bench.pool.close()
    assert bench.dialer.peers[0].recv(1) == b""
    leased.finish(reusable=True)
    assert bench.dialer.peers[1].recv(1) == b""
    assert bench.pool.open == 0


def test_a_child_closes_its_copies_without_the_kernel_table(bench):
    """The table of parked sockets is shared with the parent: it is let go of before anything is closed."""
    connection = bench.lease().result(5)
    connection.park(ScheduledTask(bench.scheduler, lambda: iter(()), ClientFuture(None)), 1)
    bench.reactor.forked()
    with pytest.raises(ValueError, match="closed"):
        bench.reactor._poller.forget(connection.fileno)
    bench.pool.forked()
    assert connection._socket.fileno() == -1
    connection.finish(reusable=False)


class Interposed:
    """A lock after whose first use something else happens."""

    def __init__(self, lock, action):
        self._lock = lock
        self._action = action

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *error):
        self._lock.release()
        action, self._action = self._action, lambda: None
        action()


def test_a_lease_in_the_midst_of_a_release():
    """Who comes while the only connection goes back gets it."""
    bench = Bench(most=1, busiest=1)
    try:
        connection, leases = bench.lease().result(5), []
        bench.pool._lock = Interposed(bench.pool._lock, lambda: (leases.append(bench.lease()), bench.settle()))
        connection.finish(reusable=True)
        assert leases[0].result(5) is connection
        connection.close()
    finally:
        bench.stop()


def test_many_jobs_on_few_connections():
    """A thousand leases from many threads on three connections: each gets one, none is left over."""
    bench = Bench(most=3, busiest=3)
    try:
        done = []

        def work():
            for _ in range(100):
                connection = bench.lease(high_priority=False).result(10)
                assert isinstance(connection, Connection)
                done.append(1)
                connection.finish(reusable=len(done) % 7 != 0)

        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(done) == 1000
        until(lambda: bench.pool._opening == 0)  # a connection for a task that has got another one meanwhile
        bench.settle()
        assert bench.pool.open <= 2
        assert (bench.pool._opening, bench.pool._parked) == (0, 0)
    finally:
        bench.stop()
