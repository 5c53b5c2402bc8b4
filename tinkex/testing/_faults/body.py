"""Response faults: head, length and body bytes."""

from __future__ import annotations

import asyncio
import gzip

from aiohttp import web

from tinkex._server.guard import RouteHandler
from tinkex.testing._faults.kinds import GONE, acted, connection, head, kind, send, wait_until_gone
from tinkex.testing._faults.plan import Fault


@kind
async def _half(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, answer half of the body, and close."""
    response, body = await acted(request, handler)
    return send(request, head(response, len(body)) + body[: len(body) // 2], close=True)


@kind
async def _half_chunked(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, answer in chunks but without the last one, and close."""
    _, body = await acted(request, handler)
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return send(request, start + b"%x\r\n%s\r\n" % (len(body) or 1, body or b" "), close=True)


@kind
async def _stall(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, answer half of the body, and leave the connection open in silence."""
    response, body = await acted(request, handler)
    send(request, head(response, len(body)) + body[: len(body) // 2], close=False)
    await wait_until_gone(request)
    return web.Response(status=GONE)


@kind
async def _drip(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, and answer one byte at a time."""
    response, body = await acted(request, handler)
    transport = connection(request)
    transport.write(head(response, len(body)))
    for index in range(len(body)):
        if transport.is_closing():
            break
        transport.write(body[index : index + 1])
        await asyncio.sleep(fault.seconds)
    return send(request, b"", close=True)


@kind
async def _endless(request: web.Request, handler: RouteHandler, fault: Fault) -> web.StreamResponse:
    """Answer with a body that never ends."""
    await request.read()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" " * 65_536)


@kind
async def _huge_length(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Announce a petabyte, send one byte, and wait."""
    await request.read()
    announced = head(web.Response(content_type="application/json"), 10**15)
    send(request, announced + b"{", close=False)
    await wait_until_gone(request)
    return web.Response(status=GONE)


@kind
async def _bad_length(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, and announce a length that is not a number."""
    response, body = await acted(request, handler)
    return send(request, head(response, "many") + body, close=True)


@kind
async def _garbage(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Answer 200 with broken JSON, without acting on the request."""
    await request.read()
    return web.Response(body=b'{"request_id": ', content_type="application/json")


@kind
async def _truncated(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, and answer 200 with half of the body as if it were the whole."""
    response, body = await acted(request, handler)
    content_type = response.content_type
    return web.Response(body=body[: len(body) // 2], status=response.status, content_type=content_type)


@kind
async def _wrong_type(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, and answer well but for a Content-Type of text/html."""
    response, body = await acted(request, handler)
    return web.Response(body=body, status=response.status, content_type="text/html")


@kind
async def _no_type(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, and answer well but without a Content-Type."""
    _, body = await acted(request, handler)
    start = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    return send(request, start + body, close=True)


@kind
async def _not_http(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Answer with bytes that are not HTTP."""
    await request.read()
    return send(request, b"\x16\x03\x01 what is this?\r\n\r\n", close=True)


@kind
async def _huge_header(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Answer with a header of 200,000 bytes."""
    await request.read()
    return send(request, b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n", close=True)


@kind
async def _interim(request: web.Request, handler: RouteHandler, fault: Fault) -> web.StreamResponse:
    """Answer well, after an unsolicited `100 Continue`."""
    connection(request).write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await handler(request)


@kind
async def _gzip(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Answer well, compressed with gzip."""
    response, body = await acted(request, handler)
    return _compressed(response, gzip.compress(body))


@kind
async def _bad_gzip(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Act, and answer bytes that claim to be gzip and are not."""
    response, body = await acted(request, handler)
    return _compressed(response, body)


@kind
async def _gzip_bomb(request: web.Request, handler: RouteHandler, fault: Fault) -> web.Response:
    """Answer a small gzip body that decompresses to `size` bytes."""
    await request.read()
    bomb = await asyncio.to_thread(gzip.compress, b" " * fault.size, 1)
    return _compressed(web.Response(content_type="application/json"), bomb)


@kind
async def _chunked(request: web.Request, handler: RouteHandler, fault: Fault) -> web.StreamResponse:
    """Answer well, in chunks of three bytes."""
    response, body = await acted(request, handler)
    stream = web.StreamResponse(status=response.status, headers={"Content-Type": response.content_type})
    stream.enable_chunked_encoding()
    await stream.prepare(request)
    for start in range(0, len(body), 3):
        await stream.write(body[start : start + 3])
    await stream.write_eof()
    return stream


def _compressed(response: web.Response, body: bytes) -> web.Response:
    headers = {"Content-Encoding": "gzip", "Content-Type": response.content_type}
    return web.Response(status=response.status, body=body, headers=headers)
