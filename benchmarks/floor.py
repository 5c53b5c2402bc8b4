"""No client at all: the least that any client has to do, against which they are measured."""

from __future__ import annotations

import socket
import threading
from array import array
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit


class Floor:
    """No client at all: the same two exchanges, from threads that block, over sockets that stay open.

    What it lacks is the point: no retries, no deadline, no cancelling, no checks, and no more in flight than threads.
    """

    _THREADS = 4

    def __init__(self, url: str, most: int) -> None:
        self._host = urlsplit(url).hostname, urlsplit(url).port
        self._pool = ThreadPoolExecutor(self._THREADS)
        self._own = threading.local()

    def client(self):
        body = b'{"session_id":"session","sampling_session_seq_id":0,"base_model":"bench/model"}'
        return self._exchange(b"create_sampling_session", body).split(b'"sampling_session_id": "')[1].partition(b'"')[0]

    def prompt(self, tokens):
        return list(tokens)

    def params(self, tokens):
        return b'{"max_tokens":%d}' % tokens

    def sample(self, client, prompt, params, count, scored) -> Future:
        return self._pool.submit(self._sample, client, prompt, params, count)

    def _sample(self, client, prompt, params, count):
        tokens = str(prompt).replace(" ", "").encode()
        chunk = b'{"type":"encoded_text","tokens":%b}' % tokens
        body = b'{"sampling_session_id":"%b","seq_id":0,"prompt":{"chunks":[%b]},"sampling_params":%b,"num_samples":%d}'
        promise = self._exchange(b"asample", body % (client, chunk, params, count))
        request = promise.partition(b'"request_id":"')[2].partition(b'"')[0]
        return _Result(self._exchange(b"retrieve_future", b'{"request_id":"%b"}' % request, b"application/x-protobuf"))

    def _exchange(self, path: bytes, body: bytes, accept: bytes = b"application/json") -> bytes:
        own = self._own
        if not hasattr(own, "socket"):
            own.socket = socket.create_connection(self._host)
            own.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b"POST /api/v1/%b HTTP/1.1\r\nHost: bench\r\nAccept: %b\r\nContent-Length: %d\r\n\r\n"
        own.socket.sendall(head % (path, accept, len(body)) + body)
        received = own.socket.recv(65_536)
        start = received.index(b"\r\n\r\n") + 4
        length = int(received[:start].partition(b"content-length: ")[2].partition(b"\r")[0])
        received = received[start:]
        while len(received) < length:
            received += own.socket.recv(length - len(received))
        return received


class _Result:
    """Just enough to read the sequences of an answer that holds nothing else."""

    def __init__(self, message: bytes) -> None:
        self.sequences = []
        at = 0
        while at < len(message):  # the field of a sequence; in it why it stopped, the tokens, the log-probabilities
            at, _ = _sized(message, at)
            start, at = _sized(message, at + 2)
            tokens = array("i", message[start:at])
            start, at = _sized(message, at)
            self.sequences.append(_Sequence(tokens.tolist(), array("f", message[start:at]).tolist()))


class _Sequence(NamedTuple):
    tokens: list[int]
    logprobs: list[float]


def _sized(message: bytes, key: int) -> tuple[int, int]:
    """Where the bytes of the field at `key` begin, and where they end."""
    at, size, shift = key + 1, 0, 0
    while message[at] >= 0x80:
        size |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    start = at + 1
    return start, start + (size | message[at] << shift)
