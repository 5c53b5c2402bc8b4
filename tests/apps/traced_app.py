"""The Flask application with a span for each of its requests, below which its samples stand."""

import flask
from flask_app import app
from opentelemetry import trace

import tinkex.otel

tinkex.otel.instrument()
tracer = trace.get_tracer("traced_app")


@app.before_request
def begin_span():
    """Begin the span, and make it the current one; opentelemetry-instrumentation-flask does it for you."""
    flask.g.span = tracer.start_as_current_span(f"{flask.request.method} {flask.request.url_rule}")
    flask.g.span.__enter__()


@app.teardown_request
def end_span(error: BaseException | None):
    """End it."""
    flask.g.span.__exit__(None, None, None)
