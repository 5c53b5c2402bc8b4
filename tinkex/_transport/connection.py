"""Non-blocking connection: sends and receives what the kernel takes and has, and parks for the rest."""

from __future__ import annotations

import select
import socket
import sys
from typing import Final, Protocol

from tinkex._runtime.reactor import Reactor
from tinkex._runtime.task import Permit, ScheduledTask
from tinkex._transport.dial import not_now
from tinkex._transport.http11 import ResponseReader

_RECEIVE_FIRST = 16 * 1024  # what most answers fit in; larger buffers cost page faults
_RECEIVE_MORE = 256 * 1024
_SURPLUS_SECONDS = 1.0  # what comes behind an answer within this is a surplus
# Of Linux's struct tcp_info (linux/tcp.h, since 4.1), which only grows at its end.
_TCP_INFO: Final = socket.TCP_INFO if sys.platform == "linux" else None
_TCP_INFO_BYTES = 136
_TCP_STATE = 0
_BYTES_RECEIVED = slice(128, 136)
_ESTABLISHED = 1


class Pool(Protocol):
    """Interface of the connection pool, as a connection calls it."""

    def parked(self, connection: Connection, task: ScheduledTask, wait_id: int) -> None:
        """The connection waits for the server, or for room to write."""

    def unparked(self, connection: Connection) -> None:
        """The connection is at work again."""

    def release(self, connection: Connection) -> None:
        """Take the connection back, usable."""

    def discard(self, connection: Connection) -> None:
        """Take the connection back, to be closed."""

    def distrust(self) -> None:
        """The server sends what no request asked for."""

    def closed(self, connection: Connection) -> None:
        """The connection is closed."""


class Connection(Permit):
    """Non-blocking socket, used by one task at a time: what is not there yet is waited for parked."""

    __slots__ = (
        "_armed",
        "_not_now",
        "_parked",
        "_pool",
        "_reactor",
        "_received",
        "_secure",
        "_socket",
        "fileno",
        "idle_since",
        "preemptible",
        "reused",
    )

    def __init__(self, raw: socket.socket, pool: Pool, reactor: Reactor) -> None:
        self._socket = raw
        self._secure = type(raw) is not socket.socket
        self._not_now = not_now(raw)
        self._pool = pool
        self._reactor = reactor
        self._armed = False
        self._parked = False
        self._received = 0  # bytes that were read from it
        self.fileno: int = raw.fileno()
        self.idle_since: float = 0.0
        self.preemptible: bool = False  # whether its long poll may be ended for a task that waits for a connection
        self.reused: bool = False  # whether it has carried an exchange before

    def send(self, data: bytes | memoryview) -> int:
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
            self._received += count
            if not count:
                if reader.end():
                    return True
                raise ConnectionResetError(f"the server closed the connection{' in mid-answer' * reader.started}")
            if room is None:
                if reader.feed(data):
                    return True
            elif reader.filled(count):  # and what comes behind it was not read
                reader.keep_alive &= self.is_clean()
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
        poll = select.poll()  # made in less time than it takes to keep thousands of them
        poll.register(self.fileno, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def park(self, task: ScheduledTask, wait_id: int, *, write: bool = False) -> None:
        """Have the reactor resume `task` when there is something to read, or room to write."""
        known, self._armed = self._armed, True
        if not self._parked:
            self._parked = True
            self._pool.parked(self, task, wait_id)
        self._reactor.park(self.fileno, task, wait_id, write=write, known=known)

    def is_clean(self, rested: float = 0.0) -> bool:
        """Whether it can be used again: open, and with nothing in it that no request asked for.

        The pool hears of that, unless the connection has `rested` for a while: proxies may say why they close it.
        """
        if not self._secure and self._is_read_out():
            return True
        found = self._found()
        if found and rested < _SURPLUS_SECONDS:
            self._pool.distrust()
        return found is None

    def _is_read_out(self) -> bool:
        """Whether the kernel counts no byte more than were read, and no end; False also where it may not count.

        It is the quick way to ask: `poll` lets other threads have the interpreter, and comes back when they are done.
        """
        if _TCP_INFO is None:
            return False
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _TCP_INFO_BYTES)
        except OSError:
            return False
        received = int.from_bytes(info[_BYTES_RECEIVED], sys.byteorder)
        return received == self._received > 0 and info[_TCP_STATE] == _ESTABLISHED

    def _found(self) -> bytes | None:
        """What has come that no exchange reads: None for nothing, b"" for the end."""
        if self._secure and getattr(self._socket, "pending", int)():  # decrypted: the kernel does not tell
            return b"?"
        if not self.readable_within(0):
            return None
        try:
            return self._socket.recv(1)
        except self._not_now:
            return None  # a TLS session ticket: no answer, and no end
        except OSError:
            return b""

    def release(self) -> None:
        """Return it unused, to the pool."""
        self._pool.release(self)

    def finish(self, *, reusable: bool) -> None:
        """Return it after an exchange, to be used again or closed."""
        self.unpark()
        if reusable:
            self.reused = True
            self._pool.release(self)
        else:
            self._pool.discard(self)

    def close(self) -> None:
        """Close the socket, at once and without a word to the peer."""
        self._reactor.forget(self.fileno)
        self._socket.close()
        self._pool.closed(self)
