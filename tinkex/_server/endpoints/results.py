"""Fetching results: one request at a time, and the poller of whole sessions."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from tinkex._server.answers import answer_json, encode_result, failure_answer, pending_answer
from tinkex._server.bodies import RequestRefusedError, number_of, parse_object, refuse_unknown, take
from tinkex._server.protobuf import encode_response
from tinkex._server.service import SERVICE, Service
from tinkex._server.state import CompletionQueue, PendingSample


async def retrieve_future(request: web.Request) -> web.Response:
    """Long poll for the result of one sample."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    options = service.options
    if options.forbid_unknown:
        refuse_unknown(body, ("request_id", "allow_metadata_only"))
    request_id = str(body.get("request_id"))
    pending = service.state.samples.get(request_id)
    if pending is None:
        if options.unknown_pending:
            return pending_answer(options, request_id)
        raise RequestRefusedError(404, f"Request {request_id} does not exist.")
    if not await _wait(pending.done, options.long_poll):
        return pending_answer(options, request_id)
    if pending.expired:
        raise RequestRefusedError(410, f"The result of request {request_id} has expired.")
    return _result(service, pending, body, request.headers.get("Accept", ""))


def _result(service: Service, pending: PendingSample, body: dict[str, Any], accept: str) -> web.Response:
    if pending.value is not None:
        return answer_json(pending.value)
    if pending.response is None:
        assert pending.error is not None
        return failure_answer(pending.error, service.options)
    kind, data = encode_result(pending.response, service.options, accept)
    threshold = service.options.metadata_size
    if threshold is not None and len(data) >= threshold and body.get("allow_metadata_only"):
        return answer_json({"status": "complete_metadata", "response_payload_size": len(data)})
    return web.Response(body=data, content_type=kind)


async def retrieve_futures(request: web.Request) -> web.Response:
    """Long poll for the samples of one clone that have completed since a cursor."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    for request_id in take(body, "retrieved_request_ids", list, []):
        service.state.forget(str(request_id))
    queue = _queue(service, take(body, "target", dict, {}))
    cursor, longest = take(body, "prev_cursor", int, 0), service.options.long_poll
    hold = take(body, "timeout", (int, float), longest)
    events = await _events(queue, cursor, min(hold, longest))
    completions = [_completion(pending) for _, pending in events]
    latest = events[-1][0] if events else cursor
    return answer_json({"completions": completions, "cursor": latest})


def _queue(service: Service, target: dict[str, Any]) -> CompletionQueue:
    sampler = service.sampler(target.get("sampling_session_id"))
    return service.state.queue(sampler, number_of(target, "cloned_sampler_id") or 0)


async def _events(queue: CompletionQueue, cursor: int, hold: float) -> list[tuple[int, PendingSample]]:
    events = queue.after(cursor)
    if events or hold <= 0:
        return events
    queue.changed.clear()
    await _wait(queue.changed, hold)
    return queue.after(cursor)


def _completion(pending: PendingSample) -> dict[str, Any]:
    if pending.response is None:
        return {"state": "failed", "request_id": pending.request_id}
    size = len(encode_response(pending.response))
    return {"state": "finished", "request_id": pending.request_id, "response_payload_uncompressed_size": size}


async def _wait(event: asyncio.Event, longest: float) -> bool:
    if event.is_set() or longest <= 0:
        return event.is_set()
    try:
        async with asyncio.timeout(longest):
            await event.wait()
    except TimeoutError:
        return False
    return True
