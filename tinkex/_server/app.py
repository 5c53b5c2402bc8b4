"""aiohttp application factory: route table, authentication and error responses."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware

from tinkex._server.answers import answer_json
from tinkex._server.bodies import RequestRefusedError
from tinkex._server.endpoints import records, results, samples, sessions
from tinkex._server.engine import AsyncEngine, BlockingEngine
from tinkex._server.guard import RouteHandler, TrustedHosts, key_is_known, make_guard
from tinkex._server.options import ServerOptions
from tinkex._server.service import SERVICE, Service
from tinkex._server.state import ServerState

#: Method, path under /api/v1 and route handler, by the name of the endpoint: its path, or its one fixed word.
ROUTES: dict[str, tuple[str, str, RouteHandler]] = {
    "client/config": ("POST", "/client/config", sessions.client_config),
    "client/dynamic_config": ("POST", "/client/dynamic_config", sessions.dynamic_config),
    "auth/token": ("POST", "/auth/token", sessions.token),
    "create_session": ("POST", "/create_session", sessions.create_session),
    "session_heartbeat": ("POST", "/session_heartbeat", sessions.session_heartbeat),
    "finish": ("POST", "/sessions/{session_id}/finish", sessions.finish_session),
    "create_sampling_session": ("POST", "/create_sampling_session", sessions.create_sampling_session),
    "samplers": ("GET", "/samplers/{sampler_id}", sessions.sampler),
    "join_sampling_session": ("POST", "/join_sampling_session", sessions.join),
    "asample": ("POST", "/asample", samples.asample),
    "retrieve_future": ("POST", "/retrieve_future", results.retrieve_future),
    "retrieve_futures": ("POST", "/retrieve_futures", results.retrieve_futures),
    "cancel_future": ("POST", "/cancel_future", samples.cancel_future),
    "telemetry": ("POST", "/telemetry", sessions.telemetry),
    "healthz": ("GET", "/healthz", sessions.healthz),
    "get_server_capabilities": ("GET", "/get_server_capabilities", sessions.capabilities),
    "training_runs": ("GET", "/training_runs", records.training_runs),
    "training_run": ("GET", "/training_runs/{run_id}", records.training_run),
    "run_checkpoints": ("GET", "/training_runs/{run_id}/checkpoints", records.run_checkpoints),
    "checkpoints": ("GET", "/checkpoints", records.checkpoints),
    "sessions": ("GET", "/sessions", records.sessions),
    "session": ("GET", "/sessions/{session_id}", records.session),
    "weights_info": ("POST", "/weights_info", records.weights_info),
}
_OPEN = frozenset({"healthz"})
_RAW_KEY = frozenset({"client/config", "auth/token"})


def make_app(
    engine: BlockingEngine | AsyncEngine,
    options: ServerOptions | None = None,
    middlewares: Iterable[Middleware] = (),
    *,
    listens_on: str = "127.0.0.1",
) -> web.Application:
    """Build the aiohttp application that serves the sampling protocol over *engine*.

    Args:
        engine: Computes the answers; closing the application cancels what it still computes.
        options: How the server behaves; None means like the hosted service.
        middlewares: Run around every endpoint, the first one outermost, behind the guard.
        listens_on: The address that the server listens on.
    """
    options = options or ServerOptions()
    service = Service(engine, options, ServerState(options.max_results, options.max_bytes))
    hosts = TrustedHosts.listening_on(listens_on, options.hosts)
    guard = make_guard(hosts, lambda status, reason: answer_json({"detail": reason}, status), options.max_body_bytes)
    middlewares = [guard, *middlewares, _refusals, _authentication]
    app = web.Application(client_max_size=options.max_body_bytes, middlewares=middlewares)
    app[SERVICE] = service
    for name, (method, path, endpoint) in ROUTES.items():
        served = _missing if name in options.missing else endpoint
        route = name.replace("/", ".")
        app.router.add_route(method, f"{options.prefix}/api/v1{path}", served, name=route)

    async def stop(_app: web.Application) -> AsyncIterator[None]:
        yield
        service.close()

    app.cleanup_ctx.append(stop)
    return app


async def _missing(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


def endpoint_name(request: web.Request) -> str | None:
    """Return the name in `ROUTES` of the matched route; None where no route matches."""
    name = request.match_info.route.name
    return None if name is None else name.replace(".", "/")


@web.middleware
async def _refusals(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestRefusedError as refusal:
        return answer_json(refusal.body, refusal.status, **refusal.headers)
    except web.HTTPException as error:
        return answer_json({"detail": error.reason}, error.status)


@web.middleware
async def _authentication(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
    service, name = request.app[SERVICE], endpoint_name(request)
    if name not in _OPEN:
        _check_key(service, _credential(request, service.options), name)
    return await handler(request)


def _credential(request: web.Request, options: ServerOptions) -> str | None:
    key = request.headers.get("X-API-Key")
    authorization = request.headers.get("Authorization", "")
    if key is None and options.bearer and authorization.startswith("Bearer "):
        return authorization.removeprefix("Bearer ")
    return key


def _check_key(service: Service, key: str | None, name: str | None) -> None:
    options = service.options
    if options.jwt and name not in _RAW_KEY:
        if key is None or service.state.tokens.get(key, 0.0) <= time.time():
            challenge = 'Bearer error="invalid_token"'
            raise RequestRefusedError(401, "The token is not valid.", **{"WWW-Authenticate": challenge})
    elif options.require_key is not None and key is None:
        raise RequestRefusedError(401, "There is no X-API-Key.")
    elif options.require_key is not None and not key_is_known(key, [options.require_key]):
        raise RequestRefusedError(options.wrong_key_status, "The X-API-Key is not valid.")
