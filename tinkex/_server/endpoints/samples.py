"""Submitting and cancelling samples."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tinkex._server.answers import answer_json, encode_result, failure_answer
from tinkex._server.bodies import RefusedError, parse_object, parse_sample
from tinkex._server.service import SERVICE, Service, digest
from tinkex._server.state import CLONE_BLOCK, Job, Sampler


async def asample(request: web.Request) -> web.Response:
    """Accept a sample and promise its result."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    job = _submit(service, body)
    options = service.options
    if options.inline:
        return await _inline(service, job, request.headers.get("Accept", ""))
    promise: dict[str, Any] = {"request_id": job.request_id}
    if options.sequence_ids:
        promise["sample_sequence_ids"] = job.sequence_ids
    return answer_json(promise, options.accepted_status)


async def cancel_future(request: web.Request) -> web.Response:
    """Stop computing a sample."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    job = service.state.jobs.get(str(body.get("request_id")))
    if job is None:
        raise RefusedError(404, "The request does not exist.")
    job.cancel()
    return answer_json({})


def _submit(service: Service, body: dict[str, Any]) -> Job:
    sampler, seq_id, options = _target(service, body), body.get("seq_id"), service.options
    if options.require_seq_id and not isinstance(seq_id, int):
        raise RefusedError(409, "seq_id: Field required")
    sample = parse_sample(body, options)
    known = sampler.promises.get(seq_id) if isinstance(seq_id, int) and options.dedupe else None
    if known is not None:
        return _repeated(service, known, body)
    if options.max_in_flight is not None and service.state.running >= options.max_in_flight:
        raise RefusedError(429, "Too many samples are running.", **{"Retry-After": "1"})
    clone = seq_id // CLONE_BLOCK if isinstance(seq_id, int) else 0
    channel = service.state.channel(sampler.sampling_session_id, clone)
    job = service.state.add_job(channel, sample.num_samples)
    if isinstance(seq_id, int) and options.dedupe:
        sampler.promises[seq_id] = (digest(body), job.request_id)
    service.start(job, sample, sampler.model)
    return job


def _target(service: Service, body: dict[str, Any]) -> Sampler:
    name = body.get("sampling_session_id")
    if name is None:
        model = body.get("base_model") or service.engine.models[0].model_name
        return service.state.samplers.setdefault("", Sampler("", None, str(model)))
    sampler = service.sampler(name)
    if sampler.session_id is not None:
        service.session(sampler.session_id)
    return sampler


def _repeated(service: Service, known: tuple[bytes, str], body: dict[str, Any]) -> Job:
    if known[0] != digest(body):
        raise RefusedError(409, "seq_id: already used for another request")
    job = service.state.jobs.get(known[1])
    if job is None:
        raise RefusedError(410, "The result of this seq_id is gone.")
    return job


async def _inline(service: Service, job: Job, accept: str) -> web.Response:
    await job.done.wait()
    service.state.forget(job.request_id)
    if job.response is None:
        assert job.error is not None
        return failure_answer(job.error, service.options)
    kind, data = encode_result(job.response, service.options, accept)
    return web.Response(body=data, content_type=kind)
