"""Traces and metrics of samples. They are printed here; with opentelemetry-exporter-otlp they go to a collector."""

from __future__ import annotations

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

import tinkex
import tinkex.otel
from tinkex.testing import FakeServer

tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))  # OTLPSpanExporter()
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())]))
tinkex.otel.instrument()

tracer = trace.get_tracer("example")
params = tinkex.SamplingParams(max_tokens=4)
with FakeServer() as server, tinkex.ServiceClient.direct(server.url) as service:  # or: tinkex.ServiceClient()
    client = service.create_sampling_client(base_model="Qwen/Qwen3-8B")
    with tracer.start_as_current_span("evaluate"):
        futures = [client.sample([number], params) for number in range(1, 11)]
        answers = [future.result() for future in futures]
