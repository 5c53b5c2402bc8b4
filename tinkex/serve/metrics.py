"""Prometheus metrics of the gateway: its requests, beside those of the service that it samples through."""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tinkex.errors import extra
from tinkex.prometheus import instrument
from tinkex.serve.answers import route_of
from tinkex.service_client import ServiceClient

with extra("prometheus", "/metrics"):
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


def add_metrics(app: web.Application, service: ServiceClient) -> None:
    """Add ``GET /metrics``, and what counts the requests of an application."""
    registry = CollectorRegistry()  # its own: what else the process counts is not shown
    instrument(service, registry=registry)

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
