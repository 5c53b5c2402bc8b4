"""Fetching results: one request at a time, and the poller of whole sessions."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from tinkex._server.answers import answer_json, encode_result, failure_answer, pending_answer
from tinkex._server.bodies import RefusedError, parse_object, refuse_unknown, take
from tinkex._server.protobuf import encode_response
from tinkex._server.service import SERVICE, Service
from tinkex._server.state import Channel, Job


async def retrieve_future(request: web.Request) -> web.Response:
    """Answer one sample's result, holding the request while there is none."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    options = service.options
    if options.forbid_unknown:
        refuse_unknown(body, ("request_id", "allow_metadata_only"))
    request_id = str(body.get("request_id"))
    job = service.state.jobs.get(request_id)
    if job is None:
        if options.unknown_pending:
            return pending_answer(options, request_id)
        raise RefusedError(404, f"Request {request_id} does not exist.")
    if not await _wait(job.done, options.long_poll):
        return pending_answer(options, request_id)
    if job.expired:
        raise RefusedError(410, f"The result of request {request_id} has expired.")
    return _result(service, job, body, request.headers.get("Accept", ""))


def _result(service: Service, job: Job, body: dict[str, Any], accept: str) -> web.Response:
    if job.value is not None:
        return answer_json(job.value)
    if job.response is None:
        assert job.error is not None
        return failure_answer(job.error, service.options)
    kind, data = encode_result(job.response, service.options, accept)
    threshold = service.options.metadata_size
    if threshold is not None and len(data) >= threshold and body.get("allow_metadata_only"):
        return answer_json({"status": "complete_metadata", "response_payload_size": len(data)})
    return web.Response(body=data, content_type=kind)


async def retrieve_futures(request: web.Request) -> web.Response:
    """Tell which samples of a clone have ended since a cursor, waiting for the next one."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    for request_id in take(body, "retrieved_request_ids", list, []):
        service.state.forget(str(request_id))
    channel = _channel(service, take(body, "target", dict, {}))
    cursor, longest = take(body, "prev_cursor", int, 0), service.options.long_poll
    hold = take(body, "timeout", (int, float), longest)
    events = await _events(channel, cursor, min(hold, longest))
    completions = [_completion(job) for _, job in events]
    latest = events[-1][0] if events else cursor
    return answer_json({"completions": completions, "cursor": latest})


def _channel(service: Service, target: dict[str, Any]) -> Channel:
    sampler = service.sampler(target.get("sampling_session_id"))
    return service.state.channel(sampler.sampling_session_id, take(target, "cloned_sampler_id", int, 0))


async def _events(channel: Channel, cursor: int, hold: float) -> list[tuple[int, Job]]:
    events = channel.after(cursor)
    if events or hold <= 0:
        return events
    channel.changed.clear()
    await _wait(channel.changed, hold)
    return channel.after(cursor)


def _completion(job: Job) -> dict[str, Any]:
    if job.response is None:
        return {"state": "failed", "request_id": job.request_id}
    size = len(encode_response(job.response))
    return {
        "state": "finished",
        "request_id": job.request_id,
        "response_payload_uncompressed_size": size,
    }


async def _wait(event: asyncio.Event, longest: float) -> bool:
    if event.is_set() or longest <= 0:
        return event.is_set()
    try:
        async with asyncio.timeout(longest):
            await event.wait()
    except TimeoutError:
        return False
    return True
