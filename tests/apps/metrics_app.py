"""The Flask application, with the metrics of all its processes at /metrics."""

import flask
import prometheus_client
from flask_app import app
from prometheus_client import multiprocess

import tinkex.prometheus

tinkex.prometheus.instrument()


@app.get("/metrics")
def metrics():
    """Answer a scrape: this process adds up what all of them have written."""
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    content_type = prometheus_client.CONTENT_TYPE_LATEST
    return flask.Response(prometheus_client.generate_latest(registry), content_type=content_type)
