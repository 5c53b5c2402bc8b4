"""Settings of gunicorn: each worker exports its spans, and all logs are lines of JSON."""

from json_logs import JSONFormatter
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

provider = TracerProvider()
logconfig_dict: dict[str, object] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JSONFormatter}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {name: {"handlers": [], "propagate": True} for name in ("gunicorn.error", "gunicorn.access")},
}


def post_fork(server: object, worker: object):
    """Set up the export in the worker: its thread would not survive the fork."""
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))  # OTLPSpanExporter()
    trace.set_tracer_provider(provider)


def worker_exit(server: object, worker: object):
    """Export what is left."""
    provider.shutdown()
