"""Health check of a service, from what is known without a request."""

from __future__ import annotations

from tinkex._service.runtime import ServiceRuntime
from tinkex._service.stats import collect_stats
from tinkex.types import Health

_STALE_HEARTBEAT = 120.0


def health_of(runtime: ServiceRuntime | None) -> Health:
    """The health of a service that is open; `runtime` is None where nothing has been sent yet."""
    if runtime is None:
        return Health(ok=True, state="unused", reason="nothing was sent yet: whether the server answers is not known")
    session, stats = runtime.session, collect_stats(runtime)
    if session.ended_by_server:
        return Health(ok=False, state="ended", reason="the server has ended the session: make a new client")
    if stats.last_heartbeat is None:
        return _starting(runtime)
    if stats.last_heartbeat > _STALE_HEARTBEAT:
        return Health(ok=False, state="silent", reason=f"no heartbeat was answered for {stats.last_heartbeat:.0f} s")
    if stats.paused_for:
        why = stats.paused_reason or "the server gave no reason"
        return Health(ok=True, state="paused", reason=f"samples are paused for {stats.paused_for:.0f} s: {why}")
    return Health(ok=True)


def _starting(runtime: ServiceRuntime) -> Health:
    """Before the session is confirmed for the first time."""
    failure = runtime.api.last_failure
    if not failure:
        return Health(ok=True, state="starting", reason="no session yet")
    state = "starting" if runtime.api.reached else "unreachable"
    return Health(ok=False, state=state, reason=f"no session yet; the last failure was: {failure}")
