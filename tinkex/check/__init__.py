"""Conformance checks of servers: whether a server samples as it is asked to, shown by sampling from it."""

from __future__ import annotations

from tinkex.check.checkup import ALL_NAMES, Checkup
from tinkex.check.observations import Cost
from tinkex.check.result import CheckResult, ServerReport

__all__ = ["ALL_NAMES", "CheckResult", "Checkup", "Cost", "ServerReport"]


def __dir__() -> list[str]:
    return sorted(__all__)
