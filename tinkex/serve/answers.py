"""HTTP requests and answers of the gateway: JSON, event streams, and what the application keeps."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from aiohttp import web
from attrs import frozen

from tinkex.serve.dialect.fields import BodyFields
from tinkex.serve.errors import GatewayError
from tinkex.serve.models import ModelRegistry

MAX_BODY_BYTES: Final = 64 * 2**20
_MOST_VALUES: Final = 4_000_000
_PATIENCE: Final = "X-Stainless-Read-Timeout"  # of OpenAI's clients, in seconds
MODELS: Final = web.AppKey("models", ModelRegistry)
MOST_TOKENS: Final = web.AppKey("max_tokens", int)
"""Most tokens of a chat's answer where the request does not say; 0 for what is left of the context."""


@frozen
class _Codec:
    """JSON in bytes: orjson where it is installed, else the standard library."""

    dumps: Callable[[object], bytes]
    loads: Callable[[bytes | bytearray], Any]


def _codec() -> _Codec:
    try:
        orjson = importlib.import_module("orjson")
    except ImportError:
        encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
        return _Codec(lambda value: encode(value).encode("utf-8", "replace"), json.loads)
    return _Codec(orjson.dumps, orjson.loads)


CODEC: Final = _codec()


def json_answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON answer; the keys stand in the order in which they were made, which some clients read."""
    return web.Response(body=CODEC.dumps(body), status=status, headers=headers, content_type="application/json")


def error_answer(error: GatewayError) -> web.Response:
    """Return the answer to a request that fails."""
    return json_answer(error.body, error.status, error.headers)


def event_stream(events: Iterable[object]) -> web.Response:
    """Return the answer to a request that streams: every event of it, and the mark of the end.

    The Tinker API returns whole samples, so that all events are there when the first one is.
    """
    lines = [b"data: " + CODEC.dumps(event) for event in events]
    body = b"\n\n".join([*lines, b"data: [DONE]\n\n"])
    headers = {"Cache-Control": "no-cache"}
    return web.Response(body=body, headers=headers, content_type="text/event-stream", charset="utf-8")


def route_of(request: web.Request) -> str:
    """Return the route that a request took, as logs and metrics name it: never what the client wrote into its path."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "another path"


async def read_fields(request: web.Request) -> BodyFields:
    """Read a request's body as a JSON object.

    Raises:
        GatewayError: It is not one, or too large.
    """
    data = bytearray()  # request.read() would keep it until there is an answer
    while chunk := await request.content.readany():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise GatewayError(413, "The body is too large.", None, "body_too_large")
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise GatewayError(413, f"The body has more than {_MOST_VALUES:,} values.", None, "body_too_large")
    try:
        body = CODEC.loads(data)
    except (ValueError, RecursionError):
        raise GatewayError(400, "The body is not JSON.", None, "invalid_json") from None
    if not isinstance(body, dict):
        raise GatewayError(400, "The body is not a JSON object.", None, "invalid_json")
    return BodyFields(body)


def patience(request: web.Request) -> float | None:
    """Return the seconds that the client waits for an answer; None where it does not say."""
    try:
        seconds = float(request.headers.get(_PATIENCE, ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None
