"""Submit and cancel endpoints."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from tinkex._server.answers import answer_json, encode_result, failure_answer
from tinkex._server.bodies import RequestRefusedError, number_of, parse_object, parse_sample
from tinkex._server.retention import request_size
from tinkex._server.service import SERVICE, Service, digest
from tinkex._server.state import CLONE_BLOCK, PendingSample, ServerSampler


async def asample(request: web.Request) -> web.Response:
    """Accept a sample; answers the promise of its result."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    pending = _submit(service, body)
    options = service.options
    if options.inline:
        return await _inline(service, pending, request.headers.get("Accept", ""))
    promise: dict[str, Any] = {"request_id": pending.request_id}
    if options.sequence_ids:
        promise["sample_sequence_ids"] = pending.sequence_ids
    return answer_json(promise, options.accepted_status)


async def cancel_future(request: web.Request) -> web.Response:
    """Stop computing a sample."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    pending = service.state.samples.get(str(body.get("request_id")))
    if pending is None:
        raise RequestRefusedError(404, "The request does not exist.")
    pending.cancel()
    return answer_json({})


def _submit(service: Service, body: dict[str, Any]) -> PendingSample:
    sampler, seq_id, options = _target(service, body), number_of(body, "seq_id"), service.options
    if options.require_seq_id and seq_id is None:
        raise RequestRefusedError(409, "seq_id: Field required")
    sample = parse_sample(body, options)
    known = None if seq_id is None or not options.dedupe else sampler.promises.get(seq_id)
    if known is not None:
        return _repeated(service, known, body)
    size = request_size(sample)
    if (options.max_in_flight or math.inf) <= service.state.running or not service.state.has_room(size):
        raise RequestRefusedError(429, "Too many samples are running.", **{"Retry-After": "1"})
    clone = (seq_id or 0) // CLONE_BLOCK
    queue = service.state.queue(sampler, clone)
    pending = service.state.add_sample(queue, sample.num_samples, size)
    if seq_id is not None and options.dedupe:
        service.state.add_promise(sampler, seq_id, digest(body), pending.request_id)
    service.start(pending, sample, sampler)
    return pending


def _target(service: Service, body: dict[str, Any]) -> ServerSampler:
    name = body.get("sampling_session_id")
    if name is None:
        model = body.get("base_model") or service.engine.models[0].model_name
        if "" not in service.state.samplers:
            service.state.add_sampler(ServerSampler("", None, str(model)))
        return service.state.samplers[""]
    sampler = service.sampler(name)
    if sampler.session_id is not None:
        service.session(sampler.session_id)
    return sampler


def _repeated(service: Service, known: tuple[bytes, str], body: dict[str, Any]) -> PendingSample:
    if known[0] != digest(body):
        raise RequestRefusedError(409, "seq_id: already used for another request")
    pending = service.state.samples.get(known[1])
    if pending is None:
        raise RequestRefusedError(410, "The result of this seq_id is gone.")
    return pending


async def _inline(service: Service, pending: PendingSample, accept: str) -> web.Response:
    await pending.done.wait()
    service.state.forget(pending.request_id)
    if pending.response is None:
        assert pending.error is not None
        return failure_answer(pending.error, service.options)
    kind, data = encode_result(pending.response, service.options, accept)
    return web.Response(body=data, content_type=kind)
