"""Spans and metrics in processes that fork."""

from __future__ import annotations

import pytest
from programs import FORKS_WHILE_SAMPLES_END, succeed

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow
pytest.importorskip("opentelemetry.sdk", exc_type=ImportError)

SET_UP = """
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
    from tinkex import otel

    class Exporter(SpanExporter):
        def __init__(self):
            self.spans = []
        def export(self, spans):
            self.spans += spans
            return SpanExportResult.SUCCESS

    exporter, reader = Exporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = tracers.get_tracer("test")
    service, client = open_client()
    otel.instrument(tracer_provider=tracers, meter_provider=meters)

    def samples():
        return [span for span in exporter.spans if span.instrumentation_scope.name == "tinkex"]
"""

IN_FLIGHT = f"""{SET_UP}
    client.sample([9], PARAMS).result(10)
    exporter.spans.clear()
    with tracer.start_as_current_span("asks") as parent:
        futures = [client.sample([1, i], PARAMS) for i in range(20)]

        def work():
            assert all(ends_by_fork(future) for future in futures)
            assert samples() == []  # those of the parent are its own
            mine = [client.sample([2, i], PARAMS) for i in range(5)]
            assert all(future.result(10).sequences for future in mine)
            assert len(samples()) == 5
            ids = {{span.parent.span_id for span in samples()}}
            assert ids == {{parent.get_span_context().span_id}}

        pids = [in_child(work) for _ in range(2)]
    assert all(future.result(10).sequences for future in futures)
    assert len(samples()) == 20
    assert all(span.status.is_unset for span in samples())
    join(*pids)
    service.close()
"""

STORM = f"""{SET_UP}
{FORKS_WHILE_SAMPLES_END}
"""

GUARDED = """
    from tinkex.instrumentation import fork_guard

    order = []
    held = threading.Event()

    def hold():
        with fork_guard:
            held.set()
            time.sleep(0.3)
            order.append("released")

    threading.Thread(target=hold).start()
    held.wait()

    def work():
        assert order == ["released"]
        assert fork_guard.acquire(timeout=5)

    with fork_guard:  # a fork inside, as of a signal handler, waits for nothing
        pass
    join(in_child(work))
    with fork_guard:
        join(in_child(lambda: None))
"""


@pytest.fixture
def server():
    """A server whose samples take a moment."""
    with FakeServer(latency=0.05) as fake:
        yield fake


def test_a_fork_in_mid_flight(server):
    """A sample's span ends once, in the process that asked; a child's own samples have its context for their parent."""
    server.latency = 0.5
    succeed(IN_FLIGHT, server.url)


def test_forks_while_samples_end(server):
    """Children that are forked while others measure find no lock of the metrics held for ever."""
    server.latency = 0.0
    succeed(STORM, server.url)


def test_forks_wait_for_the_guard(server):
    """A fork waits while a thread is in the guard, and finds it open in the child."""
    succeed(GUARDED, server.url)
