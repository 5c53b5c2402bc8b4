"""Results of checks: a verdict each, with its evidence, what it means for a sampling program, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from tinkex._validation.field_docs import with_field_docs

OK: Final = "ok"
FAULT: Final = "fault"
ABSENT: Final = "absent"
UNKNOWN: Final = "unknown"
SKIPPED: Final = "skipped"
VERDICTS: Final = (FAULT, ABSENT, UNKNOWN, SKIPPED, OK)


@with_field_docs
@attrs.frozen(kw_only=True)
class CheckResult:
    """Result of one check of a server."""

    name: str
    """The name of the check."""
    verdict: str
    """"ok"; "fault": the server does something else than it is asked for; "absent": it lacks a service that clients can
    do without; "unknown": the evidence decides nothing; "skipped": nothing was sent for it."""
    says: str
    """What was seen, with its numbers."""
    means: str = ""
    """For a fault, or what is absent: what it does to a program that samples."""
    advice: str = ""
    """What to do about it."""
    p: float | None = None
    """Where a test decided: how probable such evidence is on a server without the fault."""
    evidence: Mapping[str, Any] = attrs.field(factory=dict)
    """Tokens and numbers, as JSON can hold them."""


@with_field_docs
@attrs.frozen(kw_only=True)
class ServerReport:
    """Results of all checks of one model on one server."""

    server: str
    model: str
    results: tuple[CheckResult, ...]
    """What each check has found, in order."""
    requests: int = 0
    """Samples and other requests sent."""
    prompt_tokens: int = 0
    """Prompt tokens that were sent."""
    sampled_tokens: int = 0
    """Tokens that were sampled."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return all(result.verdict != FAULT for result in self.results)

    def with_verdict(self, *verdicts: str) -> Sequence[CheckResult]:
        """The results with one of these verdicts."""
        return [result for result in self.results if result.verdict in verdicts]

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object; numbers that JSON has not are text."""
        plain: dict[str, Any] = _plain_json({"ok": self.ok, **attrs.asdict(self)})
        return plain


def _plain_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_json(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def fault(name: str, says: str, means: str, advice: str, **more: Any) -> CheckResult:
    """The result of a check that found a fault."""
    return CheckResult(name=name, verdict=FAULT, says=says, means=means, advice=advice, **more)


def absent(name: str, says: str, means: str, advice: str, **more: Any) -> CheckResult:
    """The result of a check that found something missing that clients can do without."""
    return CheckResult(name=name, verdict=ABSENT, says=says, means=means, advice=advice, **more)


def unknown(name: str, says: str, **more: Any) -> CheckResult:
    """The result of a check whose evidence decides nothing."""
    return CheckResult(name=name, verdict=UNKNOWN, says=says, **more)


def passed(name: str, says: str, **more: Any) -> CheckResult:
    """The result of a check that found what it should."""
    return CheckResult(name=name, verdict=OK, says=says, **more)


def odds(p: float) -> str:
    """Format a p-value.

    >>> odds(0.0314), odds(3.2e-9), odds(0.0)
    ('p = 0.031', 'p = 3e-09', 'p < 1e-99')
    """
    if p < 1e-99:
        return "p < 1e-99"
    return f"p = {p:.2g}" if p >= 1e-3 else f"p = {p:.0e}"
