"""aiohttp application of the gateway: routes, keys, errors and the request log."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from tinkex._server.guard import TrustedHosts, key_is_known, refusal
from tinkex.config import is_loopback
from tinkex.errors import MissingExtraError, clean_text
from tinkex.serve.answers import MAX_BODY_BYTES, MODELS, MOST_TOKENS, error_answer, json_answer, route_of
from tinkex.serve.endpoints.chat import chat_completions
from tinkex.serve.endpoints.completions import completions
from tinkex.serve.endpoints.playground import playground
from tinkex.serve.endpoints.tokenize import detokenize, list_models, show_model, tokenize, tokenizer_info
from tinkex.serve.errors import GatewayError, gateway_error
from tinkex.serve.models import ModelRegistry, read_models
from tinkex.service_client import ServiceClient

logger: logging.Logger = logging.getLogger("tinkex.serve")
SERVICE: Final = web.AppKey("service", ServiceClient)
_HEALTH: Final = "/health"


def make_app(
    service: ServiceClient,
    models: str | Iterable[str] | Mapping[str, str] | None = None,
    *,
    api_key: str | Iterable[str] | None = None,
    tokenizer: object = None,
    max_tokens: int | None = None,
    listens_on: str = "127.0.0.1",
    allowed_hosts: str | Iterable[str] = (),
) -> web.Application:
    """Build the application, for an aiohttp server of one's own: run it with ``handler_cancellation=True``.

    Args:
        service: Where it samples; it stays open when the application ends.
        models: The models to offer: names, ``NAME=PATH`` texts, or a mapping of names to models. None: all that the
            server has, and saved weights by their ``tinker://`` paths.
        api_key: The key that clients must send, or several; None: none.
        tokenizer: The tokenizer of all models: a name, a path or an object. None: each model's own.
        max_tokens: Most tokens of a chat's answer where the request does not say. None: what is left of the context.
        listens_on: The address that the server listens on. Pages of other hosts are refused on the loopback interface.
        allowed_hosts: Further host names by which clients address it, as a proxy in front passes them on; "*" for any.

    Raises:
        ValueError: Something is wrong; the text names it. An address beyond this machine needs a key.
    """
    keys = read_names("api_key", () if api_key is None else api_key)
    if not keys and not is_loopback(listens_on):
        raise ValueError(f"host: {listens_on} is open to other machines, so api_key must be given")
    if max_tokens is not None and (isinstance(max_tokens, bool) or max_tokens < 1):
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    names = read_names("allowed_hosts", allowed_hosts) or (() if is_loopback(listens_on) else ("*",))
    hosts = TrustedHosts.listening_on(listens_on, names)
    app = web.Application(middlewares=[_middleware(hosts, keys)])
    app[SERVICE] = service
    app[MODELS] = ModelRegistry(service, read_models(models), tokenizer)
    app[MOST_TOKENS] = max_tokens or 0
    app.router.add_get("/", playground)
    app.router.add_get("/playground/{file}", playground)
    app.router.add_get("/v1/models", list_models)
    app.router.add_get("/v1/models/{model:.+}", show_model)
    app.router.add_post("/v1/completions", completions)
    app.router.add_post("/v1/chat/completions", chat_completions)
    app.router.add_post("/tokenize", tokenize)
    app.router.add_post("/detokenize", detokenize)
    app.router.add_get("/tokenizer_info", tokenizer_info)
    app.router.add_get(_HEALTH, health)
    app.router.add_route("*", "/{version:(?:v1/)?}api/v1/{rest:.*}", no_tinker_server)
    with contextlib.suppress(MissingExtraError):
        importlib.import_module("tinkex.serve.metrics").add_metrics(app, service)
    return app


def read_names(argument: str, given: str | Iterable[str]) -> tuple[str, ...]:
    """Return the texts of an argument that takes one or several.

    Raises:
        ValueError: One of them is empty.
    """
    names = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"{argument} must not be empty")
    return names


async def health(request: web.Request) -> web.StreamResponse:
    """Answer ``GET /health``: 200 where the service can be expected to work, else 503."""
    known = request.app[SERVICE].health()
    return json_answer({"status": known.state}, 200 if known.ok else 503)


async def no_tinker_server(request: web.Request) -> web.StreamResponse:
    """Answer a client of the Tinker API, such as ``tinkex doctor``, by saying what this is."""
    raise GatewayError(
        404, "This is a gateway for OpenAI's API (tinkex serve): base_url must lead to the server behind.",
        code="gateway",
    )  # fmt: skip


#: For programs that watch, those that are wrong here, and the page on which a key is entered: no key.
def _log(fields: Mapping[str, Any]) -> None:
    logger.info("%s %s %d %.3f s", *fields.values(), extra=fields)


_OPEN: Final = (health, no_tinker_server, playground)


def _middleware(hosts: TrustedHosts, keys: tuple[str, ...]) -> Middleware:
    """Build the middleware of all routes: one for everything, as each takes memory while a request waits."""

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Admit a request, turn errors into answers, and log it: never what is in it."""
        began = time.monotonic()
        status = 499  # what logs of nginx have for a client that hung up
        try:
            _admit(request, hosts, keys)
            response = await handler(request)
            status = response.status
        except asyncio.CancelledError:
            raise
        except web.HTTPException as error:
            status = error.status
            found = GatewayError(status, f"{request.method} of this path is not offered: {error.reason}.")
            response = error_answer(found)
        except Exception as error:
            found = gateway_error(error)
            status, response = found.status, error_answer(found)
            if found.code == "internal_error":
                logger.exception("The gateway failed.")
        finally:
            if logger.isEnabledFor(logging.INFO):
                method, route, seconds = clean_text(request.method), route_of(request), time.monotonic() - began
                fields = {"method": method, "route": route, "status": status, "seconds": seconds}
                asyncio.get_running_loop().call_soon(_log, fields)  # the answer goes first
        return response

    return answered


def _admit(request: web.Request, hosts: TrustedHosts, keys: tuple[str, ...]) -> None:
    """Refuse requests from pages of other hosts, with bodies that are not plain JSON, and without a key."""
    refused = refusal(request, hosts, MAX_BODY_BYTES)
    if refused is not None:
        raise GatewayError(*refused)
    if keys and request.match_info.handler not in _OPEN:
        scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not key_is_known(key.strip(), keys):
            challenge = {str(hdrs.WWW_AUTHENTICATE): "Bearer"}
            raise GatewayError(401, "The API key is missing or not known.", None, "invalid_api_key", challenge)
