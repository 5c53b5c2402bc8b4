"""The connections to one server: who may have one, and what is done with it when it comes back."""

from __future__ import annotations

import select
import socket
import weakref
from collections import deque

from tinkex._clock import Clock
from tinkex._dialer import Dialer, not_now
from tinkex._http import ResponseReader
from tinkex._job import Grant, Job
from tinkex._locks import new_lock
from tinkex._threads import ElasticPool
from tinkex._waiter import Waiter
from tinkex.errors import APIConnectionError

_RECEIVE_FIRST = 16 * 1024  # what most answers fit in; larger buffers cost page faults
_RECEIVE_MORE = 256 * 1024
_IDLE_SECONDS = 30.0
_TURN_SECONDS = 5.0  # what a long poll may have of a connection that other polls want
_URGENT_TURN_SECONDS = 1.0  # the same where a submission wants it


class Connection(Grant):
    """One socket, used by one job at a time, never waited on by reading: what is not there yet is waited for parked."""

    __slots__ = (
        "__weakref__", "_armed", "_not_now", "_parked", "_poll", "_pool", "_secure",
        "_socket", "_waiter", "fileno", "idle_since", "patient", "reused",
    )  # fmt: skip

    def __init__(self, raw: socket.socket, pool: ConnectionPool, waiter: Waiter) -> None:
        self._socket = raw
        self._secure = type(raw) is not socket.socket
        self._not_now = not_now(raw)
        self._pool = pool
        self._waiter = waiter
        self._armed = False
        self._parked = False
        self._poll = select.poll()
        self._poll.register(raw, select.POLLIN)
        self.fileno = raw.fileno()
        self.idle_since = 0.0
        self.patient = False  # whether the exchange it carries may be ended for somebody who waits in line
        self.reused = False  # whether it has carried an exchange before

    def send(self, data: memoryview) -> int:
        """Send what the kernel takes now; 0 means wait until writable."""
        try:
            return self._socket.send(data)
        except self._not_now:
            return 0

    def receive(self, reader: ResponseReader) -> bool:
        """Feed `reader` what has come; True once its response is complete. An early end raises ConnectionResetError."""
        while True:
            room = reader.room()
            size = _RECEIVE_FIRST if not reader.started else _RECEIVE_MORE if room is None else len(room)
            try:
                if room is None:
                    data = self._socket.recv(size)
                    count = len(data)
                else:
                    with room:
                        count = self._socket.recv_into(room)
            except self._not_now:
                return False
            if not count:
                if reader.end():
                    return True
                raise ConnectionResetError(f"the server closed the connection{' in mid-answer' * reader.started}")
            if reader.feed(data) if room is None else reader.filled(count):
                return True
            if count < size and not self._secure:
                return False  # saves the call that would say so

    def unpark(self) -> None:
        """Note that it is at work again, after a wait."""
        if self._parked:
            self._parked = False
            self._pool.unparked(self)

    def readable_within(self, milliseconds: int) -> bool:
        """Whether something can be read within so short a time that parking would cost more."""
        return bool(self._poll.poll(milliseconds))

    def park(self, job: Job, epoch: int, *, write: bool = False) -> None:
        """Have the waiter wake `job` when there is something to read, or room to write."""
        known, self._armed = self._armed, True
        if not self._parked:
            self._parked = True
            self._pool.parked(self, job, epoch)
        self._waiter.park(self.fileno, job, epoch, write=write, known=known)

    def is_alive(self) -> bool:
        """Whether an idle connection can be used again: open, and nothing unasked-for in it."""
        if not self._poll.poll(0):
            return True
        if not self._secure:
            return False
        try:
            self._socket.recv(1)
        except self._not_now:
            return True  # a TLS session ticket: no answer, and no end
        except OSError:
            pass
        return False

    def give_back(self) -> None:
        """Return it unused, to the pool."""
        self._pool.release(self)

    def release(self, *, reusable: bool) -> None:
        """Return it after an exchange, to be used again or closed."""
        self.unpark()
        if reusable:
            self.reused = True
            self._pool.release(self)
        else:
            self._pool.discard(self)

    def close(self) -> None:
        """Close the socket, at once and without a word to the peer."""
        self._waiter.forget(self.fileno)
        self._socket.close()


class Lease:
    """A wait for a connection; yields a `Connection`, or raises the error of opening one."""

    __slots__ = ("_fresh", "_pool", "_urgent", "until")

    def __init__(self, pool: ConnectionPool, until: float, *, urgent: bool, fresh: bool = False) -> None:
        self._pool = pool
        self._urgent = urgent
        self._fresh = fresh
        self.until = until

    def arm(self, job: Job, epoch: int) -> None:
        """Take an idle one at once, open one, or stand in line."""
        self._pool.lease(job, epoch, urgent=self._urgent, fresh=self._fresh)


class ConnectionPool:
    """At most `most` open connections; jobs beyond that stand in line, submissions before polls.

    New ones are opened while fewer than `busiest` are at work. One that waits for the server, parked, is not at work:
    so quick answers make do with a few connections, and slow ones get as many as they need. Once no more may be opened,
    long polls end early, the oldest first, for those in line. Idle connections are used last in, first out, so that the
    surplus grows old and is closed after 30 s.
    """

    def __init__(
        self,
        dialer: Dialer,
        waiter: Waiter,
        threads: ElasticPool,
        clock: Clock,
        *,
        most: int,
        most_idle: int,
        busiest: int,
    ) -> None:
        self._dialer = dialer
        self._waiter = waiter
        self._threads = threads
        self._clock = clock
        self._most = most
        self._most_idle = most_idle
        self._busiest = busiest
        self._all: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._lock = new_lock()  # guards all below
        self._idle: deque[Connection] = deque()
        self._urgent: deque[tuple[Job, int]] = deque()
        self._patient: deque[tuple[Job, int]] = deque()
        self._resting: dict[Connection, tuple[Job, int, float]] = {}  # parked in long polls, oldest first
        self._busy = 0  # being opened, or leased and not parked
        self._sweeping = False
        self._closed = False
        self.open = 0

    def lease(self, job: Job, epoch: int, *, urgent: bool, fresh: bool) -> None:
        """See `Lease`."""
        while not fresh:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
                if idle is None:
                    (self._urgent if urgent else self._patient).append((job, epoch))
                    break
                self._busy += 1
            if idle.is_alive():
                if not job.wake(epoch, idle):
                    self.release(idle)
                return
            self.discard(idle)
        else:
            with self._lock:
                self._urgent.appendleft((job, epoch))
        self._grow(at_least_one=fresh)

    def parked(self, connection: Connection, job: Job, epoch: int) -> None:
        """A leased connection waits for the server: somebody else may be served by a new one."""
        with self._lock:
            self._busy -= 1
            if connection.patient:
                self._resting[connection] = (job, epoch, self._clock.monotonic())
            wanted = bool(self._urgent or self._patient)
        if wanted:
            self._grow()

    def unparked(self, connection: Connection) -> None:
        """It is at work again."""
        with self._lock:
            self._busy += 1
            self._resting.pop(connection, None)

    def release(self, connection: Connection) -> None:
        """Hand a usable connection to the next in line, or keep it."""
        while (next_in_line := self._next()) is not None:
            if next_in_line[0].wake(next_in_line[1], connection):
                return
        with self._lock:
            self._busy -= 1
            connection.idle_since = self._clock.monotonic()
            surplus = self._closed or len(self._idle) >= self._most_idle
            sweep = not surplus and not self._sweeping
            if surplus:
                self.open -= 1
            else:
                self._idle.append(connection)
                self._sweeping = True
        if surplus:
            connection.close()
        if sweep:
            self._waiter.call_at(connection.idle_since + _IDLE_SECONDS, self, 0)

    def discard(self, connection: Connection) -> None:
        """Close a leased connection; the next in line may open another."""
        connection.close()
        self._lost()

    def close(self) -> None:
        """Close what is idle, and whatever comes back from now on."""
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

    def wake(self, epoch: int, value: object) -> bool:
        """Close connections that have been idle for long; called by the waiter."""
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
            self._waiter.call_at(oldest + _IDLE_SECONDS, self, 0)
        return True

    def is_waiting(self, epoch: int) -> bool:
        """Whether the sweep still has a purpose."""
        return self._sweeping

    def _grow(self, *, at_least_one: bool = False) -> None:
        """Open a connection for the line, where that is right."""
        with self._lock:
            full = self.open >= self._most
            grow = not full and (at_least_one or self._busy < self._busiest)
            self._busy += grow
            self.open += grow
        if full:
            self._hasten()
        elif grow:
            try:
                self._threads.submit(self._open)
            except RuntimeError as error:  # no thread can be had
                while (next_in_line := self._next()) is not None:
                    failure = APIConnectionError(f"No connection could be opened: {error}. Nothing was sent.")
                    next_in_line[0].wake(next_in_line[1], failure)
                self._lost()

    def _hasten(self) -> None:
        """No more may be opened: have the poll that has been parked longest end once it has had its turn."""
        with self._lock:
            if not self._resting:
                return
            job, epoch, since = self._resting.pop(next(iter(self._resting)))
            turn = _URGENT_TURN_SECONDS if self._urgent else _TURN_SECONDS
        self._waiter.call_at(since + turn, job, epoch)

    def _open(self) -> None:
        next_in_line = self._next()
        if next_in_line is None:
            self._lost()
            return
        job, epoch = next_in_line
        try:
            connection = Connection(self._dialer.open(), self, self._waiter)
        except BaseException as error:  # noqa: BLE001 - it belongs to the job, whatever it is
            self._lost()
            job.wake(epoch, error)
            return
        self._all.add(connection)
        if self._closed:
            self.discard(connection)
        elif not job.wake(epoch, connection):
            self.release(connection)

    def _lost(self) -> None:
        with self._lock:
            self._busy -= 1
            self.open -= 1
            wanted = bool(self._urgent or self._patient)
        if wanted:
            self._grow()

    def _next(self) -> tuple[Job, int] | None:
        with self._lock:
            while line := self._urgent or self._patient:
                job, epoch = line.popleft()
                if job.is_waiting(epoch):
                    return job, epoch
        return None
