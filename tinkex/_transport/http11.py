"""HTTP/1.1 framing without I/O: the request head, and a response reader that is fed the bytes as they come.

It exists because an answer must be readable piece by piece: a worker takes what is there and leaves, and
comes back when more has come. http.client and urllib3 read from a blocking file and would hold the worker.
(RFC 9112; bodies may be gzip or deflate, RFC 9110 section 8.4.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from tinkex._transport.inflater import Inflater
from tinkex._transport.receiving import ReceivedBytes
from tinkex._transport.response_head import HTTPFormatError, read_head

MAX_HEAD_BYTES = 64 * 1024  # of one head, or of the fields that follow a chunked body
_LARGE_BODY = 64 * 1024  # from here on it is worth saving a copy
_BODY_AT_ONCE = 4 * 2**20  # what is allocated on the word of the peer
_MOST_INTERIM = 32
MOST_OF_AN_ERROR = 2**20  # bytes of an error's body that are kept
_MAX_CHUNK_LINE = 4096
_NO_BODY = frozenset({204, 304})


def request_head(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The start of a request up to, but without, the empty line that ends its head."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), ""]
    return "\r\n".join(lines).encode("latin-1")


class Response:
    """A complete answer: status, header fields (lower-case names) and the decoded body."""

    __slots__ = ("body", "headers", "reused", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes | bytearray, reused: bool = False) -> None:
        self.status: int = status
        self.headers: Mapping[str, str] = headers
        self.body: bytes | bytearray = body
        # Whether its connection had carried another exchange: it may be what came behind that.
        self.reused: bool = reused


class ResponseReader:
    """Incremental reader of one response: `feed` it bytes until it returns True, or call `end` when the peer closed.

    A large body that comes as it is need not be fed: `room` says where its bytes belong, and `filled` how many came.
    `max_body` bounds the body both as sent and after decompression; little is allocated on the peer's word alone. What
    is allocated is counted by `received`. Of the body of an error, a megabyte is kept.
    """

    __slots__ = (
        "_at",
        "_body",
        "_buffer",
        "_expect",
        "_feed",
        "_inflate",
        "_interim",
        "_left",
        "_max_body",
        "_received",
        "_taken",
        "_whole",
        "headers",
        "keep_alive",
        "started",
        "status",
        "surplus",
    )

    def __init__(self, max_body: int, received: ReceivedBytes | None = None) -> None:
        self._max_body = max_body
        self._received = received
        self._taken = 0  # bytes of the body, also those that are not kept
        self._buffer = bytearray()  # a head, or chunk framing, not read yet
        self._body = bytearray()
        self._at = -1  # how much of the body has come, where it is received in place
        self._whole: bytes | None = None  # the body, where it came in one piece
        self._interim = 0  # 1xx answers that came before the real one
        self._left = 0  # bytes still to come of the body or of a chunk; after them, those of the trailer so far
        self._expect = "size"  # what comes next in a chunked body: size, data, end (of a chunk) or trailer
        self._inflate: Inflater | None = None
        self._feed = ResponseReader._feed_head  # not bound: a reader that held itself would wait for the collector
        self.started: bool = False  # whether a single byte has come
        self.keep_alive: bool = False
        self.surplus: bool = False  # whether something came behind it
        self.status: int = 0
        self.headers: Mapping[str, str] = {}

    def feed(self, data: bytes) -> bool:
        """Take in `data` (at least a byte); True once the response is complete."""
        self.started = True
        return self._feed(self, data)

    def room(self) -> memoryview | None:
        """Where the next bytes belong; None where they must be fed. Release it before the next call."""
        if self._at < 0:
            return None
        if self._at == len(self._body):
            self._grow(min(self._left - self._at, len(self._body)))
        return memoryview(self._body)[self._at :]

    def filled(self, count: int) -> bool:
        """So many bytes (at least one) were put where `room` said; True once the response is complete."""
        self._at += count
        return self._at == self._left and self._finish()

    def end(self) -> bool:
        """The peer closed: True where that completes a body of unannounced length."""
        self.keep_alive = False
        return self._feed is ResponseReader._feed_until_close and self._finish()

    def response(self, *, reused: bool = False) -> Response:
        """The complete response; `reused` says whether its connection had carried another exchange."""
        return Response(self.status, self.headers, self._body if self._whole is None else self._whole, reused)

    def _feed_head(self, data: bytes) -> bool:
        while (head := self._whole_head(data)) is not None:
            whole, data = head
            self.status, self.headers, self.keep_alive = read_head(whole)
            if self.status >= 200:
                return self._begin_body(data)
            self._interim += 1  # 100 Continue, 103 Early Hints: the real answer follows
            if self.status == 101 or self._interim > _MOST_INTERIM:
                raise HTTPFormatError("a switch of protocols nobody asked for, or no end of 1xx responses")
        return False

    def _whole_head(self, data: bytes) -> tuple[bytes, bytes] | None:
        """A head and what came behind it; None, with what there is kept, where its end has not come."""
        buffer: bytes | bytearray = data
        known = 0
        if self._buffer:  # most come in one piece
            buffer, known = self._buffer, max(0, len(self._buffer) - 3)  # before that the empty line cannot begin
            buffer += data
        end = _find(buffer, b"\r\n\r\n", known, MAX_HEAD_BYTES, "response head")
        if end < 0:
            if buffer is data:
                self._buffer += data
            return None
        head = bytes(buffer[:end]), bytes(buffer[end + 4 :])
        if buffer is not data:
            self._buffer.clear()
        return head

    def _begin_body(self, rest: bytes) -> bool:
        headers = self.headers
        if self.status in _NO_BODY:
            if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
                return self._finish(surplus=rest)
            self.keep_alive = False  # a body that must not be there may come all the same
            return self._finish()
        encoding = headers.get("content-encoding", "").lower()
        if encoding not in ("", "identity"):
            self._inflate = Inflater(encoding, self._max_body)
        transfer = headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        if transfer:
            if transfer != "chunked":
                raise HTTPFormatError(f"an unknown Transfer-Encoding: {transfer[:80]!r}")
            if length is not None:  # it contradicts; the chunks win, but nothing behind them is to be believed
                self.keep_alive = False
            self._feed = ResponseReader._feed_chunks
        elif length is None:
            self.keep_alive = False
            self._feed = ResponseReader._feed_until_close
        else:
            if not (length.isascii() and length.isdigit() and len(length) < 20):
                raise HTTPFormatError(f"not a Content-Length: {length[:80]!r}")
            self._left = int(length)
            self._check_size(self._left)
            self._feed = ResponseReader._feed_counted
            if self._inflate is None and self._left - len(rest) >= _LARGE_BODY and self.status < 300:
                _keep_freed_memory()
                self._grow(min(self._left, max(_BODY_AT_ONCE, len(rest))))
                self._at = 0
                self._feed = ResponseReader._feed_room
        return self._feed(self, rest)

    def _feed_counted(self, data: bytes) -> bool:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            self._take(data)
            return False
        if not self._body and self._inflate is None:
            self._whole = data[:left]
        else:
            self._take(data[:left])
        return self._finish(surplus=data[left:])

    def _feed_room(self, data: bytes) -> bool:
        done = False
        while data and not done:
            room = self.room()
            assert room is not None
            with room:
                count = min(len(room), len(data))
                room[:count] = data[:count]
            done, data = self.filled(count), data[count:]
        return done and self._finish(surplus=data)

    def _feed_until_close(self, data: bytes) -> bool:
        self._take(data)
        return False

    def _feed_chunks(self, data: bytes) -> bool:
        buffer = self._buffer
        buffer += data
        while buffer:
            if self._expect == "data":
                piece = bytes(buffer[: self._left])
                del buffer[: len(piece)]
                self._left -= len(piece)
                self._take(piece)
                self._expect = "data" if self._left else "end"
                continue
            end = _find(buffer, b"\r\n", 0, _MAX_CHUNK_LINE, "line between chunks")
            if end < 0:
                return False
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            if self._expect == "trailer" and not line:
                return self._finish(surplus=bytes(buffer))
            self._chunk_line(line)
        return False

    def _chunk_line(self, line: bytes) -> None:
        if self._expect == "end":
            if line:
                raise HTTPFormatError("a chunk longer than it said")
            self._expect = "size"
        elif self._expect == "size":
            digits = line.partition(b";")[0].strip()
            if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
                raise HTTPFormatError(f"not a chunk size: {line[:80]!r}")
            self._left = int(digits, 16)
            self._expect = "data" if self._left else "trailer"
        else:
            self._left += len(line)
            if self._left > MAX_HEAD_BYTES:
                raise HTTPFormatError(f"a trailer of more than {MAX_HEAD_BYTES} bytes")

    def _take(self, data: bytes) -> None:
        if self._inflate is not None and data:
            data = self._inflate.feed(data)
        self._taken += len(data)
        self._check_size(self._taken)
        if self.status >= 300:
            data = data[: max(0, MOST_OF_AN_ERROR - len(self._body))]
        self._body += data
        if self._received is not None:
            self._received.hold(len(self._body))

    def _grow(self, count: int) -> None:
        """Make the body longer by so many bytes, which are still to come."""
        if self._received is not None:
            self._received.hold(len(self._body) + count)
        if self._body:
            self._body += bytes(count)
        else:
            self._body = bytearray(count)

    def _finish(self, surplus: bytes = b"") -> bool:
        if surplus:  # unsolicited bytes: never read another answer from this connection
            self.surplus = True
            self.keep_alive = False
        if self._inflate is not None:
            self._inflate.finish()
        return True

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            raise HTTPFormatError(f"a body of more than max_response_bytes={self._max_body} bytes")


@cache
def _keep_freed_memory() -> None:
    """Spare answers the page faults that are half of what it takes to read them into lists.

    The allocator of glibc returns what is freed to the kernel, and fetches it again for the next answer, until it has
    seen a block of this size freed. Nothing is touched here, and other allocators do not care.
    """
    bytearray(_BODY_AT_ONCE)


def _find(buffer: bytes | bytearray, mark: bytes, start: int, most: int, what: str) -> int:
    """Where `mark` is, -1 if it has not come; raises, however the bytes were split, if more than `most` precede it."""
    end = buffer.find(mark, start)
    if max(end, len(buffer) - len(mark) + 1 if end < 0 else 0) > most:
        raise HTTPFormatError(f"a {what} of more than {most} bytes")
    return end
