"""Status, delay and connection faults."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from tinkex._server.guard import RouteHandler
from tinkex.testing._faults.kinds import GONE, connection, kind, reset, send, wait_until_gone
from tinkex.testing._faults.plan import Fault


@kind
async def _status(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Answer a status, headers and a body, without acting on the request."""
    await request.read()
    body, headers = fault.body, dict(fault.headers)
    if isinstance(body, bytes | str):
        data = body.encode() if isinstance(body, str) else body
        headers.setdefault("Content-Type", "text/plain")
    else:
        data = b"" if body is None else json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    return web.Response(status=fault.status, body=data, headers=headers)


@kind
async def _reset(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Read the request, then reset the connection without acting on it."""
    await request.read()
    reset(request.transport)
    return web.Response(status=GONE)


@kind
async def _reset_early(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Reset the connection once the headers are read, perhaps in the middle of the body."""
    reset(request.transport)
    return web.Response(status=GONE)


@kind
async def _reset_after(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act on the request, then reset the connection instead of answering."""
    await handler(request)
    reset(request.transport)
    return web.Response(status=GONE)


@kind
async def _close(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Read the request, then close the connection in good order without acting on it."""
    await request.read()
    return send(request, b"", close=True)


@kind
async def _close_after(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act on the request, then close the connection in good order instead of answering."""
    await handler(request)
    return send(request, b"", close=True)


@kind
async def _stale(request: web.Request, handler: RouteHandler, fault: Fault) -> web.StreamResponse:
    """Answer well, promise to keep the connection alive, and close it."""
    response = await handler(request)
    await response.prepare(request)
    await response.write_eof()
    connection(request).close()
    return response


@kind
async def _hang(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Read the request and never answer."""
    await request.read()
    await wait_until_gone(request)
    return web.Response(status=GONE)


@kind
async def _delay(request: web.Request, handler: RouteHandler, fault: Fault) -> web.StreamResponse:
    """Wait before acting on the request."""
    await request.read()
    await asyncio.sleep(fault.seconds)
    return await handler(request)


@kind
async def _late(request: web.Request, handler: RouteHandler, fault: Fault) -> web.StreamResponse:
    """Act on the request at once, and wait before answering."""
    response = await handler(request)
    await asyncio.sleep(fault.seconds)
    return response
