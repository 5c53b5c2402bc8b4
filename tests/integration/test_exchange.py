from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import threading
import time
import types

import attrs
import pytest

import tinkex
from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.worker_pool import WorkerPool
from tinkex._runtime.reactor import TIMED_OUT, Reactor
from tinkex._runtime.task import ScheduledTask, Scheduler
from tinkex._transport import exchange
from tinkex._transport.connection import _TCP_INFO, Connection
from tinkex._transport.connection_pool import ConnectionPool, Lease
from tinkex._transport.dial import make_dialer
from tinkex._transport.exchange import Pace, Transport
from tinkex._transport.http11 import ResponseReader, request_head
from tinkex.config import ClientConfig
from tinkex.future import ClientFuture
from tinkex.testing._tls import make_certificates

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@attrs.define(eq=False)
class Peer:
    """A server of one thread a connection: `answers` is called with each connection and its number."""

    answers: object
    listener: socket.socket = attrs.field(init=False)
    connections: int = 0
    open: list = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.open.append(connection)
                number, self.connections = self.connections, self.connections + 1
                threading.Thread(target=self._answer, args=(connection, number), daemon=True).start()

    def _answer(self, connection, number):
        with contextlib.suppress(OSError), connection:
            self.answers(connection, number)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class Parts:
    """A transport with its threads."""

    def __init__(self, url, most=4, cooling=0.0, **settings):
        self.workers = WorkerPool(2, "test-worker")
        self.reactor = Reactor(SYSTEM_CLOCK, "test-reactor", self.workers.watch)
        self.workers.watched_by(self.reactor.wake)
        self.scheduler = Scheduler(self.workers, self.reactor)
        self.dialing = ElasticPool(8, "test-connect")
        self.dialer = make_dialer(ClientConfig(base_url=url, trust_env=False, **settings))
        self.pool = ConnectionPool(
            self.dialer, self.reactor, self.dialing, SYSTEM_CLOCK, most=most, most_idle=4, busiest=4
        )
        self.pool._cooling_seconds = cooling
        self.transport = Transport(self.dialer, self.pool, self.dialing, self.dialing, SYSTEM_CLOCK)
        self.workers.start()
        self.reactor.start()

    def ask(self, body=b"", *, seconds=5.0, max_body=1000, high_priority=True, path="/"):
        """Begin an exchange; the future of its response."""
        head = request_head("POST", self.dialer.target(path), [("Host", "test"), ("Content-Length", str(len(body)))])
        future = ClientFuture(None)
        task = ScheduledTask(
            self.scheduler,
            lambda: self.transport.exchange(
                head, b"", body, seconds=seconds, max_body=max_body, pace=Pace(), high_priority=high_priority
            ),
            future,
        )
        future._on_cancel(task)
        self.scheduler.launch(task)
        return future

    def stop(self):
        self.scheduler.stop()
        self.pool.close()
        self.workers.shutdown()
        self.workers.join(5)
        self.reactor.stop()
        self.dialing.stop()
        self.dialer.close()


@pytest.fixture
def start():
    """Starts a peer and the parts that talk to it; ends both."""
    with contextlib.ExitStack() as stack:

        def begin(answers, scheme="http", **settings):
            peer = Peer(answers)
            stack.callback(peer.close)
            parts = Parts(peer.url.replace("http:", f"{scheme}:"), **settings)
            stack.callback(parts.stop)
            return peer, parts

        yield begin


def read_request(connection):
    """Read one request to its end; its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("closed")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    while len(body) < length:
        body += connection.recv(65536)
    return body


def serve(connection, number):
    """Answer every request with its body."""
    while True:
        body = read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def wait_until(condition, seconds=5.0):
    """Spin until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.001)


def test_an_answer_that_is_there_is_not_late(start, monkeypatch):
    """Where the time is over and the answer has come all the same, as after a stop of the process, it is taken."""

    def late(self, task, wait_id):
        assert self._connection.readable_within(5000)
        task.resume(wait_id, TIMED_OUT)

    _, parts = start(lambda connection, number: (connection.recv(1000), connection.sendall(OK)))
    with monkeypatch.context() as patch:
        patch.setattr(exchange._Readable, "subscribe", late)
        assert parts.ask().result(5).body == b"ok"


def test_a_connection_is_used_again(start):
    """Exchanges one after another share a connection."""
    peer, parts = start(serve)
    for number in range(5):
        assert parts.ask(b"%d" % number).result(5).body == b"%d" % number
    assert peer.connections == 1


SPOILS = {
    "an answer": lambda connection: connection.sendall(OK),
    "a byte": lambda connection: connection.sendall(b"!"),
    "the end": lambda connection: connection.shutdown(socket.SHUT_RDWR),
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("handed", [False, True])
@pytest.mark.parametrize("info", [_TCP_INFO, None])
def test_a_connection_is_looked_at_before_it_is_used_again(start, monkeypatch, secure, spoil, handed, info):
    """What came behind an answer is not taken for the next one, also where the connection is handed straight on.

    So it is with a kernel that counts what has come, and with one that does not.
    """
    monkeypatch.setattr("tinkex._transport.connection._TCP_INFO", info)
    certificates = make_certificates("127.0.0.1") if secure else None
    begun, asked, answered, spoilt = (threading.Event() for _ in range(4))

    def answers(connection, number):
        with contextlib.ExitStack() as stack:
            if secure:
                connection = stack.enter_context(certificates.context.wrap_socket(connection, server_side=True))
            if number:
                serve(connection, number)
            read_request(connection)
            begun.set()
            asked.wait(5)
            connection.sendall(OK)
            answered.wait(5)
            SPOILS[spoil](connection)
            spoilt.set()
            connection.recv(1000)

    settings = {"verify": certificates.ca_file} if secure else {}
    _, parts = start(answers, scheme="https" if secure else "http", most=1, **settings)
    release = parts.pool.release

    def release_late(connection):
        monkeypatch.setattr(parts.pool, "release", release)
        answered.set()
        assert spoilt.wait(5)
        assert connection.readable_within(5000)
        release(connection)

    monkeypatch.setattr(parts.pool, "release", release_late)
    futures = [parts.ask(b"one")]
    assert begun.wait(5)
    if handed:
        futures.append(parts.ask(b"two"))
    asked.set()
    assert futures[0].result(5).body == b"ok"
    if not handed:
        futures.append(parts.ask(b"two"))
    assert futures[1].result(5).body == b"two"
    if certificates is not None:
        certificates.directory.cleanup()


def reset(peer):
    """Have the peer of a connection break it off."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.mark.skipif(_TCP_INFO is None, reason="the kernel is asked on Linux alone")
@pytest.mark.parametrize("spoil", [*SPOILS.values(), reset])
@pytest.mark.parametrize("read", [0, 2])
def test_what_the_kernel_counts(spoil, read):
    """The kernel's counts and a poll agree on whether a connection is as it was left; the first look is a poll."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    ours.setblocking(False)
    pool = types.SimpleNamespace(distrust=lambda: None, closed=lambda _: None)
    connection = Connection(ours, pool, types.SimpleNamespace(forget=lambda _: None))
    with peer:
        if read:
            peer.sendall(OK)
            assert connection.readable_within(5000)
            assert connection.receive(ResponseReader(100))
        assert connection._is_read_out() == (read > 0)
        assert connection._found() is None
        spoil(peer)
        select.select([ours], [], [], 5)
        assert not connection._is_read_out()
        assert connection._found() is not None
    connection.close()


@pytest.mark.skipif(_TCP_INFO is None, reason="the kernel is asked on Linux alone")
def test_what_the_kernel_counts_beyond_four_gigabytes():
    """The counts are those of all bytes."""
    pool = types.SimpleNamespace(closed=lambda _: None)
    connection = Connection(socket.socket(), pool, types.SimpleNamespace(forget=lambda _: None))
    connection.close()
    told = 2**32 + 5
    connection._socket = types.SimpleNamespace(
        getsockopt=lambda *_: b"\1".ljust(128, b"\0") + told.to_bytes(8, sys.byteorder)
    )
    connection._received = 5
    assert not connection._is_read_out()
    connection._received = told
    assert connection._is_read_out()


@pytest.mark.parametrize("filled", [b"", b"\1"])
def test_a_kernel_that_does_not_count(filled):
    """Where it fills in nothing, or the state alone, a connection is polled."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    told = []
    pool = types.SimpleNamespace(distrust=lambda: told.append(True), closed=lambda _: None)
    connection = Connection(ours, pool, types.SimpleNamespace(forget=lambda _: None))
    connection._socket = types.SimpleNamespace(
        recv=ours.recv, close=ours.close, getsockopt=lambda *_: filled.ljust(136, b"\0")
    )
    with peer:
        assert connection.is_clean()
        peer.sendall(b"!")
        assert not connection.is_clean()
    assert told == [True]
    connection.close()


@pytest.mark.parametrize("secure", [False, True])
def test_what_follows_a_large_body_is_nobodys_answer(start, secure):
    """Bytes behind a body that is received in place end the reuse of the connection: the next in line gets its own."""
    certificates = make_certificates("127.0.0.1") if secure else None

    def forge(connection, number):
        if certificates is not None:
            connection = certificates.context.wrap_socket(connection, server_side=True)
        with connection:
            read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000) + OK)
            connection.recv(1)

    settings = {"verify": certificates.ca_file} if certificates is not None else {}
    peer, parts = start(forge, most=1, scheme="https" if secure else "http", **settings)
    futures = [parts.ask(max_body=2**20) for _ in range(3)]
    assert [len(future.result(10).body) for future in futures] == [100_000] * 3
    assert peer.connections == 3
    if certificates is not None:
        certificates.directory.cleanup()


@pytest.mark.slow
def test_a_large_body_goes_through_a_full_socket(start):
    """What the kernel does not take at once is sent as it takes it, without holding a worker."""
    _, parts = start(serve)
    body = bytes(range(256)) * 40_000
    futures = [parts.ask(body, max_body=2**24) for _ in range(4)]
    assert all(future.result(10).body == body for future in futures)


def test_a_reused_connection_that_ends_without_a_byte_is_replaced_once(start):
    """The server closed it while it was idle, or crashed: one more try, on a connection of its own."""

    def answers(connection, number):
        read_request(connection)
        connection.sendall(OK)
        read_request(connection)  # and close without a byte

    peer, parts = start(answers)
    parts.ask().result(5)
    before = SYSTEM_CLOCK.monotonic()
    assert parts.transport.lost_at < before
    assert parts.ask().result(5).body == b"ok"
    assert peer.connections == 2
    assert parts.transport.lost_at >= before  # what the server knew may have gone with it


def test_a_replacement_that_ends_too_is_an_error(start):
    """The second loss is not hidden."""

    def answers(connection, number):
        read_request(connection)
        if number == 0:
            connection.sendall(OK)
            read_request(connection)

    peer, parts = start(answers)
    parts.ask().result(5)
    with pytest.raises(tinkex.APIConnectionError, match="lost") as caught:
        parts.ask().result(5)
    assert caught.value.may_have_run
    assert peer.connections == 2


def test_an_idle_connection_that_was_closed_is_not_used(start):
    """It is noticed before anything is sent."""

    def answers(connection, number):
        read_request(connection)
        connection.sendall(OK)

    peer, parts = start(answers)
    for _ in range(3):
        parts.ask().result(5)
        wait_until(lambda: parts.pool.open == 0 or not parts.pool._idle or not parts.pool._idle[-1].is_clean(9))
    assert peer.connections == 3


def test_an_unused_connection_that_was_closed_is_not_used(start):
    """One that was opened for a request which found another, and was closed before it carried any, is no loss."""

    def answers(connection, number):
        if number == 0:
            return
        read_request(connection)
        connection.sendall(OK)

    def open_one():
        (yield Lease(parts.pool, high_priority=True)).release()

    peer, parts = start(answers)
    opened = ClientFuture(None)
    parts.scheduler.launch(ScheduledTask(parts.scheduler, open_one, opened))
    opened.result(5)
    wait_until(lambda: parts.pool._idle[-1].readable_within(0))
    assert parts.ask().result(5).body == b"ok"
    assert peer.connections == 2


def test_a_connection_lost_in_mid_answer_is_not_replaced(start):
    """A byte has come: the server has acted."""

    def answers(connection, number):
        read_request(connection)
        connection.sendall(OK)
        read_request(connection)
        connection.sendall(OK[:30])

    peer, parts = start(answers)
    parts.ask().result(5)
    with pytest.raises(tinkex.APIConnectionError, match="mid-answer") as caught:
        parts.ask().result(5)
    assert caught.value.may_have_run
    assert peer.connections == 1


def test_a_server_that_answers_early_and_closes(start):
    """Its answer counts, and the connection is not used again."""

    def answers(connection, number):
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")

    _, parts = start(answers)
    response = parts.ask(bytes(20_000_000)).result(10)
    assert (response.status, response.body) == (413, b"big")
    assert parts.pool.open == 0


def test_a_server_that_takes_nothing(start):
    """A request that does not get through in its time is an error that says nothing ran."""

    def answers(connection, number):
        time.sleep(5)

    _, parts = start(answers)
    with pytest.raises(tinkex.APITimeoutError) as caught:
        parts.ask(bytes(20_000_000), seconds=0.1).result(5)
    assert not caught.value.may_have_run


def test_no_answer_in_time(start):
    """The time runs from when there is a connection; the connection is closed."""

    def answers(connection, number):
        read_request(connection)
        time.sleep(5)

    _, parts = start(answers)
    with pytest.raises(tinkex.APITimeoutError) as caught:
        parts.ask(seconds=0.1).result(5)
    assert caught.value.may_have_run
    wait_until(lambda: parts.pool.open == 0)


def test_cancelling_closes_the_connection_at_once(start):
    """The server sees the end of what nobody waits for."""
    ended = threading.Event()

    def answers(connection, number):
        read_request(connection)
        connection.sendall(OK[:20])
        with contextlib.suppress(ConnectionResetError):  # closed before these bytes were read
            assert connection.recv(1) == b""
        ended.set()

    _, parts = start(answers)
    future = parts.ask()
    wait_until(lambda: len(parts.reactor._parked))
    assert future.cancel()
    assert ended.wait(2)
    wait_until(lambda: parts.pool.open == 0)


def test_long_polls_take_turns(start, monkeypatch):
    """Where no more connections may be opened, parked polls end early for those in line, submissions soonest."""
    monkeypatch.setattr("tinkex._transport.connection_pool._TURN_SECONDS", 0.3)
    monkeypatch.setattr("tinkex._transport.connection_pool._HIGH_PRIORITY_TURN_SECONDS", 0.1)

    def answers(connection, number):
        while read_request(connection) != b"poll":
            connection.sendall(OK)
        connection.recv(1)

    _, parts = start(answers, most=2)
    polls = [parts.ask(b"poll", high_priority=False) for _ in range(2)]
    wait_until(lambda: len(parts.reactor._parked) == 2)
    assert parts.ask(b"submit").result(5).body == b"ok"
    assert [poll.done() for poll in polls].count(True) == 1
    with pytest.raises(tinkex.APITimeoutError):
        next(poll for poll in polls if poll.done()).result()
    more = [parts.ask(b"poll", high_priority=False) for _ in range(2)]
    wait_until(lambda: all(poll.done() for poll in polls))
    assert not any(poll.done() for poll in more)
    for poll in more:
        poll.cancel()


def test_a_poll_that_was_slow_to_send_takes_turns_too(start, monkeypatch):
    """Having waited for room to write, it is as ready to end early for those in line as any other."""
    monkeypatch.setattr("tinkex._transport.connection_pool._TURN_SECONDS", 0.1)
    monkeypatch.setattr("tinkex._transport.connection_pool._HIGH_PRIORITY_TURN_SECONDS", 0.1)
    taken = threading.Event()

    def answers(connection, number):
        taken.wait(5)
        if len(read_request(connection)) < 10:
            connection.sendall(OK)
        connection.recv(1)

    _, parts = start(answers, most=1)
    poll = parts.ask(bytes(10_000_000), seconds=60.0, high_priority=False)
    wait_until(lambda: len(parts.reactor._parked) == 1)
    taken.set()
    assert parts.ask(b"submit", seconds=60.0).result(10).body == b"ok"
    with pytest.raises(tinkex.APITimeoutError):
        poll.result(5)


def test_nobody_is_hastened_while_there_is_room(start, monkeypatch):
    """Long polls last as long as the server lets them where connections suffice."""
    monkeypatch.setattr("tinkex._transport.connection_pool._TURN_SECONDS", 0.0)
    monkeypatch.setattr("tinkex._transport.connection_pool._HIGH_PRIORITY_TURN_SECONDS", 0.0)

    def answers(connection, number):
        while read_request(connection) != b"poll":
            connection.sendall(OK)
        connection.recv(1)

    _, parts = start(answers, most=4)
    polls = [parts.ask(b"poll", high_priority=False) for _ in range(3)]
    wait_until(lambda: len(parts.reactor._parked) == 3)
    for _ in range(5):
        parts.ask().result(5)
    assert not any(poll.done() for poll in polls)
    for poll in polls:
        poll.cancel()


def test_a_black_hole_is_let_go_of_at_once(start):
    """While a connect hangs, a cancelled future is free; its thread follows within connect_timeout."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as hole, contextlib.ExitStack() as stack:
        for _ in range(3):
            plug = stack.enter_context(socket.socket())
            plug.setblocking(False)
            plug.connect_ex(hole.getsockname())
        parts = Parts(f"http://127.0.0.1:{hole.getsockname()[1]}", connect_timeout=0.5)
        stack.callback(parts.stop)
        future = parts.ask()
        wait_until(lambda: parts.pool.open == 1)
        began = time.monotonic()
        assert future.cancel()
        assert future.cancelled()
        assert time.monotonic() - began < 0.4  # the connect goes on
        wait_until(lambda: parts.pool.open == 0)
        with pytest.raises(tinkex.APIConnectionError, match="Nothing was sent") as caught:
            parts.ask().result(5)
        assert not caught.value.may_have_run


def test_after_a_stop_nothing_is_left(start):
    """Parked, idle and waiting: every connection is closed, every future has ended."""

    def answers(connection, number):
        while read_request(connection) != b"poll":
            connection.sendall(OK)
        connection.recv(1)

    _, parts = start(answers, most=2)
    parts.ask().result(5)
    futures = [parts.ask(b"poll") for _ in range(5)]
    wait_until(lambda: len(parts.reactor._parked) == 2)
    parts.stop()
    assert all(future.done() for future in futures)
    assert parts.pool.open == 0
    assert len(parts.pool._all) == 0 or all(each._socket.fileno() == -1 for each in parts.pool._all)
