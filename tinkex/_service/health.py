"""Whether a service can be expected to work, from what is known without asking."""

from __future__ import annotations

from tinkex._service.runtime import Machine
from tinkex.types import Health

_STALE_HEARTBEAT = 120.0


def health_of(machine: Machine | None) -> Health:
    """The health of a service that is open; `machine` is None where nothing has been sent yet."""
    if machine is None:
        return Health(ok=True, state="unused", reason="nothing was sent yet: whether the server answers is not known")
    session, stats = machine.session, machine.stats()
    if session.over_at_server:
        return Health(ok=False, state="ended", reason="the server has ended the session: make a new client")
    if stats.last_heartbeat is None:
        return _starting(machine)
    if stats.last_heartbeat > _STALE_HEARTBEAT:
        return Health(ok=False, state="silent", reason=f"no heartbeat was answered for {stats.last_heartbeat:.0f} s")
    if stats.paused_for:
        why = stats.paused_reason or "the server gave no reason"
        return Health(ok=True, state="paused", reason=f"samples are paused for {stats.paused_for:.0f} s: {why}")
    return Health(ok=True)


def _starting(machine: Machine) -> Health:
    """Before the session is confirmed for the first time."""
    failure = machine.api.last_failure
    if not failure:
        return Health(ok=True, state="starting", reason="no session yet")
    state = "starting" if machine.api.reached else "unreachable"
    return Health(ok=False, state=state, reason=f"no session yet; the last failure was: {failure}")
