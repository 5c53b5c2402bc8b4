"""Prometheus: metrics of samples and of the services that sample, in one process or in many.

Needs the `prometheus` extra. Off unless asked for::

    import tinkex.prometheus

    tinkex.prometheus.instrument()

What has happened is counted as it happens. What is the case now, such as the samples in flight, is read from `stats()`
at each scrape; where several processes share `PROMETHEUS_MULTIPROC_DIR`, each writes it there once a second, since a
scrape reaches one of them only.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from tinkex.errors import extra
from tinkex.instrumentation import (
    InstrumentedService,
    SampleEnded,
    SampleObserver,
    SampleRetry,
    SampleStarted,
    error_type,
    fork_guard,
    install,
    uninstall,
)
from tinkex.service_client import ServiceClient

with extra("prometheus", "tinkex.prometheus"):
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.metrics_core import GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_PUBLISH_SECONDS: Final = 1.0
_PHASES: Final = ("queued", "submitting", "waiting", "fetching", "retrying")
_CAUSES: Final = ("rate_limit", "capacity", "billing", "unknown")
_STATES: Final = ("starting", "unreachable", "paused", "silent", "ended")


def instrument(service: ServiceClient | None = None, *, registry: CollectorRegistry = REGISTRY) -> None:
    """Count the samples that begin from now on, and show the state of the services that sample them. Idempotent.

    Args:
        service: One service only; it may be called for several. None: all services of the process, once they sample,
            also in children that are forked from it.
        registry: Where the metrics are registered: those of one registry are shared by all that are counted in it.

    Raises TypeError where an argument is wrong, ValueError where the registry has other metrics under these names.
    """
    if service is not None and not isinstance(service, ServiceClient):
        raise TypeError(f"service must be a ServiceClient, not {type(service).__name__}")
    if not isinstance(registry, CollectorRegistry):
        raise TypeError(f"registry must be a CollectorRegistry, not {type(registry).__name__}")
    metrics = _metrics.get(registry)
    if metrics is None:
        _metrics[registry] = metrics = _Metrics(registry)
    if service is None:
        install(metrics)
    else:
        metrics.show(service.install(metrics))


def uninstrument(service: ServiceClient | None = None, *, registry: CollectorRegistry = REGISTRY) -> None:
    """Undo `instrument`: samples that begin from now on are not counted. The metrics stay registered."""
    metrics = _metrics.get(registry)
    if metrics is not None:
        (uninstall if service is None else service.uninstall)(metrics)


class _GaugeOf(NamedTuple):
    """Gauge that is read from the statistics: its name, what it says, its label, and what several processes are."""

    name: str
    documentation: str
    label: str | None
    mode: Any


_GAUGES: Final = (  # in each, 0 is what a process adds that does not sample: several processes are a sum, or a maximum
    _GaugeOf("tinkex_unhealthy", "Services that cannot be expected to work, by health().state.", "state", "livesum"),
    _GaugeOf("tinkex_samples", "Samples that have not ended, by phase.", "phase", "livesum"),
    _GaugeOf("tinkex_in_flight", "Samples that are sent, or about to be, and have not ended.", None, "livesum"),
    _GaugeOf("tinkex_paused", "Services whose samples are paused by the server, by cause.", "cause", "livesum"),
    _GaugeOf("tinkex_paused_seconds", "Time until samples are sent again.", None, "livemax"),
    _GaugeOf("tinkex_connections", "Open connections to the Tinker server.", None, "livesum"),
    _GaugeOf("tinkex_threads", "Threads of the client.", None, "livesum"),
)


def _read(services: Iterable[InstrumentedService]) -> dict[str, Mapping[str, float]]:
    """The values of the gauges, by name and label, of some services of this process together."""
    found: dict[str, Tally[str]] = {gauge.name: Tally() for gauge in _GAUGES}
    found["tinkex_unhealthy"].update(dict.fromkeys(_STATES, 0))
    found["tinkex_samples"].update(dict.fromkeys(_PHASES, 0))
    found["tinkex_paused"].update(dict.fromkeys(_CAUSES, 0))
    paused_seconds = 0.0
    for service in services:
        health, stats = service.health(), service.stats()
        if health.state == "closed":
            continue
        if not health.ok:
            found["tinkex_unhealthy"][health.state] += 1
        paused_seconds = max(paused_seconds, stats.paused_for)
        for phase in _PHASES:
            found["tinkex_samples"][phase] += getattr(stats, phase)
        if stats.paused_cause is not None:
            found["tinkex_paused"][stats.paused_cause] += 1
        for name in ("in_flight", "connections", "threads"):
            found[f"tinkex_{name}"][""] += getattr(stats, name)
    return {**found, "tinkex_paused_seconds": {"": paused_seconds}}


class _Metrics(Collector):
    """Instrumentation of one registry, and collector of the state of the services that it has seen."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._services: weakref.WeakSet[InstrumentedService] = weakref.WeakSet()
        self._observers: dict[str, _SampleCounts] = {}
        self._counted: dict[tuple[Any, ...], Any] = {}
        self._publishes = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._publisher_pid: int | None = None
        self.ended = Counter(
            "tinkex_samples_ended", "Samples that have ended, by outcome; error is the HTTP status or the class.",
            ["outcome", "error"], registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            "tinkex_tokens", "Tokens of completed samples, by kind and base model; cached ones are among the prompt's.",
            ["kind", "model"], registry=registry,
        )  # fmt: skip
        self.retries = Counter(
            "tinkex_retries", "Failures after which a sample went on, by cause: the HTTP status or the class.",
            ["cause"], registry=registry,
        )  # fmt: skip
        self.pauses = Counter(
            "tinkex_pauses", "Answers that asked for a pause of all samples, by HTTP status.", ["cause"],
            registry=registry,
        )  # fmt: skip
        self.durations = Histogram(
            "tinkex_sample_seconds", "Time from the call to the end, by outcome.", ["outcome"], registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.phases = Histogram(
            "tinkex_phase_seconds", "Time that completed samples spent in each phase.", ["phase"], registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        if self._publishes:
            self._gauges = {
                gauge.name: Gauge(
                    gauge.name, gauge.documentation, [gauge.label] if gauge.label else [], registry=registry,
                    multiprocess_mode=gauge.mode,
                )
                for gauge in _GAUGES
            }  # fmt: skip
        else:
            registry.register(self)

    def show(self, service: InstrumentedService) -> None:
        """Show the state of a service from now on."""
        with fork_guard:
            self._services.add(service)

    def begin(self, start: SampleStarted) -> SampleObserver:
        """Count a sample."""
        if start.service not in self._services:
            self.show(start.service)
        if self._publishes and self._publisher_pid != os.getpid():
            self._start_publisher()
        model = start.base_model or ""
        observer = self._observers.get(model)
        if observer is None:
            self._observers[model] = observer = _SampleCounts(self, model)
        return observer

    def _start_publisher(self) -> None:
        with fork_guard:
            started, self._publisher_pid = self._publisher_pid == os.getpid(), os.getpid()
        if not started:
            threading.Thread(target=_publish, args=(weakref.ref(self),), name="tinkex-metrics", daemon=True).start()

    def of(self, metric: Counter | Histogram, *labels: str) -> Any:
        """The child of a metric with these labels; call it in the guard."""
        key = metric, labels
        child = self._counted.get(key)
        if child is None:
            self._counted[key] = child = metric.labels(*labels)
        return child

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges, for a scrape of this process."""
        values = self._read()
        for gauge in _GAUGES:
            family = GaugeMetricFamily(gauge.name, gauge.documentation, labels=[gauge.label] if gauge.label else [])
            for label, value in values[gauge.name].items():
                family.add_metric([label] if gauge.label else [], value)
            yield family

    def publish(self) -> None:
        """Write the gauges to where any process can show them."""
        values = self._read()
        with fork_guard:
            for gauge in _GAUGES:
                metric = self._gauges[gauge.name]
                for label, value in values[gauge.name].items():
                    (metric.labels(label) if gauge.label else metric).set(value)

    def _read(self) -> dict[str, Mapping[str, float]]:
        with fork_guard:
            services = list(self._services)
        return _read(services)


class _SampleCounts(SampleObserver):
    """Observer of all samples of a model: nothing is kept between two calls."""

    def __init__(self, metrics: _Metrics, model: str) -> None:
        self._metrics = metrics
        self._model = model

    def retrying(self, event: SampleRetry) -> None:
        """Count it by its cause."""
        metrics = self._metrics
        with fork_guard:
            metrics.of(metrics.pauses if event.pause else metrics.retries, error_type(event.error)).inc()

    def ended(self, end: SampleEnded) -> None:
        """Count it by its outcome, and its tokens and times."""
        metrics, outcome = self._metrics, end.outcome
        with fork_guard:
            metrics.of(metrics.ended, outcome, end.error_type or "").inc()
            metrics.of(metrics.durations, outcome).observe(end.seconds)
            usage, timing = (None, None) if end.response is None else (end.response.usage, end.response.timing)
            if usage is not None:
                metrics.of(metrics.tokens, "prompt", self._model).inc(usage.prompt_tokens)
                metrics.of(metrics.tokens, "cached", self._model).inc(usage.prompt_cache_hit_tokens)
                metrics.of(metrics.tokens, "sampled", self._model).inc(usage.sampled_tokens)
            if timing is not None:
                for phase in ("queued", "submit", "wait", "fetch"):
                    metrics.of(metrics.phases, phase).observe(getattr(timing, phase))


def _publish(reference: weakref.ref[_Metrics]) -> None:
    """Publish as long as the metrics are in use; the thread of one process."""
    pause = threading.Event()
    while (metrics := reference()) is not None:
        metrics.publish()
        del metrics
        pause.wait(_PUBLISH_SECONDS)


_metrics: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()
