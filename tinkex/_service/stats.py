"""Statistics and health of a service in this process, gathered without blocking or a request."""

from __future__ import annotations

from tinkex._service.runtime import ServiceRuntime
from tinkex.future import SampleFuture
from tinkex.types import Health, ServiceStats

_STALE_HEARTBEAT = 120.0


def collect_stats(runtime: ServiceRuntime | None) -> ServiceStats:
    """The service's statistics at this moment; takes no lock and never blocks."""
    if runtime is None:
        return ServiceStats()
    now = runtime.clock.monotonic()
    sampling, heard_at = runtime.sampling, runtime.session.heartbeats.heard_at
    admission, counters = sampling.admission, sampling.counters
    futures = [task.future for task in runtime.scheduler.live]
    phases = [future.phase for future in futures if isinstance(future, SampleFuture) and not future.done()]
    paused_for = max(0.0, admission.throttle.paused_until - now)
    return ServiceStats(
        in_flight=len(phases) - phases.count("queued"),  # not those of which the place is about to be free
        queued=phases.count("queued"),
        submitting=phases.count("submitting"),
        waiting=phases.count("waiting"),
        fetching=phases.count("fetching"),
        retrying=phases.count("retrying"),
        last_failure=sampling.retry_log.last or runtime.api.last_failure or None,
        paused_for=paused_for,
        paused_reason=admission.throttle.reason if paused_for else None,
        paused_cause=admission.throttle.cause if paused_for else None,
        prompt_tokens=counters.prompt_tokens,
        sampled_tokens=counters.sampled_tokens,
        completed=counters.completed,
        failed=counters.failed,
        connections=runtime.connections.open,
        threads=1 + runtime.workers.threads + sum(pool.threads for pool in runtime.pools),
        last_heartbeat=None if heard_at is None else now - heard_at,
    )


def health_of(runtime: ServiceRuntime | None, *, closed: bool) -> Health:
    """Whether a service can be expected to work; `runtime` is None where nothing has been sent yet."""
    if closed:
        return Health(ok=False, state="closed", reason="the client is closed")
    if runtime is None:
        return Health(ok=True, state="unused", reason="nothing was sent yet: whether the server answers is not known")
    session, stats = runtime.session, collect_stats(runtime)
    over = session.over
    if over is not None:
        return Health(ok=False, state="ended", reason=over)
    if stats.last_heartbeat is None:
        return _starting(runtime)
    if stats.last_heartbeat > _STALE_HEARTBEAT:
        failure = session.heartbeats.last_failure
        reason = f"no heartbeat was confirmed for {stats.last_heartbeat:.0f} s"
        return Health(ok=False, state="silent", reason=f"{reason}; the last: {failure}" if failure else reason)
    throttle = runtime.sampling.admission.throttle
    if runtime.clock.monotonic() < throttle.probes_until:
        when = f"in {stats.paused_for:.0f} s one tries again" if stats.paused_for else "one is trying again"
        reason = f"samples are paused; {when}: {throttle.reason or 'the server gave no reason'}"
        return Health(ok=not _outlasts_samples(runtime), state="paused", reason=reason)
    return Health(ok=True)


def _outlasts_samples(runtime: ServiceRuntime) -> bool:
    """Whether a sample that was asked for as the pauses began is too late by the end of the last: none gets through."""
    throttle = runtime.sampling.admission.throttle
    since, timeout = throttle.refused_since, runtime.api.config.current.timeout
    return since is not None and throttle.paused_until - since > timeout


def _starting(runtime: ServiceRuntime) -> Health:
    """Before the session is confirmed for the first time."""
    failure = runtime.api.last_failure
    if not failure:
        return Health(ok=True, state="starting", reason="no session yet")
    state = "starting" if runtime.api.reached else "unreachable"
    return Health(ok=False, state=state, reason=f"no session yet; the last failure was: {failure}")
