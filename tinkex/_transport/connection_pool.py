"""Connection pool: which task may have a connection, when another is opened, what becomes of those not needed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from tinkex._concurrency.clock import Clock, is_moved
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
_COOLING_SECONDS = 0.003  # that a connection rests between two requests: bytes behind an answer, if any, come by then
_DISTRUSTED_COOLING_SECONDS = 1.0  # the same once there were such bytes
_TOGETHER_SECONDS = 0.0005  # what rests so long after another is given out together with it
_DISTRUST_SECONDS = 3600.0
_SWEEP, _GROWTH, _COOLED = 0, 1, 2  # the wait ids of the pool's timers

logger = logging.getLogger("tinkex")


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

    An answer belongs to a request by its place in the stream alone. So that bytes behind one are not taken for the next
    one, a connection rests a moment after each, and is looked at before it is used again (`Connection.is_clean`). Once
    there were such bytes, it rests for a second: nearly every request has a connection of its own then, for an hour.
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
        self._settling = 0.0 if is_moved(clock) else _SETTLING_SECONDS  # that one may never move
        self._cooling_seconds = 0.0 if is_moved(clock) else _COOLING_SECONDS
        self._all: set[Connection] = set()
        self._lock = new_lock()  # guards all below
        self._idle: deque[Connection] = deque()
        self._cooling: deque[Connection] = deque()  # back from an exchange a moment ago, the oldest first
        self._cooled_soon = False  # whether the timer for them is on
        self._distrusted_until = float("-inf")
        self._fresh: deque[tuple[ScheduledTask, int]] = deque()  # tasks that want a connection without a past
        self._high_priority: deque[tuple[ScheduledTask, int]] = deque()
        self._low_priority: deque[tuple[ScheduledTask, int]] = deque()
        self._resting: dict[Connection, tuple[ScheduledTask, int, float]] = {}  # parked in long polls, oldest first
        self._preempted = 0  # parked in long polls that will end for queued tasks
        self._parked = 0
        self._parks = [0, 0]  # how many were parked in the settling time before this one, and in this one
        self._settling_since = float("-inf")
        self._opening = 0
        self._opening_ahead = 0  # of those: for tasks to come
        self._growing = self._sweeping = self._closed = False
        self.open: int = 0  # or being opened

    def take(self) -> Connection | None:
        """A connection that is idle, unless others wait for one."""
        if self._high_priority or self._low_priority:
            return None
        with self._lock:
            if self._cooling:
                self._rest(self._clock.monotonic())
            return self._idle.pop() if self._idle else None

    def lease(self, task: ScheduledTask, wait_id: int, *, high_priority: bool, fresh: bool) -> None:
        """See `Lease`."""
        queue = self._fresh if fresh else self._high_priority if high_priority else self._low_priority
        with self._lock:
            queue.append((task, wait_id))
            soon = self._cooled_soon and self._growing and not (fresh or self._idle)
        if not soon:  # else it is seen to when the next have rested, and when more may be opened
            self._serve()
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
        """Take back a usable connection, for the next queued task or to keep."""
        with self._lock:
            connection.idle_since = now = self._clock.monotonic()
            keep = not self._closed and (now >= self._distrusted_until or len(self._cooling) < self._most_idle)
            if keep:
                (self._cooling if connection.reused else self._idle).append(connection)
            sweep, self._sweeping = keep and not self._sweeping, keep or self._sweeping
            queued = len(self._high_priority) + len(self._low_priority)
            together = self._cooled_soon and not self._idle and queued > self._busiest and now >= self._distrusted_until
            wanted = bool(self._fresh or (queued and not together))  # else the timer gives out what has rested
            wanted |= len(self._idle) + len(self._cooling) > self._most_idle
        if not keep:
            self.discard(connection)
            return
        if sweep:
            self._reactor.call_at(now + _IDLE_SECONDS, self, _SWEEP)
        if wanted:
            self._serve()

    def distrust(self) -> None:
        """Let connections rest for long from now on: there was something behind an answer that no request asked for."""
        with self._lock:
            trusted = not self._is_distrusted()
            self._distrusted_until = self._clock.monotonic() + _DISTRUST_SECONDS
        self.close_kept()
        if trusted:
            logger.warning(
                "The server, or a proxy, sent something behind an answer that no request asked for. For an hour hardly"
                " any connection is used twice."
            )

    def close_kept(self) -> None:
        """Close the connections that no task has: one of them may have an answer to come that is no next task's."""
        with self._lock:
            kept = [*self._idle, *self._cooling]
            self._idle.clear()
            self._cooling.clear()
            self.open -= len(kept)
        _close(kept)
        self._grow()

    def _is_distrusted(self) -> bool:
        return self._clock.monotonic() < self._distrusted_until

    def _rest(self, now: float) -> float:
        """Have those that have rested count as idle, and say for how long they rest; call it with the lock."""
        rest = _DISTRUSTED_COOLING_SECONDS if now < self._distrusted_until else self._cooling_seconds
        while self._cooling and self._cooling[0].idle_since <= now - rest:
            self._idle.append(self._cooling.popleft())
        return rest

    def _serve(self) -> None:
        """Give queued tasks the connections that have cooled down, and close those too many to keep."""
        with self._lock:
            rest = self._rest(self._clock.monotonic())
            leased = []
            while self._idle and (queued := self._next()) is not None:
                leased.append((*queued, self._idle.pop()))
            excess = self._take_excess()
            wanted = bool(self._high_priority or self._low_priority) or len(self._cooling) > self._most_idle
            later = bool(self._cooling) and wanted and not self._cooled_soon
            self._cooled_soon |= later
            cooled_at = self._cooling[0].idle_since + rest + _TOGETHER_SECONDS if later else 0.0
        if later:
            self._reactor.call_at(cooled_at, self, _COOLED)
        for task, wait_id, connection in leased:
            if not task.resume(wait_id, connection):
                self.release(connection)
        if excess:
            _close(excess)
            self._grow()

    def _take_excess(self) -> list[Connection]:
        """Take out those too many to keep, and those in the way of tasks that want new ones; call it with the lock."""
        excess: list[Connection] = []
        while len(self._idle) > self._most_idle:
            excess.append(self._idle.pop())
        if self.open >= self._most:
            wanting = self._queued() if self._is_distrusted() else len(self._fresh)
            while wanting - self._opening > len(excess) and (self._idle or self._cooling):
                excess.append((self._idle or self._cooling).popleft())
        self.open -= len(excess)
        return excess

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
        self.close_kept()

    def forked(self) -> None:
        """In a child: close our copies of the parent's sockets; the parent's stay open."""
        self._closed = True
        _close(tuple(self._all))

    def resume(self, wait_id: int, value: object) -> bool:
        """Time to close what has been idle for long, or to see to queued tasks; called by the reactor."""
        if wait_id == _GROWTH:
            with self._lock:
                self._growing = False
            self._grow()
        elif wait_id == _COOLED:
            with self._lock:
                self._cooled_soon = False
            self._serve()
        else:
            self._sweep()
        return True

    def is_waiting(self, wait_id: int) -> bool:
        """Whether that timer still has a purpose."""
        return (self._sweeping, self._growing, self._cooled_soon)[wait_id]

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        old: list[Connection] = []
        with self._lock:
            self._rest(now)
            while self._idle and self._idle[0].idle_since + _IDLE_SECONDS <= now:  # the very sum that was scheduled
                old.append(self._idle.popleft())
            self.open -= len(old)
            oldest = next((connection.idle_since for connection in (*self._idle, *self._cooling)), None)
            self._sweeping = oldest is not None
        _close(old)
        if oldest is not None:
            self._reactor.call_at(oldest + _IDLE_SECONDS, self, _SWEEP)

    def _grow(self, *, at_least: int = 0) -> None:
        """Open connections for queued tasks, where that is right; look again later where it may become right."""
        with self._lock:
            queued = self._queued() - (self._opening - self._opening_ahead)
            if queued <= 0 or self._closed:
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
            self._preempt(queued - len(self._cooling))
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
                queues = self._fresh, self._high_priority, self._low_priority
                stranded = [queued for queue in queues for queued in queue]
                for queue in queues:
                    queue.clear()
            for task, wait_id in stranded:
                task.resume(wait_id, APIConnectionError(f"No connection could be opened: {error}. Nothing was sent."))

    def _room_at_work(self, now: float) -> int:
        """How many more may be at work; call it with the lock."""
        self._move_on(now)
        settled = max(0, self._parked - sum(self._parks))
        cooling = len(self._cooling)
        if not self._is_distrusted():
            cooling = min(cooling, 4 * self._busiest)  # beyond that the next is soon cool
        return max(self._busiest, settled // 4) - (self.open - len(self._idle) - cooling - settled)

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
        """Open a connection for a task that is queued, and then some for those that will be."""
        opened = self._open_one()
        while opened and self._opens_ahead():
            opened = self._open_one(ahead=True)

    def _opens_ahead(self) -> bool:
        """Whether to open another: tasks come faster than connections cool down, so that as many are to be ready."""
        with self._lock:
            now = self._clock.monotonic()
            self._rest(now)
            wanted = min(len(self._cooling), self._most_idle, self._room_at_work(now)) if len(self._cooling) > 1 else 0
            ahead = len(self._idle) + self._opening_ahead < wanted and self.open < self._most
            ahead = ahead and not (self._closed or self._is_distrusted())
            self.open += ahead
            self._opening += ahead
            self._opening_ahead += ahead
        return ahead

    def _open_one(self, *, ahead: bool = False) -> bool:
        """Open a connection for whichever task is next by then; whether it was opened: others come back meanwhile."""
        connection = error = None
        with self._lock:
            needed = self._is_wanted() and not self._closed
        try:
            if needed:
                connection = Connection(self._dialer.open(), self, self._reactor)
                self._all.add(connection)
        except BaseException as raised:  # noqa: BLE001 - it belongs to the task
            error = raised
        with self._lock:
            self._opening -= 1
            self._opening_ahead -= ahead
            self.open -= connection is None
            mine = connection is not None or (error is not None and self._queued() > self._opening)
            queued = self._next(new=True) if mine else None
        leased = queued is not None and queued[0].resume(queued[1], error if connection is None else connection)
        if connection is not None and not leased:
            self.release(connection)
        self._grow()
        return connection is not None

    def _is_wanted(self) -> bool:
        """Whether there are, or will be, tasks for every connection that is being opened; call it with the lock."""
        for queue in (self._fresh, self._high_priority, self._low_priority):
            while queue and not queue[0][0].is_waiting(queue[0][1]):
                queue.popleft()
        return self._queued() + len(self._cooling) >= self._opening

    def _queued(self) -> int:
        return len(self._fresh) + len(self._high_priority) + len(self._low_priority)

    def _next(self, *, new: bool = False) -> tuple[ScheduledTask, int] | None:
        """Take the next task out of the queues, for a connection that may be `new`; call it with the lock."""
        while queue := (new and self._fresh) or self._high_priority or self._low_priority:
            task, wait_id = queue.popleft()
            if task.is_waiting(wait_id):
                return task, wait_id
        return None


def _close(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.close()
