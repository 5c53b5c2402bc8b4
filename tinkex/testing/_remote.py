"""Control endpoint of a fake server that runs in another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from tinkex._server.answers import answer_json
from tinkex._server.bodies import parse_object
from tinkex.testing._rules.journal import RecordedRequest
from tinkex.testing._rules.rules import Violation

#: Path of the control endpoint, which is not part of the protocol.
CONTROL = "/_fake"
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


async def control(request: web.Request, server: ControlledServer) -> web.Response:
    """Execute a command (POST), or report requests and violations (GET)."""
    if request.method == "GET":
        return answer_json(_report(server))
    body = parse_object(await request.read())
    if body.get("command") not in COMMANDS:
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
