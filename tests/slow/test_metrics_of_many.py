"""What a real scrape finds of a web server of several processes, one of which is killed."""

from __future__ import annotations

import http.client
import os
import pathlib
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from loading import APPS, ask, prompt_of, wait_until
from programs import FORKS_WHILE_SAMPLES_END, succeed
from webservers import gunicorn

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow
prometheus_client = pytest.importorskip("prometheus_client")
parser = pytest.importorskip("prometheus_client.parser")
multiprocess = pytest.importorskip("prometheus_client.multiprocess")
COMPLETED = ("samples_ended_total", "", "completed")
VISITORS = 24


@pytest.fixture
def tinker():
    """A Tinker server."""
    with FakeServer() as fake:
        yield fake


def scraped(server):
    """What tinkex shows at /metrics, by name and labels."""
    connection = http.client.HTTPConnection(server.address, timeout=60)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    families = parser.text_string_to_metric_families(text)
    found = {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}
    return {(key[0].removeprefix("tinkex_"), *key[1:]): value for key, value in found.items()}


def workers(server):
    """The process ids of the workers."""
    main = server.process.pid
    stats = [path.read_text() for path in pathlib.Path("/proc").glob("[0-9]*/stat")]
    return [int(text.split()[0]) for text in stats if int(text.rpartition(")")[2].split()[1]) == main]


def visit(server, number):
    """Ask for a completion; the status, or None where the connection broke."""
    try:
        return ask(server.address, "POST", "/complete", {"tokens": prompt_of(number)})[0]
    except (OSError, http.client.HTTPException):
        return None


@pytest.mark.parametrize("options", [["--preload"], []], ids=["preload", "load"])
def test_a_worker_is_killed(options, tinker, tmp_path, monkeypatch):
    """A scrape shows the sum of the workers, whoever answers it; what a killed one has counted stays, no more of it."""
    shared = tmp_path / "metrics"
    shared.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(shared))
    options = [*options, "--config", APPS / "gunicorn_metrics.py"]
    with gunicorn("metrics_app:app", tinker, tmp_path, *options) as server, ThreadPoolExecutor(VISITORS) as visitors:
        answers = list(visitors.map(visit, [server] * 200, range(200)))
        assert answers == [200] * 200
        found = scraped(server)
        assert found[COMPLETED] == found["sample_seconds_count", "completed"] == 200
        assert found["tokens_total", "prompt", "meta-llama/Llama-3.1-8B"] == 200 * len(prompt_of(0))
        wait_until(lambda: scraped(server)["threads",] >= 2 * 2)  # of both workers: a reactor and a thread for samples
        assert scraped(server)["unhealthy", "unreachable"] == 0

        tinker.hold()
        asked = [visitors.submit(visit, server, number) for number in range(1000, 1000 + VISITORS)]
        wait_until(lambda: scraped(server)["samples", "waiting"] == VISITORS)
        for _ in range(20):  # whoever answers
            assert scraped(server)["samples", "waiting"] == VISITORS

        killed, *_ = workers(server)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in workers(server) and len(workers(server)) == 2)
        wait_until(lambda: sum(each.done() for each in asked) > 0)
        lost = sum(each.done() for each in asked)
        assert 0 < lost < VISITORS
        wait_until(lambda: scraped(server)["in_flight",] == VISITORS - lost)
        assert scraped(server)[COMPLETED] == 200
        tinker.release()
        assert sorted(each.result(30) or 0 for each in asked) == [0] * lost + [200] * (VISITORS - lost)
        wait_until(lambda: scraped(server)[COMPLETED] == 200 + VISITORS - lost)
        wait_until(lambda: scraped(server)["in_flight",] == 0)
        server.signal(signal.SIGTERM)
        server.process.wait(30)


STORM = f"""
    import tinkex.prometheus

    service, client = open_client()
    tinkex.prometheus.instrument()
{FORKS_WHILE_SAMPLES_END}
"""


def test_forks_while_samples_end(tinker, tmp_path, monkeypatch):
    """Children that are forked while others count find no lock held for ever, and what they count adds up."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    here = int(succeed(STORM, tinker.url).out)
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    labels = {"outcome": "completed", "error": ""}
    assert registry.get_sample_value("tinkex_samples_ended_total", labels) == here + 20 * 10
