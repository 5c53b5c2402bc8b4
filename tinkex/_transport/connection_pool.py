"""Connection pool: which task may have a connection, when another is opened, what becomes of those not needed."""

from __future__ import annotations

from collections import deque

from tinkex._concurrency.clock import Clock, MovedClock
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.fork_locks import new_lock
from tinkex._runtime.reactor import Reactor
from tinkex._runtime.task import ScheduledTask
from tinkex._transport.connection import Connection
from tinkex._transport.dial import Dialer
from tinkex.errors import APIConnectionError

_IDLE_SECONDS = 30.0
_TURN_SECONDS = 5.0  # what a long poll may have of a connection that other polls want
_HIGH_PRIORITY_TURN_SECONDS = 1.0  # the same where a submission wants it
_SETTLING_SECONDS = 0.01  # for so long a parked connection counts as at work: its answer may be about to come
_SWEEP, _GROWTH = 0, 1  # the wait ids of the pool's two timers


class Lease:
    """Wait for a pooled connection, however long; yields a `Connection`, or raises the error of opening one."""

    __slots__ = ("_fresh", "_high_priority", "_pool")
    until = float("inf")

    def __init__(self, pool: ConnectionPool, *, high_priority: bool, fresh: bool = False) -> None:
        self._pool = pool
        self._high_priority = high_priority
        self._fresh = fresh

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        """Take an idle connection at once, or queue for one."""
        self._pool.lease(task, wait_id, high_priority=self._high_priority, fresh=self._fresh)


class ConnectionPool:
    """Connection pool of at most `most` open connections; tasks beyond that queue, submissions before polls.

    New ones are opened while fewer than `busiest` are at work. One that has waited for the server a while, parked, is
    not at work, and a quarter as many as have waited so may be at work besides. Thus quick answers make do with a few
    connections, and slow ones get as many as they need, within a second. Once no more may be opened, long polls end
    early, the oldest first, for queued tasks. Idle connections are used last in, first out, so that the surplus grows
    old and is closed after 30 s.
    """

    def __init__(
        self,
        dialer: Dialer,
        reactor: Reactor,
        threads: ElasticPool,
        clock: Clock,
        *,
        most: int,
        most_idle: int,
        busiest: int,
    ) -> None:
        self._dialer = dialer
        self._reactor = reactor
        self._threads = threads
        self._clock = clock
        self._most = most
        self._most_idle = most_idle
        self._busiest = busiest
        self._settling = 0.0 if isinstance(clock, MovedClock) else _SETTLING_SECONDS  # that one may never move
        self._all: set[Connection] = set()
        self._lock = new_lock()  # guards all below
        self._idle: deque[Connection] = deque()
        self._high_priority: deque[tuple[ScheduledTask, int]] = deque()
        self._low_priority: deque[tuple[ScheduledTask, int]] = deque()
        self._resting: dict[Connection, tuple[ScheduledTask, int, float]] = {}  # parked in long polls, oldest first
        self._preempted = 0  # parked in long polls that will end for queued tasks
        self._parked = 0
        self._parks = [0, 0]  # how many were parked in the settling time before this one, and in this one
        self._settling_since = float("-inf")
        self._opening = 0
        self._growing = False
        self._sweeping = False
        self._closed = False
        self.open = 0  # or being opened

    def lease(self, task: ScheduledTask, wait_id: int, *, high_priority: bool, fresh: bool) -> None:
        """See `Lease`."""
        while not fresh:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
                if idle is None:
                    (self._high_priority if high_priority else self._low_priority).append((task, wait_id))
                    break
            if idle.is_alive():
                if not task.resume(wait_id, idle):
                    self.release(idle)
                return
            self.discard(idle)
        else:
            with self._lock:
                self._high_priority.appendleft((task, wait_id))
        self._grow(at_least=int(fresh))

    def parked(self, connection: Connection, task: ScheduledTask, wait_id: int) -> None:
        """A leased connection waits for the server: a queued task may be served by a new one."""
        with self._lock:
            now = self._clock.monotonic()
            self._move_on(now)
            self._parked += 1
            self._parks[1] += 1
            if connection.preemptible:
                self._resting[connection] = (task, wait_id, now)
            wanted = bool(self._high_priority or self._low_priority)
        if wanted:
            self._grow()

    def unparked(self, connection: Connection) -> None:
        """A parked connection is at work again."""
        with self._lock:
            self._parked -= 1
            if connection.preemptible and self._resting.pop(connection, None) is None:
                self._preempted -= 1

    def release(self, connection: Connection) -> None:
        """Hand a usable connection to the next queued task, or keep it."""
        surplus = sweep = False
        while True:
            with self._lock:  # for both: a task queued in between would not see the connection become idle
                next_task = self._next()
                if next_task is None:
                    connection.idle_since = self._clock.monotonic()
                    surplus = self._closed or len(self._idle) >= self._most_idle
                    sweep = not surplus and not self._sweeping
                    if surplus:
                        self.open -= 1
                    else:
                        self._idle.append(connection)
                        self._sweeping = True
                    break
            if next_task[0].resume(next_task[1], connection):
                return
        if surplus:
            connection.close()
        if sweep:
            self._reactor.call_at(connection.idle_since + _IDLE_SECONDS, self, _SWEEP)

    def discard(self, connection: Connection) -> None:
        """Close a leased connection; another may be opened for the next queued task."""
        connection.close()
        with self._lock:
            self.open -= 1
        self._grow()

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        self._all.discard(connection)

    def close(self) -> None:
        """Close the idle connections, and those that come back from now on."""
        with self._lock:
            self._closed = True
            idle = list(self._idle)
            self._idle.clear()
            self.open -= len(idle)
        for connection in idle:
            connection.close()

    def forked(self) -> None:
        """In a child: close our copies of the parent's sockets; the parent's stay open."""
        self._closed = True
        for connection in tuple(self._all):
            connection.close()

    def resume(self, wait_id: int, value: object) -> bool:
        """Time to close what has been idle for long, or to see to queued tasks; called by the reactor."""
        if wait_id == _GROWTH:
            with self._lock:
                self._growing = False
            self._grow()
        else:
            self._sweep()
        return True

    def is_waiting(self, wait_id: int) -> bool:
        """Whether that timer still has a purpose."""
        return self._growing if wait_id == _GROWTH else self._sweeping

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        old: list[Connection] = []
        with self._lock:
            while self._idle and self._idle[0].idle_since <= now - _IDLE_SECONDS:
                old.append(self._idle.popleft())
            self.open -= len(old)
            oldest = self._idle[0].idle_since if self._idle else None
            self._sweeping = oldest is not None
        for connection in old:
            connection.close()
        if oldest is not None:
            self._reactor.call_at(oldest + _IDLE_SECONDS, self, _SWEEP)

    def _grow(self, *, at_least: int = 0) -> None:
        """Open connections for queued tasks, where that is right; look again later where it may become right."""
        with self._lock:
            queued = len(self._high_priority) + len(self._low_priority) - self._opening
            if queued <= 0:
                return
            now = self._clock.monotonic()
            wanted = max(at_least, min(queued, self._room_at_work(now)))
            count = max(0, min(wanted, self._most - self.open))
            self.open += count
            self._opening += count
            full = count < wanted
            later = count < queued and not full and not self._growing and self._settling > 0.0
            self._growing |= later
        if full:
            self._preempt(queued)
        if later:
            self._reactor.call_at(now + self._settling, self, _GROWTH)
        try:
            while count:
                self._threads.submit(self._open)
                count -= 1
        except RuntimeError as error:  # no thread can be had
            with self._lock:
                self.open -= count
                self._opening -= count
                stranded = [*self._high_priority, *self._low_priority]
                self._high_priority.clear()
                self._low_priority.clear()
            for task, wait_id in stranded:
                task.resume(wait_id, APIConnectionError(f"No connection could be opened: {error}. Nothing was sent."))

    def _room_at_work(self, now: float) -> int:
        """How many more may be at work; call it with the lock."""
        self._move_on(now)
        settled = max(0, self._parked - sum(self._parks))
        return max(self._busiest, settled // 4) - (self.open - len(self._idle) - settled)

    def _move_on(self, now: float) -> None:
        """Begin to count anew once the settling time is over; call it with the lock."""
        passed = now - self._settling_since
        if passed >= self._settling:
            self._parks = [self._parks[1] if passed < 2 * self._settling else 0, 0]
            self._settling_since = now

    def _preempt(self, queued: int) -> None:
        """No more may be opened: have as many long polls as tasks are queued end once they have had their turn."""
        with self._lock:
            turn = _HIGH_PRIORITY_TURN_SECONDS if self._high_priority else _TURN_SECONDS
            count = max(0, min(queued - self._preempted, len(self._resting)))
            preempted = [self._resting.pop(next(iter(self._resting))) for _ in range(count)]
            self._preempted += count
        for task, wait_id, since in preempted:
            self._reactor.call_at(since + turn, task, wait_id)

    def _open(self) -> None:
        with self._lock:
            next_task = self._next()
        connection = error = None
        try:
            if next_task is not None:
                connection = Connection(self._dialer.open(), self, self._reactor)
                self._all.add(connection)
        except BaseException as raised:  # noqa: BLE001 - it belongs to the task
            error = raised
        with self._lock:
            self._opening -= 1
            self.open -= connection is None
        if connection is None:
            if next_task is not None:
                next_task[0].resume(next_task[1], error)
            self._grow()
        elif self._closed:
            self.discard(connection)
        elif next_task is None or not next_task[0].resume(next_task[1], connection):
            self.release(connection)

    def _next(self) -> tuple[ScheduledTask, int] | None:
        """Take the next task out of the queues; call it with the lock."""
        while queue := self._high_priority or self._low_priority:
            task, wait_id = queue.popleft()
            if task.is_waiting(wait_id):
                return task, wait_id
        return None
