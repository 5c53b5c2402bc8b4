"""Statistics of a service in this process, gathered without blocking."""

from __future__ import annotations

from tinkex._service.runtime import ServiceRuntime
from tinkex.types import ServiceStats


def collect_stats(runtime: ServiceRuntime) -> ServiceStats:
    """The service's statistics at this moment; takes no lock and never blocks."""
    now = runtime.clock.monotonic()
    sampling, heard_at = runtime.sampling, runtime.session.heartbeats.heard_at
    admission, counters = sampling.admission, sampling.counters
    phases = [getattr(task.future, "phase", None) for task in runtime.scheduler.live]
    paused_for = max(0.0, admission.paused_until - now)
    return ServiceStats(
        in_flight=admission.in_flight,
        queued=phases.count("queued"),
        submitting=phases.count("submitting"),
        waiting=phases.count("waiting"),
        fetching=phases.count("fetching"),
        retrying=phases.count("retrying"),
        last_failure=sampling.retry_log.last or runtime.api.last_failure or None,
        paused_for=paused_for,
        paused_reason=admission.paused_reason if paused_for else None,
        prompt_tokens=counters.prompt_tokens,
        sampled_tokens=counters.sampled_tokens,
        completed=counters.completed,
        failed=counters.failed,
        connections=runtime.connections.open,
        threads=1 + runtime.workers.count + sum(pool.threads for pool in runtime.pools),
        last_heartbeat=None if heard_at is None else now - heard_at,
    )
