"""Registry of faults, and the transport operations they share."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from tinkex._server.guard import RouteHandler
from tinkex.testing._faults.plan import Fault

FaultHandler = Callable[[web.Request, RouteHandler, Fault], Awaitable[web.StreamResponse]]

#: Status of responses that are not delivered, because the connection is gone.
GONE = 499
#: Every kind of fault, by name; the docstrings say what each does.
KINDS: dict[str, FaultHandler] = {}


def kind(function: FaultHandler) -> FaultHandler:
    """Register a fault under the name of its function."""
    KINDS[getattr(function, "__name__", "").strip("_")] = function
    return function


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Abort a connection with a TCP reset instead of an orderly close."""
    if isinstance(transport, asyncio.Transport):
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def connection(request: web.Request) -> asyncio.Transport:
    """Return the transport of a request."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise ConnectionResetError("The client has gone.")
    return transport


def send(request: web.Request, data: bytes, *, close: bool) -> web.Response:
    """Write raw bytes to the connection, past aiohttp; the returned response is not delivered."""
    transport = connection(request)
    transport.write(data)
    if close:
        transport.close()
    return web.Response(status=GONE)


def head(response: web.Response, length: int | str) -> bytes:
    """Build a response head with the given Content-Length."""
    return (
        f"HTTP/1.1 {response.status} Fault\r\nContent-Type: {response.content_type}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()


async def acted(request: web.Request, handler: RouteHandler) -> tuple[web.Response, bytes]:
    """Run the route handler; returns its response and body."""
    response = await handler(request)
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return web.Response(), b""
    return response, response.body


async def wait_until_gone(request: web.Request) -> None:
    """Wait for the client to hang up."""
    while not connection(request).is_closing():  # noqa: ASYNC110  # a transport has no event for closing
        await asyncio.sleep(0.05)
