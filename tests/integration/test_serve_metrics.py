"""What a scrape of the gateway's /metrics finds."""

from __future__ import annotations

import sys

import pytest
from gateways import MODEL, says, serving

import tinkex
from tinkex.serve import make_app

parser = pytest.importorskip("prometheus_client.parser")


def scraped(asking, **headers):
    """The samples of a scrape, by name and labels."""
    answer = asking.get("/metrics", **headers)
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    families = parser.text_string_to_metric_families(answer.text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_metrics():
    """Requests are counted by route and status, and the service's samples and tokens with them; no path is shown."""
    with serving(says("Hello."), models=[MODEL]) as asking:
        asking.complete("Hi", n=2)
        asking.complete("Hi", logit_bias={"1": 1})
        asking.get("/v1/models/a-secret")
        asking.get("/a-secret")
        found = scraped(asking)
        assert "secret" not in asking.get("/metrics").text
    requests = {key[1:]: value for key, value in found.items() if key[0] == "tinkex_gateway_requests_total"}
    assert requests == {
        ("/v1/completions", "200"): 1, ("/v1/completions", "400"): 1, ("/v1/models/{model}", "404"): 1,
        ("another path", "404"): 1,
    }  # fmt: skip
    assert found["tinkex_gateway_request_seconds_count", "/v1/completions"] == 2
    assert found["tinkex_gateway_requests_in_progress",] == 1  # this one
    assert found["tinkex_unhealthy", "unreachable"] == 0
    assert found["tinkex_samples_ended_total", "", "completed"] == 1
    assert found["tinkex_tokens_total", "prompt", MODEL] == 2
    assert found["tinkex_tokens_total", "sampled", MODEL] == 12
    assert found["tinkex_sample_seconds_count", "completed"] == 1
    assert found["tinkex_samples", "waiting"] == 0


def test_metrics_stand_behind_the_keys():
    """Where keys are set, a scrape needs one."""
    with serving(says("a"), api_key="one") as asking:
        assert asking.get("/metrics").status_code == 401
        assert scraped(asking, Authorization="Bearer one")["tinkex_gateway_requests_total", "/metrics", "401"] == 1


def test_without_the_library(monkeypatch):
    """Without prometheus-client there is no /metrics, and all else goes on."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "tinkex.serve.metrics", raising=False)
    with tinkex.ServiceClient.direct("http://127.0.0.1:9") as service:
        paths = {resource.canonical for resource in make_app(service).router.resources()}
    assert "/health" in paths
    assert "/metrics" not in paths
