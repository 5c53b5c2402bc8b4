"""A Tinker server that costs little: one thread, one selector, answers prepared as bytes.

    python load_server.py '{"latency": 0.05}'

prints its URL and serves until its standard input ends. `POST /control` with a JSON object changes options, and answers
with what was counted so far; `"reset": true` in it begins to count anew. It believes its clients: no key is checked.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import re
import resource
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable

from answers import Answers, http_answer

_REQUEST = re.compile(rb'"request_id":\s*"s(\d+)"')
_SESSION = re.compile(rb'"sampling_session_id":\s*"(p\d+)"')
_CURSOR = re.compile(rb'"prev_cursor":\s*(\d+)')
_COUNT = re.compile(rb'"num_samples":\s*(\d+)')
_SCORED = re.compile(rb'"prompt_logprobs":\s*true')
_ONLY_ACKS = re.compile(rb'"timeout":\s*0(?:\.0)?[,}]')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_PROTOBUF = re.compile(rb"\r\naccept:[^\r]*protobuf", re.IGNORECASE)
_RECEIVE = 1 << 18


class Sample:
    """One sample, from its submission to its end."""

    __slots__ = ("count", "done", "name", "scored", "session", "waiter")

    def __init__(self, name: str, session: Session, count: int, scored: int) -> None:
        self.name = name
        self.session = session
        self.count = count
        self.scored = scored  # how many tokens of its prompt get a log-probability
        self.done = False
        self.waiter: Connection | None = None


class Session:
    """One sampling session: what has ended in it, and the one who waits for more."""

    __slots__ = ("cursor", "ended", "waiter")

    def __init__(self) -> None:
        self.ended: list[Sample] = []
        self.waiter: Connection | None = None
        self.cursor = 0


class Connection:
    """One client's socket, with what has come of a request and what is left of an answer."""

    __slots__ = ("parked", "protobuf", "received", "server", "socket", "unsent", "waits")

    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self.server = server
        self.socket = accepted
        self.received = bytearray()
        self.unsent = b""
        self.parked = False
        self.protobuf = False
        self.waits = 0  # numbers its long polls: a timer of an earlier one means nothing

    def ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.send(b"")
            return
        try:
            data = self.socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.server.lost(self)
            return
        self.received += data
        self._take_request()

    def _take_request(self) -> None:
        received = self.received
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(received[: end + 2])
        if _CHUNKED.search(head):
            if not received.endswith(b"0\r\n\r\n"):
                return
            body = _unchunked(bytes(received[end + 4 :]))
        else:
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            if len(received) < end + 4 + size:
                return
            body = bytes(received[end + 4 :])
        size, self.received = len(received), bytearray()
        self.protobuf = _PROTOBUF.search(head) is not None
        path = head[: head.index(b"\r\n")].split(b" ")[1]
        self.server.answer(self, path.decode(), body, size)

    def send(self, data: bytes) -> None:
        """Send as much as fits, the rest when there is room."""
        waiting = bool(self.unsent)
        data = self.unsent + data
        try:
            self.unsent = data[self.socket.send(data) :]
        except BlockingIOError:
            self.unsent = data
        except ConnectionError:
            self.server.lost(self)
            return
        if bool(self.unsent) != waiting:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.unsent else 0)
            self.server.selector.modify(self.socket, wanted, self.ready)


class Server:
    """All of it."""

    def __init__(self, options: dict) -> None:
        self.options = {
            "latency": 0.0,  # seconds that a sample takes
            "long_poll": 30.0,  # seconds until a poll is answered with "not yet"
            "session_poller": False,  # whether retrieve_futures is offered
            "max_concurrent": 2000,  # samples in flight that a client is allowed, where it polls for each
            "tokens": 16,  # in every sequence
            "vocabulary": 150_000,  # how many tokens there are
            **options,
        }
        self.selector = selectors.DefaultSelector()
        self.answers = Answers(self.options["tokens"], self.options["vocabulary"])
        self.counts: Counter[str] = Counter()
        self.open = self.parked = self.running = 0
        self._connections: set[Connection] = set()
        self._samples: dict[bytes, Sample] = {}
        self._sessions: dict[bytes, Session] = {}
        self._timers: list[tuple] = []
        self._numbers = itertools.count()
        self._woken: list[Session] = []
        self._cpu_before = 0.0
        self._stopped = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self.selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self, events: int) -> None:
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            for key, events in self.selector.select(self._seconds()):
                key.data(events)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                _, _, call, *arguments = heapq.heappop(self._timers)
                call(*arguments)
            for session in self._woken:
                if session.waiter is not None:
                    self._tell_ended(self._unpark(session), session)
            self._woken.clear()

    def answer(self, connection: Connection, path: str, body: bytes, size: int) -> None:
        if path == "/control":
            self._control(connection, json.loads(body))
            return
        name = path.partition("/api/v1/")[2]
        counts = self.counts
        counts["requests"] += 1
        counts["bytes"] += size
        counts[name.partition("/")[0]] += 1
        counts["most_connections"] = max(counts["most_connections"], self.open)
        if name == "asample":
            self._begin(connection, body)
        elif name == "retrieve_future":
            self._retrieve(connection, self._samples[_REQUEST.search(body)[1]])
        elif name == "retrieve_futures":
            self._poll(connection, body)
        else:
            connection.send(http_answer(self._other(name)))

    def lost(self, connection: Connection) -> None:
        self.selector.unregister(connection.socket)
        connection.socket.close()
        self.open -= 1
        self.parked -= connection.parked
        connection.parked = False
        self._connections.discard(connection)

    # --- samples ------------------------------------------------------------------------------------------------------

    def _begin(self, connection: Connection, body: bytes) -> None:
        number = next(self._numbers)
        count = _COUNT.search(body)
        scored = len(json.loads(body)["prompt"]["chunks"][0]["tokens"]) if _SCORED.search(body) else 0
        session = self._sessions[_SESSION.search(body)[1]]
        sample = Sample(f"s{number}", session, int(count[1]) if count else 1, scored)
        self._samples[str(number).encode()] = sample
        self.running += 1
        self.counts["most_in_flight"] = max(self.counts["most_in_flight"], self.running)
        ids = ",".join(f'"{sample.name}.{index}"' for index in range(sample.count))
        connection.send(http_answer(f'{{"request_id":"{sample.name}","sample_sequence_ids":[{ids}]}}'.encode()))
        if self.options["latency"]:
            self._call_in(self.options["latency"], self._end, sample)
        else:
            self._end(sample)

    def _end(self, sample: Sample) -> None:
        sample.done = True
        self.running -= 1
        sample.session.ended.append(sample)
        if sample.session.waiter is not None:
            self._woken.append(sample.session)  # those that end together are told together
        if sample.waiter is not None and sample.waiter.parked:
            self._unpark(sample)
            self._give(sample.waiter, sample)

    def _retrieve(self, connection: Connection, sample: Sample) -> None:
        if sample.done:
            self._give(connection, sample)
        else:
            sample.waiter = connection
            self._park(connection, b'{"type":"try_again","queue_state":"active"}')

    def _give(self, connection: Connection, sample: Sample) -> None:
        connection.send(self.answers.result(sample.count, sample.scored, protobuf=connection.protobuf))

    # --- the session poller -------------------------------------------------------------------------------------------

    def _poll(self, connection: Connection, body: bytes) -> None:
        session = self._sessions[_SESSION.search(body)[1]]
        session.cursor = int(_CURSOR.search(body)[1])
        if session.cursor < len(session.ended) or _ONLY_ACKS.search(body):
            self._tell_ended(connection, session)
        else:
            session.waiter = connection
            self._park(connection, b'{"completions":[],"cursor":%d}' % session.cursor)

    def _tell_ended(self, connection: Connection, session: Session) -> None:
        entries = []
        for sample in session.ended[session.cursor :]:
            size = len(self.answers.result(sample.count, sample.scored, protobuf=True))
            entry = {"state": "finished", "request_id": sample.name, "response_payload_uncompressed_size": size}
            entries.append(entry)
        connection.send(http_answer(json.dumps({"completions": entries, "cursor": len(session.ended)}).encode()))

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _park(self, connection: Connection, not_yet: bytes) -> None:
        connection.parked = True
        connection.waits += 1
        self.parked += 1
        self.counts["parks"] += 1
        self.counts["most_parked"] = max(self.counts["most_parked"], self.parked)
        self._call_in(self.options["long_poll"], self._ran_out, connection, connection.waits, not_yet)

    def _unpark(self, waited_on: Sample | Session) -> Connection:
        connection = waited_on.waiter
        if isinstance(waited_on, Session):
            waited_on.waiter = None
        self.parked -= connection.parked
        connection.parked = False
        return connection

    def _ran_out(self, connection: Connection, wait: int, not_yet: bytes) -> None:
        if connection.parked and connection.waits == wait:
            connection.parked = False
            self.parked -= 1
            connection.send(http_answer(not_yet))

    def _call_in(self, seconds: float, call: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), call, *arguments))

    def _seconds(self) -> float | None:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    # --- everything else ----------------------------------------------------------------------------------------------

    def _accept(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = Connection(self, accepted)
                self._connections.add(connection)
                self.selector.register(accepted, selectors.EVENT_READ, connection.ready)
                self.open += 1
                self.counts["connections"] += 1

    def _other(self, name: str) -> bytes:
        options = self.options
        if name == "client/config":
            answer = {
                "sample_use_retrieve_futures": options["session_poller"],
                "sample_max_concurrent_requests": options["max_concurrent"],
            }
        elif name == "client/dynamic_config":
            answer = {"refresh_interval_sec": 300, "sample_cancel_enabled": False}
        elif name == "create_session":
            answer = {"type": "create_session", "session_id": "session"}
        elif name == "create_sampling_session":
            session = f"p{len(self._sessions)}"
            self._sessions[session.encode()] = Session()
            answer = {"type": "create_sampling_session", "sampling_session_id": session}
        elif name == "session_heartbeat":
            answer = {"type": "session_heartbeat"}
        elif name.startswith("samplers/"):
            answer = {"sampler_id": name[9:], "base_model": "bench/model"}
        elif name == "get_server_capabilities":
            answer = {"supported_models": [{"model_name": "bench/model"}]}
        else:
            answer = {}
        return json.dumps(answer).encode()

    def _control(self, connection: Connection, changes: dict) -> None:
        self.counts["connections"] -= 1  # the one that asks
        told = {**self.counts, "latency": self.options["latency"], "cpu": time.process_time() - self._cpu_before}
        if changes.pop("reset", False):
            self.counts.clear()
            self._cpu_before = time.process_time()
        self.options.update(changes)
        connection.send(http_answer(json.dumps(told).encode()))


def _unchunked(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return body
        body, data = body + data[:length], data[length + 2 :]


def main() -> None:
    """Serve until standard input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))
    server = Server(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    server.selector.register(sys.stdin, selectors.EVENT_READ, server.stop)
    print(server.url, flush=True)
    server.run()


if __name__ == "__main__":
    main()
