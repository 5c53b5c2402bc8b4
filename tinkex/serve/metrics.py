"""Prometheus metrics of the gateway: its requests, and the state of the service that it samples through."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tinkex.errors import extra
from tinkex.serve.answers import route_of
from tinkex.service_client import ServiceClient

with extra("prometheus", "/metrics"):
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


def add_metrics(app: web.Application, service: ServiceClient) -> None:
    """Add ``GET /metrics``, and what counts the requests of an application."""
    registry = CollectorRegistry()  # its own: what else the process counts is not shown
    registry.register(ServiceCollector(service))

    async def scrape(request: web.Request) -> web.StreamResponse:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.middlewares.insert(0, _counting(registry))
    app.router.add_get("/metrics", scrape)


def _counting(registry: CollectorRegistry) -> Middleware:
    in_progress = Gauge("tinkex_gateway_requests_in_progress", "Requests that have no answer yet.", registry=registry)
    requests = Counter(
        "tinkex_gateway_requests", "Requests, by route and HTTP status; 499: the client hung up.", ["route", "status"],
        registry=registry,
    )  # fmt: skip
    durations = Histogram(
        "tinkex_gateway_request_seconds", "Time to answer a request.", ["route"], registry=registry, buckets=_SECONDS
    )

    @web.middleware
    async def counting(request: web.Request, handler: Handler) -> web.StreamResponse:
        began, status = time.monotonic(), 499
        with in_progress.track_inprogress():
            try:
                response = await handler(request)
                status = response.status
                return response
            finally:
                requests.labels(route_of(request), status).inc()
                durations.labels(route_of(request)).observe(time.monotonic() - began)

    return counting


class ServiceCollector(Collector):
    """Statistics of a service client as metrics, taken at each scrape."""

    def __init__(self, service: ServiceClient) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        stats = self._service.stats()
        yield GaugeMetricFamily("tinkex_ok", "Whether sampling can be expected to work.", self._service.health().ok)
        samples = GaugeMetricFamily("tinkex_samples", "Samples that have not ended, by phase.", labels=["phase"])
        for phase in ("queued", "submitting", "waiting", "fetching", "retrying"):
            samples.add_metric([phase], getattr(stats, phase))
        yield samples
        ended = CounterMetricFamily("tinkex_samples_ended", "Samples that have ended, by outcome.", labels=["outcome"])
        ended.add_metric(["completed"], stats.completed)
        ended.add_metric(["failed"], stats.failed)
        yield ended
        tokens = CounterMetricFamily("tinkex_tokens", "Tokens of completed samples, by kind.", labels=["kind"])
        tokens.add_metric(["prompt"], stats.prompt_tokens)
        tokens.add_metric(["sampled"], stats.sampled_tokens)
        yield tokens
        yield GaugeMetricFamily("tinkex_paused_seconds", "Time until samples are sent again.", stats.paused_for)
        yield GaugeMetricFamily("tinkex_connections", "Open connections to the Tinker server.", stats.connections)
        yield GaugeMetricFamily("tinkex_threads", "Threads of the service client.", stats.threads)
