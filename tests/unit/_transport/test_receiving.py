"""How many bytes of bodies are received at once, over all connections."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._transport.http11 import ResponseReader
from tinkex._transport.receiving import ReceiveBudget, ReceivedBytes, ReceivingTooMuchError
from tinkex._transport.response_head import HTTPFormatError

KIB = 1024
MIB = 1024 * KIB


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * MIB) | st.none())))
def test_the_sum_never_exceeds_the_limit(steps):
    """Bodies grow and are released; together they are never counted as more than the limit, in the end as nothing."""
    budget = ReceiveBudget(lambda: 4 * MIB)
    bodies = [ReceivedBytes(budget) for _ in range(4)]
    for number, size in steps:
        if size is None:
            bodies[number].release()
        else:
            with contextlib.suppress(ReceivingTooMuchError):
                bodies[number].hold(size)
        assert 0 <= budget.used <= 4 * MIB
    for body in bodies:
        body.release()
    assert budget.used == 0


def feed(reader, data):
    """Feed bytes as they may come."""
    for start in range(0, len(data), 1000):
        reader.feed(data[start : start + 1000])


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 8388608\r\n", b"Transfer-Encoding: chunked\r\n", b"", b"Content-Encoding: gzip\r\n"],
    ids=["announced", "chunked", "until close", "compressed"],
)
def test_a_body_is_counted_while_it_comes(head):
    """Whatever form a body comes in, its bytes count as they are kept, and one too many ends it."""
    budget = ReceiveBudget(lambda: 6 * MIB)
    received = ReceivedBytes(budget)
    reader = ResponseReader(100 * MIB, received)
    data = bytes(8 * MIB)
    if b"chunked" in head:
        data = b"800000\r\n" + data
    data = gzip.compress(data) if b"gzip" in head else data
    reader.feed(HEAD + head + b"\r\n")
    with pytest.raises(ReceivingTooMuchError, match="6,291,456 bytes"):
        feed(reader, data)
    assert 2 * MIB < budget.used <= 6 * MIB
    received.release()
    assert budget.used == 0


@pytest.mark.parametrize("chunked", [True, False])
def test_of_an_error_a_megabyte_is_kept(chunked):
    """Of the body of an error, however long, the first megabyte is kept; the connection can be used again."""
    size = 8 * MIB
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    reader = ResponseReader(16 * MIB)
    tracemalloc.start()
    try:
        reader.feed(b"HTTP/1.1 503 Busy\r\n" + framing + b"\r\n\r\n" + b"%x\r\n" % size * chunked)
        done = False
        for _ in range(size // (64 * KIB)):
            done = reader.feed(b"a" * 64 * KIB)
        done = done or reader.feed(b"\r\n0\r\n\r\n")
        assert tracemalloc.get_traced_memory()[1] < 3 * MIB
    finally:
        tracemalloc.stop()
    response = reader.response()
    assert (done, reader.keep_alive, response.status, bytes(response.body)) == (True, True, 503, b"a" * MIB)


def test_the_body_of_an_error_is_bounded():
    """What is not kept counts towards the bound all the same."""
    reader = ResponseReader(2 * MIB)
    reader.feed(b"HTTP/1.1 503 Busy\r\n\r\n")
    with pytest.raises(HTTPFormatError, match="max_response_bytes"):
        feed(reader, b"a" * 3 * MIB)
