"""HTTP exchange: send a request, receive its response, hold no thread while neither moves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tinkex._concurrency.clock import Clock
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._runtime.reactor import READY, TIMED_OUT
from tinkex._runtime.task import Coroutine, RunInThread, ScheduledTask
from tinkex._transport.connection import Connection
from tinkex._transport.connection_pool import ConnectionPool, Lease
from tinkex._transport.http11 import Response, ResponseReader
from tinkex._transport.receiving import ReceiveBudget, ReceivedBytes
from tinkex._transport.response_head import HTTPFormatError
from tinkex.errors import APIConnectionError, APIResponseError, APITimeoutError, clean_text

if TYPE_CHECKING:
    from tinkex._transport.dial import Dialer

_LINGER_MS = 2
_QUICK_SECONDS = 0.005
_FOREVER = float("inf")
_TURN_SECONDS = 5.0  # what a poll that needs a thread may have of it once half of the threads are taken


class Pace:
    """Adaptive linger: whether an endpoint answers so soon that it pays to wait for the next answer on the spot."""

    __slots__ = ("quick",)

    def __init__(self) -> None:
        self.quick: bool = True


class _Readable:
    """Wait until readable: lingers where answers are quick and nothing else is to do, parks otherwise."""

    __slots__ = ("_backlog", "_connection", "_pace", "until")

    def __init__(self, connection: Connection, pace: Pace, backlog: Callable[[], int], until: float) -> None:
        self._backlog = backlog
        self._connection = connection
        self._pace = pace
        self.until = until

    def is_over_soon(self) -> bool:
        """Linger: whether it can be read within a moment."""
        if self._pace.quick and not self._backlog():
            if self._connection.readable_within(_LINGER_MS):
                return True
            self._pace.quick = False
        return False

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        if self.is_over_soon():
            task.resume(wait_id, READY)
        else:
            self._connection.park(task, wait_id)


class _Writable:
    """Wait until writable."""

    __slots__ = ("_connection", "until")

    def __init__(self, connection: Connection, until: float) -> None:
        self._connection = connection
        self.until = until

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        self._connection.park(task, wait_id, write=True)


def _lost(error: OSError, *, may_have_run: bool) -> APIConnectionError:
    words = clean_text(str(error), 300) or type(error).__name__
    return APIConnectionError(f"The connection was lost: {words}.", may_have_run=may_have_run)


class Transport:
    """HTTP transport to one server. Safe to share; every exchange belongs to the task that makes it."""

    def __init__(
        self,
        dialer: Dialer,
        pool: ConnectionPool,
        threads: ElasticPool,
        polling: ElasticPool,
        clock: Clock,
        backlog: Callable[[], int] = int,
        receiving: ReceiveBudget | None = None,
    ) -> None:
        self.dialer = dialer
        self.pool = pool
        self._threads = threads
        self._polling = polling  # for polls that only an adapter can make: they may be long, and nothing waits for them
        self._clock = clock
        self._receiving = receiving or ReceiveBudget(lambda: sys.maxsize)
        self.lost_at: float = float("-inf")  # when a connection was last lost, also one that was replaced at once
        self._backlog = backlog  # how much there is for the workers to do

    def exchange(
        self, head: bytes, own: bytes, body: bytes, *, seconds: float, max_body: int, pace: Pace,
        high_priority: bool = True, fresh: bool = False,
    ) -> Coroutine[Response]:  # fmt: skip
        """Send `head`, with `own` lines that no other call has, and `body`; the answer, within `seconds` of sending.

        Raises APIConnectionError (its `may_have_run` says whether the server can have acted on it), APITimeoutError,
        APIResponseError. A reused connection that ends without a byte of an answer is replaced once, at once.
        """
        if not self.dialer.plain:
            return (yield from self._exchange_blocking(head + own, body, seconds, max_body, high_priority))
        while True:
            kept = None if fresh else self.pool.take()
            connection: Connection = kept or (yield Lease(self.pool, high_priority=high_priority, fresh=fresh))
            now = self._clock.monotonic()
            if not connection.is_clean(now - connection.idle_since):  # one may lie idle unused, too
                connection.finish(reusable=False)
                continue
            connection.preemptible, until = not high_priority, now + seconds
            reader: ResponseReader | None = None  # made when there is something to read: thousands wait for that
            clean = sent = late = False
            received = ReceivedBytes(self._receiving)
            try:
                unsent = _send(connection, b"".join((head, own, b"\r\n", body)))
                whole = unsent is not None and (not unsent or (yield from _send_rest(connection, unsent, until)))
                del unsent
                sent = True
                sent_at = self._clock.monotonic()
                while reader is None or not connection.receive(reader):
                    if late:  # and nothing more had come by then
                        raise APITimeoutError("The server gave no answer in time.", may_have_run=True)
                    wait = _Readable(connection, pace, self._backlog, until)
                    late = (reader is not None or not wait.is_over_soon()) and (yield wait) is TIMED_OUT
                    connection.unpark()
                    reader = reader or ResponseReader(max_body, received)
                clean = whole and reader.keep_alive
                return self._response(reader, connection, pace, sent_at)
            except HTTPFormatError as error:
                raise APIResponseError(f"The server sent {error}.", may_have_run=True) from None
            except OSError as error:
                self.lost_at = self._clock.monotonic()
                if connection.reused and not (reader and reader.started) and not fresh:
                    fresh = True  # it was closed while idle
                    continue
                raise _lost(error, may_have_run=sent) from None
            finally:
                received.release()
                connection.finish(reusable=clean)

    def _response(self, reader: ResponseReader, connection: Connection, pace: Pace, sent_at: float) -> Response:
        pace.quick = self._clock.monotonic() - sent_at < _QUICK_SECONDS
        if reader.surplus:
            self.pool.distrust()
        return reader.response(reused=connection.reused)

    def _exchange_blocking(
        self, head: bytes, body: bytes, seconds: float, max_body: int, high_priority: bool
    ) -> Coroutine[Response]:
        """Have an adapter carry the exchange, on a thread of a pool."""
        threads = self._threads if high_priority else self._polling
        if not high_priority and threads.crowded:
            seconds = min(seconds, _TURN_SECONDS)  # polls take turns
        response: Response = yield RunInThread(threads, partial(self.dialer.call, head, body, seconds, max_body))
        return response


def _send(connection: Connection, data: bytes | memoryview) -> bytes | memoryview | None:
    """Send what the kernel takes, and return the rest; None where the server has closed, and left an answer to read."""
    try:
        sent = connection.send(data)
    except OSError:
        if connection.readable_within(0):
            return None
        raise
    return memoryview(data)[sent:] if sent < len(data) else b""


def _send_rest(connection: Connection, data: bytes | memoryview, until: float) -> Coroutine[bool]:
    """Send what the kernel had no room for; False where the server closed before it had it all, and left an answer."""
    while data:
        if (yield _Writable(connection, until)) is TIMED_OUT:
            raise APITimeoutError("The server did not take the whole request in time.")
        connection.unpark()
        rest = _send(connection, data)
        if rest is None:
            return False
        data = rest
    return True
