"""What traces and metrics cost, beside the same calls of the libraries made by hand, and when off.

Run it with the webtest extra. CPU time of the process, in rounds that take turns; the figures are medians.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
import timeit

import prometheus_client
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind

import tinkex
import tinkex.otel
import tinkex.prometheus
from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex._sampling._sample.observed import ObservedFuture
from tinkex.future import SampleFuture
from tinkex.instrumentation import PROCESS, SampleStarted
from tinkex.testing import FakeServer
from tinkex.types import SampledSequence, Timing, Usage

PROMPT = tinkex.ModelInput.from_ints(range(1, 101))
PARAMS = tinkex.SamplingParams(max_tokens=16, temperature=0.7, seed=1)
RESPONSE = tinkex.SampleResponse(
    [SampledSequence([7] * 16)], request_id="r-1", usage=Usage(100, 16, 64), timing=Timing(0.001, 0.01, 1.0, 0.01)
)
MODEL, URL = "any/model", "http://127.0.0.1:8000"
TARGET = {
    "gen_ai.operation.name": "text_completion", "gen_ai.provider.name": "tinker", "gen_ai.request.model": MODEL,
    "server.address": "127.0.0.1", "server.port": 8000,
}  # fmt: skip
TEXT = {**TARGET, "gen_ai.token.modality": "text"}


class Kept(SpanProcessor):
    """Takes a span as a processor in batches does, for later."""

    def __init__(self):
        self.spans = []

    def on_end(self, span):
        self.spans.append(span)


def providers():
    """Providers that record everything and send nothing."""
    tracers = TracerProvider()
    tracers.add_span_processor(Kept())
    return tracers, MeterProvider([InMemoryMetricReader()])


class OpenTelemetryByHand:
    """The calls that `tinkex.otel` makes for a sample, written out."""

    def __init__(self):
        tracers, meters = providers()
        self.tracer, meter = tracers.get_tracer("bare"), meters.get_meter("bare")
        name = "gen_ai.client.inference"
        self.duration = meter.create_histogram(f"{name}.duration")
        self.counters = [
            (meter.create_counter(f"{name}.usage.{kind}_tokens"), count)
            for kind, count in (("input", 100), ("output", 16), ("cache_read.input", 64))
        ]
        self.histograms = [
            (meter.create_histogram(f"{name}.operation.{kind}_tokens"), count)
            for kind, count in (("input", 100), ("output", 16))
        ]

    def __call__(self):
        span = self.tracer.start_span(
            f"text_completion {MODEL}",
            kind=SpanKind.CLIENT,
            attributes={
                **TARGET, "gen_ai.request.max_tokens": 16, "gen_ai.request.temperature": 0.7,
                "gen_ai.request.top_p": 1.0, "gen_ai.request.seed": 1,
            },
        )  # fmt: skip
        span.set_attributes({
            "gen_ai.response.finish_reasons": ["length"], "tinkex.attempts": 1, "gen_ai.response.id": "r-1",
            "gen_ai.usage.output_tokens": 16, "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.cache_read.input_tokens": 64, "tinkex.timing.queued": 0.001, "tinkex.timing.submit": 0.01,
            "tinkex.timing.wait": 1.0, "tinkex.timing.fetch": 0.01,
        })  # fmt: skip
        span.end()
        self.duration.record(1.021, TARGET)
        for counter, count in self.counters:
            counter.add(count, TEXT)
        for histogram, count in self.histograms:
            histogram.record(count, TARGET)


class PrometheusByHand:
    """The calls that `tinkex.prometheus` makes for a sample, written out."""

    def __init__(self):
        registry = prometheus_client.CollectorRegistry()
        self.ended = prometheus_client.Counter("ended", "Ended.", ["outcome", "error"], registry=registry)
        self.tokens = prometheus_client.Counter("tokens", "Tokens.", ["kind", "model"], registry=registry)
        self.seconds = prometheus_client.Histogram("seconds", "Seconds.", ["outcome"], registry=registry)
        self.phases = prometheus_client.Histogram("phases", "Seconds.", ["phase"], registry=registry)

    def __call__(self):
        self.ended.labels("completed", "").inc()
        self.seconds.labels("completed").observe(1.021)
        for kind, count in (("prompt", 100), ("cached", 64), ("sampled", 16)):
            self.tokens.labels(kind, MODEL).inc(count)
        for phase, seconds in (("queued", 0.001), ("submit", 0.01), ("wait", 1.0), ("fetch", 0.01)):
            self.phases.labels(phase).observe(seconds)


class Instrumented:
    """What tinkex adds to a sample, from its call to its end, with what is installed for the process."""

    def __init__(self):
        self.request = tinkex.SampleRequest(PROMPT, PARAMS)
        self.service = self

    def health(self):
        return tinkex.Health(ok=True)

    def stats(self):
        return tinkex.ServiceStats()

    def __call__(self):
        future = ObservedFuture(None, SYSTEM_CLOCK)
        if PROCESS.current:
            future.begin(PROCESS.current, SampleStarted(self.request, MODEL, None, URL, "session", self))
        future.attempts = 1
        keep = future.keeping(None)
        future.set_result(keep(RESPONSE))


def plain():
    """The same without anything."""
    future = SampleFuture(None)
    future.attempts = 1
    future.set_result(RESPONSE)


def otel_on():
    tracers, meters = providers()
    tinkex.otel.instrument(tracer_provider=tracers, meter_provider=meters, propagate_to=False)


def prometheus_on(registry=None):
    registry = prometheus_client.CollectorRegistry() if registry is None else registry
    tinkex.prometheus.instrument(registry=registry)
    return registry


@contextlib.contextmanager
def installed(install):
    """With something installed for the process."""
    install()
    try:
        yield
    finally:
        for each in PROCESS.current:
            PROCESS.remove(each)


def cpu(call, count):
    """CPU of one call, in microseconds."""
    call()
    began = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - began) / count * 1e6


def compare(install, by_hand, rounds, count):
    """What tinkex adds with something installed, beside the same by hand: medians of the times and of their ratio."""
    added, bare, ratios = [], [], []
    instrumented = Instrumented()
    for _ in range(rounds):
        hand = by_hand()
        with installed(install):
            ours = cpu(instrumented, count) - cpu(plain, count)
        theirs = cpu(hand, count)
        added.append(ours)
        bare.append(theirs)
        ratios.append(ours / theirs)
    return statistics.median(added), statistics.median(bare), statistics.median(ratios)


def off(rounds):
    """What a sample pays for the possibility, in microseconds: whether something is installed, and for its headers."""
    with FakeServer() as server, tinkex.ServiceClient.direct(server.url) as service:
        lifecycle, future, headers = service._lifecycle, SampleFuture(None), "X: 0\r\n"  # noqa: SLF001
        code = (
            "if process.current or lifecycle.instrumentations.current: pass\n"
            "future._header_lines; headers + future._header_lines"
        )
        names = {"process": PROCESS, "lifecycle": lifecycle, "future": future, "headers": headers}
        times = timeit.repeat(code, globals=names, number=100_000, repeat=rounds)
    return statistics.median(times) * 10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    print(f"off: {off(options.rounds):.2f} us a sample")
    for name, install, by_hand in (
        ("opentelemetry", otel_on, OpenTelemetryByHand),
        ("prometheus", prometheus_on, PrometheusByHand),
    ):
        added, bare, ratio = compare(install, by_hand, options.rounds, options.count)
        print(f"{name}: {added:.1f} us a sample, {bare:.1f} by hand, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
