"""Fault plans: which requests get which fault, and how often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from tinkex._validation.field_docs import with_field_docs
from tinkex.testing._journal import RecordedRequest


@with_field_docs
@frozen
class Fault:
    """Fault to inject, with its parameters.

    `seconds` is how long "delay" and "late" wait, and the pause between the bytes of a "drip";
    `size` is how many bytes a fault that sends too much sends.
    """

    kind: str
    """What goes wrong: one of the names that `FakeServer.fault` lists."""
    status: int = 500
    """The status of the answer, where there is one."""
    headers: Mapping[str, str] = field(factory=dict)
    """Headers of that answer."""
    body: Any = None
    """Its body: JSON, bytes or text; None: one that fits the kind."""
    seconds: float = 0.05
    size: int = 100 * 2**20


@with_field_docs
@define(eq=False)
class Plan:
    """Fault planned for an endpoint; `cancel` withdraws it.

    `remaining` counts down; None means for ever. `skip` requests pass first. `fault` None lets a
    request pass.
    """

    endpoint: str
    fault: Fault | None
    remaining: int | None = 1
    skip: int = 0
    when: Callable[[RecordedRequest], bool] | None = None
    """Which requests it is for; None: every one."""

    def cancel(self) -> None:
        """End it now."""
        self.remaining = 0

    def matches(self, request: RecordedRequest) -> bool:
        """Whether the plan applies to the request and is not used up."""
        everything = self.endpoint == "*" and request.endpoint != "connect"
        if self.remaining == 0 or not (everything or self.endpoint == request.endpoint):
            return False
        return self.when is None or self.when(request)

    def take(self) -> Fault | None:
        """Count one use; returns the fault, or None while requests are skipped."""
        if self.skip > 0:
            self.skip -= 1
            return None
        if self.remaining is not None:
            self.remaining -= 1
        return self.fault


class FaultScript:
    """Fault plans of one server, in the order they were made; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _plans
        self._plans: list[Plan] = []

    def add(self, *plans: Plan) -> None:
        """Append plans."""
        with self._lock:
            self._plans.extend(plans)

    def clear(self) -> None:
        """Drop every plan."""
        with self._lock:
            for plan in self._plans:
                plan.cancel()
            self._plans.clear()

    def take(self, request: RecordedRequest) -> Fault | None:
        """Take the fault planned for a request; None where there is none."""
        with self._lock:
            self._plans = [plan for plan in self._plans if plan.remaining != 0]
            plan = next((plan for plan in self._plans if plan.matches(request)), None)
            return None if plan is None else plan.take()

    def next_kind(self, endpoint: str | None) -> str | None:
        """Return the kind of the next fault of an endpoint, regardless of its `when`."""
        with self._lock:
            for plan in self._plans:
                if plan.remaining != 0 and plan.endpoint in ("*", endpoint) and plan.skip == 0:
                    return None if plan.fault is None else plan.fault.kind
        return None
