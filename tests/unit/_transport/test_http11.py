"""The response reader: any split gives the same result, any bytes give a result or HTTPFormatError."""

from __future__ import annotations

import gzip
import http.client
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._transport.http11 import MAX_HEAD_BYTES, ResponseReader, request_head
from tinkex._transport.response_head import HTTPFormatError

MOST = 5_000


def head(*lines, status="HTTP/1.1 200 OK"):
    """A response's head."""
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1")


def chunked(*pieces, trailer=b""):
    """A chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


def raw_deflate(body):
    """What some send as "deflate": no zlib header."""
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(body) + squeeze.flush()


FRAMINGS = ["length", "chunked", "close"]
CODINGS = {"": bytes, "identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "x-gzip": gzip.compress}


def read(pieces, most=MOST, *, end=True):
    """The response, its reader, and whether it became complete; pieces after the end are left alone."""
    reader = ResponseReader(most)
    done = any(reader.feed(piece) for piece in pieces if piece)
    if not done and end:
        done = reader.end()
    return (reader.response() if done else None), reader


def outcome(pieces):
    """What comparing two readings takes."""
    try:
        response, _ = read(pieces)
    except HTTPFormatError:
        return "error"
    return response and (response.status, response.headers, response.body)


@st.composite
def splits(draw, data):
    """The bytes in random pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def responses(draw):
    """A correct response: its bytes, and the body in them."""
    body = draw(st.binary(max_size=300))
    coding = draw(st.sampled_from(sorted(CODINGS)))
    sent = CODINGS[coding](body)
    lines = [f"X-One: {draw(st.text('abc é', max_size=5))}", *([f"Content-Encoding: {coding}"] if coding else [])]
    framing = draw(st.sampled_from(FRAMINGS))
    if framing == "length":
        lines.append(f"content-length: {len(sent)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        pieces = [piece for piece in draw(splits(sent)) if piece]
        sent = chunked(*pieces, trailer=draw(st.sampled_from([b"", b"X-Sum: 1\r\n"])))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.0"]))
    status = draw(st.sampled_from([200, 201, 400, 408, 429, 503]))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    return interim + head(*lines, status=f"{version} {status} Reason") + sent, body


class Wire(io.BytesIO):
    """A socket for http.client."""

    def makefile(self, *_):
        return self

    def close(self):
        pass


def by_http_client(data):
    """The standard library's reading."""
    response = http.client.HTTPResponse(Wire(data), method="POST")
    response.begin()
    return response.status, response.read(), response.getheader("X-One").strip()


@given(responses(), st.data())
def test_agrees_with_the_standard_library(response, data):
    """A correct response reads as http.client reads it, however it was split."""
    sent, body = response
    status, raw, one = by_http_client(sent)
    found, reader = read(data.draw(splits(sent)))
    assert (found.status, found.body, found.headers["x-one"]) == (status, body, one)
    if "content-encoding" not in found.headers:
        assert found.body == raw
    assert reader.started


@given(responses(), st.data())
def test_any_bytes(response, data):
    """Damaged bytes give a result or HTTPFormatError, the same for any split."""
    sent = bytearray(response[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(sent) - 1)))
        sent[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\r\n", b"\r\n\r\n", b"0", b"f", b":"])
        )
    whole = bytes(sent)
    assert outcome(data.draw(splits(whole))) == outcome([whole]) == outcome([bytes([byte]) for byte in whole])


@given(st.binary(max_size=200))
def test_garbage(data):
    """Anything at all gives a result, HTTPFormatError, or nothing yet."""
    assert outcome([data]) == outcome([data[:7], data[7:]])


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("HTTP/1.1", None, True),
        ("HTTP/1.1", "close", False),
        ("HTTP/1.1", "Keep-Alive", True),
        ("HTTP/1.0", None, False),
        ("HTTP/1.0", "keep-alive", True),
        ("HTTP/1.0", "keep-alive, close", False),
    ],
)
def test_keep_alive(version, connection, kept):
    """A connection is kept as its version and its Connection field say."""
    lines = ["Content-Length: 1"] + ([f"Connection: {connection}"] if connection else [])
    _, reader = read([head(*lines, status=f"{version} 200 OK") + b"x"])
    assert reader.keep_alive is kept


@pytest.mark.parametrize(
    "sent",
    [
        head("Content-Length: 1") + b"xy",
        head("Transfer-Encoding: chunked") + chunked(b"x") + b"H",
        head(status="HTTP/1.1 204 No Content") + b"x",
        head("Content-Length: 3", "Transfer-Encoding: chunked") + chunked(b"x"),
        head() + b"x",
    ],
)
def test_not_kept(sent):
    """Surplus bytes, contradicting lengths or a body that only the end delimits: the connection is not used again."""
    response, reader = read([sent])
    assert response is not None
    assert not reader.keep_alive


@pytest.mark.parametrize("status", [204, 304])
def test_no_body(status):
    """A status that has no body has none, whatever it announces; one may come all the same, so nothing else is read."""
    for announced in ([], ["Content-Length: 0"], ["Content-Length: 5"], ["Transfer-Encoding: chunked"]):
        response, reader = read([head(*announced, status=f"HTTP/1.1 {status} x")], end=False)
        assert response.body == b""
        assert reader.keep_alive is (announced in ([], ["Content-Length: 0"]))


@pytest.mark.parametrize("behind", [b"!", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"])
def test_what_comes_behind_an_answer(behind):
    """Bytes behind an answer are told from it, and end the use of the connection."""
    response, reader = read([head("Content-Length: 2"), b"ok" + behind])
    assert response.body == b"ok"
    assert (reader.surplus, reader.keep_alive) == (True, False)


def test_raw_deflate():
    """A deflate body without its zlib header is read too."""
    sent = raw_deflate(b"hello " * 50)
    response, _ = read([head("Content-Encoding: deflate", f"Content-Length: {len(sent)}"), sent])
    assert response.body == b"hello " * 50


def test_empty_compressed_body():
    """An empty body needs no compressed form."""
    response, _ = read([head("Content-Encoding: gzip", "Content-Length: 0")], end=False)
    assert response.body == b""


def test_one_piece_is_not_copied():
    """A body that came in one piece is handed on as it is."""
    body = b"x" * 1000
    response, _ = read([head("Content-Length: 1000"), body])
    assert response.body is body


def test_incomplete():
    """A peer that closes early leaves nothing complete."""
    half_chunked = head("Transfer-Encoding: chunked") + b"5\r\nabcde\r\n"
    for sent in (b"", b"HT", head("Content-Length: 5") + b"1234", half_chunked):
        response, reader = read([sent])
        assert response is None
        assert not reader.keep_alive


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        head("no colon"),
        head(": no name"),
        head("Name : spaced"),
        head(" folded: line"),
        head("A: b\nContent-Length: 5"),
        head("A: b\rc"),
        head("A: b\0c"),
        head("Content-Length: 3", "Content-Length: 4"),
        head("Content-Length: -3"),
        head("Content-Length: 3, 3"),
        head(f"Content-Length: {'0' * 30}5"),
        head(f"Content-Length: {MOST + 1}"),
        head("Transfer-Encoding: gzip, chunked"),
        head("Content-Encoding: br", "Content-Length: 0"),
        head("Transfer-Encoding: chunked") + b"xyz\r\n",
        head("Transfer-Encoding: chunked") + b"\r\n",
        head("Transfer-Encoding: chunked") + b"1\r\nab\r\n",
        head("Transfer-Encoding: chunked") + b"0" * 16 + b"\r\n",
        head("Transfer-Encoding: chunked") + b"1;" + b"x" * 5000,
        head("Content-Encoding: gzip", "Content-Length: 3") + b"abc",
        head("Content-Encoding: gzip", "Content-Length: 10") + gzip.compress(b"hello", mtime=0)[:10],
        head("Content-Encoding: gzip") + gzip.compress(b"hello", mtime=0) + b"more",
        head("Content-Encoding: deflate") + zlib.compress(b"hello") + b"more",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    ],
)
def test_refused(sent):
    """What is no acceptable response is refused, at once or byte by byte."""
    assert outcome([sent]) == "error"
    assert outcome([sent[i : i + 1] for i in range(len(sent[:6000]))]) == "error"


@pytest.mark.parametrize("step", [70_000, 1000])
@pytest.mark.parametrize(("excess", "result"), [(0, None), (1, "error")])
def test_bound_of_the_head(step, excess, result):
    """A head may be so long and no longer, however it comes."""
    start = head("X: ")[:-4]
    sent = start + b"x" * (MAX_HEAD_BYTES - len(start) + excess) + b"\r\n\r\n"
    found = outcome([sent[i : i + step] for i in range(0, len(sent), step)])
    assert found == result or (result is None and found[0] == 200)


def test_bound_of_an_endless_head():
    """A head that never ends is refused before it takes more memory than it may."""
    reader = ResponseReader(MOST)
    for _ in range(MAX_HEAD_BYTES // 1024):
        reader.feed(b"x" * 1024)
    with pytest.raises(HTTPFormatError, match="response head"):
        reader.feed(b"x" * 1024)


def test_bound_of_the_trailer():
    """Fields behind a chunked body are bounded together."""
    sent = head("Transfer-Encoding: chunked") + b"0\r\n" + b"X: y\r\n" * 20_000
    assert outcome([sent]) == "error"


@given(st.integers(MOST - 2, MOST + 2), st.sampled_from(FRAMINGS), st.sampled_from(sorted(CODINGS)))
def test_bound_of_the_body(size, framing, coding):
    """A body may be `max_body` bytes long after decompression, not one more."""
    sent = CODINGS[coding](b"x" * size)
    lines = [f"Content-Encoding: {coding}"]
    if framing == "length":
        lines.append(f"Content-Length: {len(sent)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        sent = chunked(sent)
    found = outcome([head(*lines), sent])
    assert found == "error" if size > MOST else found[2] == b"x" * size


def test_bomb():
    """A small body that inflates to a huge one is refused without inflating it."""
    bomb = gzip.compress(bytes(50_000_000))
    reader = ResponseReader(MOST)
    with pytest.raises(HTTPFormatError, match="decompresses"):
        reader.feed(head("Content-Encoding: gzip") + bomb)
    assert len(reader._body) == 0


def test_bound_of_what_is_sent():
    """Compressed bytes are bounded as well, also where they inflate to nothing."""
    empty_blocks = b"\x00\x00\x00\xff\xff" * 2000 + b"\x01\x00\x00\xff\xff"
    assert outcome([head("Content-Encoding: deflate"), empty_blocks]) == "error"


def test_request_head():
    """A request's head lacks only the empty line."""
    assert request_head("POST", "/a", [("Host", "h"), ("X", "y")]) == b"POST /a HTTP/1.1\r\nHost: h\r\nX: y\r\n"


class TestRoom:
    """A large body is received where it belongs."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr("tinkex._transport.http11._LARGE_BODY", 20)
        monkeypatch.setattr("tinkex._transport.http11._BODY_AT_ONCE", 32)

    @pytest.mark.thin(4)
    @pytest.mark.parametrize("size", [20, 32, 33, 64, 65, 1000, MOST])
    @pytest.mark.parametrize("step", [1, 7, 4096])
    @pytest.mark.parametrize("placed", [True, False])
    def test_however_it_comes(self, size, step, placed):
        """Put in place or fed, in steps of any size: the same body, complete with its last byte and not before."""
        body = bytes(index % 251 for index in range(size))
        reader = ResponseReader(MOST)
        assert not reader.feed(head(f"Content-Length: {size}"))
        at, done = 0, False
        while not done:
            assert at < size
            piece = body[at : at + step]
            if placed:
                with reader.room() as room:
                    piece = piece[: len(room)]
                    room[: len(piece)] = piece
                done = reader.filled(len(piece))
            else:
                done = reader.feed(piece)
            at += len(piece)
        assert at == size
        assert (reader.response().body, reader.keep_alive) == (body, True)

    def test_little_on_the_word_of_the_peer(self):
        """Room grows with what has come."""
        reader = ResponseReader(10**9)
        reader.feed(head("Content-Length: 900000000"))
        for most in (32, 32, 64, 128):
            with reader.room() as room:
                count = len(room)
            assert count <= most
            assert not reader.filled(count)

    def test_what_comes_after_it(self):
        """Bytes nobody asked for end the reuse of the connection, not the answer."""
        reader = ResponseReader(MOST)
        assert reader.feed(head("Content-Length: 40") + bytes(40) + b"more")
        assert reader.response().body == bytes(40)
        assert not reader.keep_alive

    def test_an_early_end(self):
        """It is no end of the response."""
        reader = ResponseReader(MOST)
        reader.feed(head("Content-Length: 40"))
        assert not reader.filled(39)
        assert not reader.end()

    @pytest.mark.parametrize(
        "lines",
        [("Content-Length: 19",), ("Transfer-Encoding: chunked",), ("Content-Length: 40", "Content-Encoding: gzip")],
    )
    def test_where_it_must_be_fed(self, lines):
        """A small body, one in chunks, and a compressed one."""
        reader = ResponseReader(MOST)
        assert reader.room() is None
        reader.feed(head(*lines))
        assert reader.room() is None
