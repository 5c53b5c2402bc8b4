"""Fault-injection methods of the fake server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tinkex.testing._faults.body
import tinkex.testing._faults.connection  # noqa: F401  # they register themselves
from tinkex._server import ROUTES
from tinkex.testing._faults.kinds import KINDS
from tinkex.testing._faults.plan import Fault, FaultScript, Plan
from tinkex.testing._journal import RecordedRequest

_CONNECT = ("reset", "close", "hang")


class FaultPlanner:
    """Fault-injection interface; safe to share between threads."""

    def __init__(self) -> None:
        self._script = FaultScript()

    def fail_next(
        self, endpoint: str, status: int = 500, body: Any = None, headers: Mapping[str, str] | None = None, **plan: Any
    ) -> Plan:
        """Answer the next request to an endpoint with a status, without acting on it.

        Args:
            endpoint: "asample", "client/config", ...; "*" is all of them.
            status: Any status, also a 2xx or a redirect.
            body: Sent as JSON; strings and bytes are sent as they are; None is an empty body.
            headers: Additional ones.
            plan: *times* (1; None is for ever), *skip* (0: requests that pass first), *when* (a
                function of the `RecordedRequest` that says whether it is meant).
        """
        fault = Fault("status", status=status, body=body, headers=headers or {})
        return self._plan(endpoint, fault, **plan)

    def fault(self, endpoint: str, kind: str, **options: Any) -> Plan:
        """Answer the next request to an endpoint wrongly.

        Args:
            endpoint: An endpoint, "*" for all of them, or "connect" for the next connection.
            kind: "reset", "reset_early", "reset_after", "close", "close_after", "stale", "hang",
                "stall", "half", "half_chunked", "drip", "delay", "late", "endless",
                "huge_length", "bad_length", "huge_header", "garbage", "truncated", "wrong_type",
                "no_type", "not_http", "interim", "gzip", "bad_gzip", "gzip_bomb", "chunked". On
                "connect": "reset", "close", "hang".
            options: *seconds* and *size* (see `Fault`); *times*, *skip* and *when* as in
                `fail_next`.
        """
        kinds = _CONNECT if endpoint == "connect" else tuple(KINDS)
        if kind not in kinds:
            raise ValueError(f"kind: {kind!r} is not one of {', '.join(sorted(kinds))}")
        details = {name: options.pop(name) for name in ("seconds", "size") if name in options}
        return self._plan(endpoint, Fault(kind, **details), **options)

    def script(self, endpoint: str, *faults: Fault | None) -> None:
        """Answer the next requests to an endpoint as listed; None answers well.

        >>> from tinkex.testing import FakeServer, Fault
        >>> server = FakeServer()
        >>> server.script("asample", Fault("status", 429), None, Fault("reset"))
        >>> server.stop()
        """
        name = known_endpoint(endpoint)
        self._script.add(*(Plan(name, fault) for fault in faults))

    def _plan(
        self,
        endpoint: str,
        fault: Fault,
        times: int | None = 1,
        skip: int = 0,
        when: Callable[[RecordedRequest], bool] | None = None,
    ) -> Plan:
        name = endpoint if endpoint in ("*", "connect") else known_endpoint(endpoint)
        plan = Plan(name, fault, times, skip, when)
        self._script.add(plan)
        return plan


def known_endpoint(endpoint: str) -> str:
    """The name of an endpoint, checked."""
    if endpoint not in ROUTES:
        raise ValueError(f"endpoint: {endpoint!r} is not one of {', '.join(sorted(ROUTES))}")
    return endpoint
