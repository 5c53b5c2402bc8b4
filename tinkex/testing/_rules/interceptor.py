"""Outermost middleware of the fake server: records requests, checks them, and injects faults."""

from __future__ import annotations

import time

from aiohttp import web
from aiohttp.typedefs import Middleware

from tinkex._server.app import endpoint_name
from tinkex._server.guard import RouteHandler
from tinkex.testing._faults.kinds import GONE, KINDS
from tinkex.testing._faults.plan import Fault, FaultScript
from tinkex.testing._journal import Journal, RecordedRequest
from tinkex.testing._rules.remote import CONTROL
from tinkex.testing._rules.rules import Rules


def make_interceptor(journal: Journal, script: FaultScript, rules: Rules | None, control: RouteHandler) -> Middleware:
    """Build the middleware from the journal, the fault script and, in strict mode, the rules.

    Requests to `CONTROL` go to *control* and are not recorded.
    """

    @web.middleware
    async def intercept(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
        if request.path == CONTROL:
            return await control(request)
        early = script.next_kind(endpoint_name(request)) == "reset_early"
        recorded = await _record(request, read=not early)
        journal.add(recorded)
        if rules is not None and not early:
            rules.check(recorded)
        fault = script.take(recorded)
        if fault is None:
            response = await handler(request)
        else:
            response = await _misbehave(fault, request, handler)
        recorded.status = response.status
        if rules is not None and isinstance(response, web.Response):
            now = time.monotonic()
            rules.answered(recorded, response.status, response.headers, response.body, now)
        return response

    return intercept


async def _misbehave(fault: Fault, request: web.Request, handler: RouteHandler) -> web.StreamResponse:
    try:
        return await KINDS[fault.kind](request, handler, fault)
    except ConnectionError:
        return web.Response(status=GONE)


async def _record(request: web.Request, *, read: bool) -> RecordedRequest:
    peer = request.transport and request.transport.get_extra_info("peername")
    return RecordedRequest(
        endpoint=endpoint_name(request) or request.path,
        method=request.method,
        path=request.path_qs,
        headers=request.headers,
        body=await request.read() if read else b"",
        client_port=peer[1] if peer else 0,
    )
