"""Control endpoint of a fake server that runs in another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from tinkex._server.answers import answer_json
from tinkex._server.bodies import RequestRefusedError, parse_object
from tinkex._server.guard import key_is_known
from tinkex.testing._journal import RecordedRequest
from tinkex.testing._rules.rules import Violation

#: Path of the control endpoint, which is not part of the protocol.
CONTROL = "/_fake"
#: Header that carries its key, and the environment variable that a server process gets the key from.
CONTROL_KEY = "X-Tinkex-Control-Key"
CONTROL_KEY_VARIABLE = "TINKEX_CONTROL_KEY"
#: The methods of `FakeServer` that can be called through it.
COMMANDS = frozenset(
    {"fail_next", "fault", "fail_samples", "hold", "release", "set_queue_state", "expire", "revoke_tokens", "clear"}
)


class ControlledServer(Protocol):
    """Part of `FakeServer` that the control endpoint reports and commands."""

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far."""

    @property
    def violations(self) -> list[Violation]:
        """Every violation so far."""


async def control(request: web.Request, server: ControlledServer, key: str | None) -> web.Response:
    """Execute a command (POST), or report requests and violations (GET), for requests that carry the control key.

    Without the right key, or where the server has none, there is no such endpoint.
    """
    if key is None or not key_is_known(request.headers.get(CONTROL_KEY), [key]):
        return answer_json({"detail": "Not Found"}, 404)
    if request.method == "GET":
        return answer_json(_report(server))
    try:
        body = parse_object(await request.read())
    except RequestRefusedError as error:
        return answer_json(error.body, error.status)
    if str(body.get("command")) not in COMMANDS:
        return answer_json({"detail": "There is no such command."}, 404)
    command: Callable[..., object] = getattr(server, body["command"])
    try:
        command(*body.get("arguments", ()), **body.get("options", {}))
    except (TypeError, ValueError) as error:
        return answer_json({"detail": str(error)}, 422)
    return answer_json({})


def _report(server: ControlledServer) -> dict[str, Any]:
    return {
        "requests": [
            {
                "endpoint": each.endpoint,
                "method": each.method,
                "path": each.path,
                "headers": dict(each.headers),
                "body": each.body.decode("utf-8", "replace"),
                "at": each.at,
                "status": each.status,
                "client_port": each.client_port,
            }
            for each in server.requests
        ],
        "violations": [{"rule": each.rule, "message": each.message} for each in server.violations],
    }
