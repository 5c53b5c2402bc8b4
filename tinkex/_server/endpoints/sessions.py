"""Session endpoints: flags, tokens, sessions, sampling sessions, telemetry, health, capabilities."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from aiohttp import web
from attrs import asdict

from tinkex._server.answers import answer_json
from tinkex._server.bodies import RequestRefusedError, number_of, parse_object, refuse_unknown, take
from tinkex._server.retention import JSON_GROWTH
from tinkex._server.service import SERVICE, Service
from tinkex._server.state import ServerSampler, ServerSession

_LONGEST_REASON = 200


async def client_config(request: web.Request) -> web.Response:
    """Feature flags that are fixed for the life of a client."""
    options = request.app[SERVICE].options
    return answer_json({"pjwt_auth_enabled": options.jwt, **options.client_config})


async def dynamic_config(request: web.Request) -> web.Response:
    """Feature flags that clients refresh."""
    return answer_json(dict(request.app[SERVICE].options.dynamic_config))


async def token(request: web.Request) -> web.Response:
    """Exchange a key for a token."""
    service = request.app[SERVICE]
    if not service.options.jwt:
        raise RequestRefusedError(404, "This server has no tokens.")
    issued = time.time()
    expires = issued + service.options.jwt_lifetime
    claims = {
        "iss": "passport-test", "sub": "tml:user:test", "org_id": "test", "email": "",
        "iat": issued, "exp": expires, "jti": service.state.number(),
    }  # fmt: skip
    jwt = f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{_segment(claims)}.c2lnbmF0dXJl"
    service.state.add_token(jwt, expires)
    return answer_json({"jwt": jwt})


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def create_session(request: web.Request) -> web.Response:
    """Create a session."""
    service, data = request.app[SERVICE], await request.read()
    body = parse_object(data)
    if missing := [name for name in service.options.session_fields if name not in body]:
        detail = [{"type": "missing", "loc": ["body", n], "msg": "Field required"} for n in missing]
        raise RequestRefusedError(422, detail)
    known = ("tags", "user_metadata", "sdk_version", "project_id", "display_name", "type")
    _refuse(service, body, *known)
    session_id = f"session-{service.state.number()}"
    session = ServerSession(
        session_id, display_name=body.get("display_name"), user_metadata=take(body, "user_metadata", dict, {})
    )
    service.state.add_session(session, JSON_GROWTH * len(data))
    if session_id not in service.state.sessions:
        raise RequestRefusedError(413, "user_metadata: there is no room for so much.")
    answer = {"type": "create_session", "session_id": session_id}
    return answer_json(answer, service.options.created_status)


async def session_heartbeat(request: web.Request) -> web.Response:
    """Keep a session alive."""
    service, body = request.app[SERVICE], await _body(request)
    _refuse(service, body, "session_id", "type")
    service.session(body.get("session_id"))
    return answer_json({"type": "session_heartbeat"})


async def finish_session(request: web.Request) -> web.Response:
    """Finish a session; the first reason is kept."""
    service, body = request.app[SERVICE], await _body(request)
    _refuse(service, body, "reason", "detail")
    session = service.state.sessions.get(request.match_info["session_id"])
    if session is None:
        raise RequestRefusedError(404, "The session does not exist.")
    if session.finished is None:
        session.finished = str(take(body, "reason", dict, {}).get("type", "unknown"))[:_LONGEST_REASON]
    return answer_json({})


async def create_sampling_session(request: web.Request) -> web.Response:
    """Create a sampling session; idempotent by sampling_session_seq_id."""
    service, body = request.app[SERVICE], await _body(request)
    number, model, path = number_of(body, "sampling_session_seq_id"), body.get("base_model"), body.get("model_path")
    known = ("session_id", "sampling_session_seq_id", "base_model", "model_path", "type")
    _refuse(service, body, *known)
    if model is None and path is None:
        raise RequestRefusedError(400, "Give base_model or model_path.")
    if path is not None and not str(path).startswith("tinker://"):
        raise RequestRefusedError(400, "model_path must start with tinker://")
    session = service.session(body.get("session_id"))
    name = None if number is None else session.samplers.get(number)
    if name is None:
        name = _add_sampler(service, session, model, path)
        if number is not None:
            session.samplers[number] = name
    answer = {"type": "create_sampling_session", "sampling_session_id": name, **_tokenizer(service)}
    if service.options.session_future:
        pending = service.state.add_sample(service.state.queue(service.state.samplers[name], 0), 0)
        pending.value = answer
        service.state.finish_sample(pending)
        answer = {"request_id": pending.request_id, "status": "pending"}
    return answer_json(answer, service.options.created_status)


def _add_sampler(service: Service, session: ServerSession, model: object, path: object) -> str:
    models = service.engine.models
    known = {each.model_name for each in models}
    if not service.options.any_model and model is not None and model not in known:
        names = ", ".join(sorted(known)[:5])
        raise RequestRefusedError(404, f"Model {model} does not exist. Among those that do: {names}.")
    name = service.options.constant_session_id
    name = name or f"{session.session_id}:sampler:{service.state.number()}-{service.state.birth_mark}"
    base = str(model if model is not None else models[0].model_name)
    stored = None if path is None else str(path)
    service.state.add_sampler(ServerSampler(name, session.session_id, base, stored), len(base) + len(stored or ""))
    return name


async def sampler(request: web.Request) -> web.Response:
    """The base model and weights of a sampling session."""
    service = request.app[SERVICE]
    found = service.sampler(request.match_info["sampler_id"])
    answer = {"sampler_id": found.sampling_session_id, "base_model": found.model, **_tokenizer(service)}
    return answer_json(answer if found.model_path is None else {**answer, "model_path": found.model_path})


def _tokenizer(service: Service) -> dict[str, str]:
    named = service.options.tokenizer_id
    return {} if named is None else {"tokenizer_id": named}


async def join(request: web.Request) -> web.Response:
    """Assign a number to a clone of a sampling session."""
    service, body = request.app[SERVICE], await _body(request)
    _refuse(service, body, "sampling_session_id", "type")
    found = service.sampler(body.get("sampling_session_id"))
    found.clones += 1
    return answer_json({"client_counter": found.clones})


async def telemetry(request: web.Request) -> web.Response:
    """Accept a batch of telemetry events."""
    body = await _body(request)
    if not isinstance(body.get("events"), list):
        raise RequestRefusedError(422, "events: Field required")
    return answer_json({"status": "accepted"})


async def healthz(_request: web.Request) -> web.Response:
    """Health check."""
    return answer_json({"status": "ok"})


async def capabilities(request: web.Request) -> web.Response:
    """List the supported models."""
    service = request.app[SERVICE]
    models = [_model(asdict(each), service.options.model_field) for each in service.engine.models]
    return answer_json({"supported_models": models})


def _model(model: dict[str, Any], name: str) -> object:
    if name == "plain":
        return model["model_name"]
    fields = {key: value for key, value in model.items() if value is not None}
    return {name: fields.pop("model_name"), **fields}


async def _body(request: web.Request) -> dict[str, Any]:
    return parse_object(await request.read())


def _refuse(service: Service, body: dict[str, Any], *known: str) -> None:
    if service.options.forbid_unknown:
        refuse_unknown(body, known)
