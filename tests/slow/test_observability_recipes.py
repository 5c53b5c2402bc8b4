"""The programs of docs/observability.rst, as they stand."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from loading import APPS, ask, prompt_of
from webservers import gunicorn

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPES = ROOT / "docs" / "recipes"
MODEL = "Qwen/Qwen3-8B"


@pytest.fixture
def server():
    """A server that is busy at the first submission."""
    with FakeServer() as server:
        server.fail_next("asample", 429, {"detail": "slow down"}, {"Retry-After": "0.01"})
        server.fail_next("asample", 503)
        yield server


def run(name):
    """Run a recipe as it stands, without a key; what it wrote to both of its outputs."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, RECIPES / f"{name}.py"]
    return subprocess.run(command, env=environ, text=True, capture_output=True, check=True, timeout=60)


def objects(text):
    """The JSON objects that stand one after the other in a text, between other lines."""
    starts = (match.start() for match in re.finditer(r"^\{", text, re.MULTILINE))
    return [json.JSONDecoder().raw_decode(text, start)[0] for start in starts]


def test_traces():
    """It prints a span for each sample, below the program's own, and the metrics."""
    pytest.importorskip("opentelemetry.sdk", exc_type=ImportError)
    printed = objects(run("traces").stdout)
    spans = [each for each in printed if "context" in each]
    parent = next(span for span in spans if span["name"] == "evaluate")
    samples = [span for span in spans if span["name"] == f"text_completion {MODEL}"]
    assert len(samples) == 10
    assert {span["parent_id"] for span in samples} == {parent["context"]["span_id"]}
    metrics = next(each for each in printed if "resource_metrics" in each)
    assert "gen_ai.client.inference.usage.output_tokens" in json.dumps(metrics)


def test_json_logs():
    """Each record is a line, and its fields are apart from its text."""
    paused, retried, *_ = map(json.loads, run("json_logs").stderr.splitlines())
    assert (paused["logger"], paused["level"], paused["queue_state"]) == (
        "tinkex.queue_state", "WARNING", "paused_rate_limit",
    )  # fmt: skip
    assert paused["phase"] == "submitting"
    assert (retried["logger"], retried["phase"], retried["attempt"]) == ("tinkex", "submitting", 2)
    assert retried["sampling_session_id"] == paused["sampling_session_id"]
    assert (retried["request_id"], "503" in retried["failure"], retried["delay"] > 0) == (None, True, True)


def test_structlog_logs():
    """So it is with structlog, beside its own events, and what is bound to the context is in both."""
    pytest.importorskip("structlog")
    lines = [json.loads(line) for line in run("structlog_logs").stderr.splitlines()]
    own = lines.pop(next(number for number, line in enumerate(lines) if line["event"] == "sampled"))
    paused, retried = lines[:2]  # that sampling is resumed may be told before the sample's end, and after it
    assert (paused["logger"], paused["level"], paused["queue_state"]) == (
        "tinkex.queue_state", "warning", "paused_rate_limit",
    )  # fmt: skip
    assert (retried["attempt"], retried["user"], "503" in retried["failure"]) == (2, "u-1", True)
    assert (own["event"], own["tokens"], own["user"]) == ("sampled", 4, "u-1")


@pytest.mark.parametrize("options", [["--preload"], []], ids=["preload", "load"])
def test_web_server(options, server, tmp_path, monkeypatch):
    """Under gunicorn each worker exports the spans of its samples, below those of their requests; the log is JSON."""
    pytest.importorskip("opentelemetry.sdk", exc_type=ImportError)
    (tmp_path / "json_logs.py").write_text((RECIPES / "json_logs.py").read_text())
    options = [*options, "--config", APPS / "gunicorn_observed.py"]
    with gunicorn("traced_app:app", server, tmp_path, *options) as web:
        for number in range(20):
            assert ask(web.address, "POST", "/complete", {"tokens": prompt_of(number)})[0] == 200
        web.signal(signal.SIGTERM)
        web.ends(20)
        printed = objects(web.log)
    spans = [each for each in printed if "context" in each]
    requests = {span["context"]["span_id"] for span in spans if span["name"] == "POST /complete"}
    samples = [span for span in spans if span["name"].startswith("text_completion")]
    assert {span["parent_id"] for span in samples} == requests
    assert len(samples) == len(requests) == 20
    assert next(each["queue_state"] for each in printed if "queue_state" in each) == "paused_rate_limit"
    assert any(each.get("logger") == "gunicorn.error" for each in printed)
