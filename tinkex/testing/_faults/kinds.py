"""The register of faults, and what they are made of."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from tinkex.testing._faults.plan import Fault

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]
Misbehaviour = Callable[[web.Request, Endpoint, Fault], Awaitable[web.StreamResponse]]

#: The status of answers that nobody gets, because the connection is gone.
GONE = 499
#: Every kind of fault, by name; the docstrings say what each does.
KINDS: dict[str, Misbehaviour] = {}


def kind(function: Misbehaviour) -> Misbehaviour:
    """Register a fault under its function's name."""
    KINDS[getattr(function, "__name__", "").strip("_")] = function
    return function


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Drop a connection so that its peer sees a reset, not an end."""
    if isinstance(transport, asyncio.Transport):
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def connection(request: web.Request) -> asyncio.Transport:
    """The connection of a request, below HTTP."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise ConnectionResetError("The client has gone.")
    return transport


def send(request: web.Request, data: bytes, *, close: bool) -> web.Response:
    """Write bytes past aiohttp; what is returned has nowhere to go."""
    transport = connection(request)
    transport.write(data)
    if close:
        transport.close()
    return web.Response(status=GONE)


def head(response: web.Response, length: int | str) -> bytes:
    """The head of an answer, with a length of one's own choice."""
    return (
        f"HTTP/1.1 {response.status} Fault\r\nContent-Type: {response.content_type}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()


async def acted(request: web.Request, endpoint: Endpoint) -> tuple[web.Response, bytes]:
    """Act on the request; the good answer and its body."""
    response = await endpoint(request)
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return web.Response(), b""
    return response, response.body


async def wait_until_gone(request: web.Request) -> None:
    """Wait for the client to hang up."""
    while not connection(request).is_closing():  # noqa: ASYNC110  # a transport tells nobody that it closes
        await asyncio.sleep(0.05)
