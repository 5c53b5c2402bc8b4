"""OpenTelemetry with exporters in memory."""

from __future__ import annotations

import contextlib

import pytest

pytest.importorskip("opentelemetry.sdk", exc_type=ImportError)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tinkex import otel


class Telemetry:
    """A tracer provider and a meter provider, and what has come out of them."""

    def __init__(self):
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self._reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.tracers.get_tracer("test")

    @contextlib.contextmanager
    def of(self, service, **options):
        """A sampling client of a service that is instrumented."""
        otel.instrument(service, tracer_provider=self.tracers, meter_provider=self.meters, **options)
        with service:
            yield service.create_sampling_client(base_model="any/model")

    @property
    def spans(self):
        """The samples' spans that have ended."""
        return [span for span in self._exporter.get_finished_spans() if span.instrumentation_scope.name == "tinkex"]

    @property
    def span(self):
        """The only one."""
        (span,) = self.spans
        return span

    @property
    def points(self):
        """What was measured: by the name of the metric, its points as attributes and value, or count and sum."""
        found = {}
        data = self._reader.get_metrics_data()
        for scope in data.resource_metrics[0].scope_metrics if data else ():
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = point.value if hasattr(point, "value") else (point.count, point.sum)
                    found.setdefault(metric.name, []).append((dict(point.attributes), value))
        return found

    def metric(self, name):
        """A metric, with its unit and its points."""
        (scope,) = self._reader.get_metrics_data().resource_metrics[0].scope_metrics
        return next(metric for metric in scope.metrics if metric.name == name)


COMMON = (
    *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"),
    *("server.address", "server.port"),
)
