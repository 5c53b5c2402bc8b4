"""Whose answer is it: what a server or a proxy sends behind an answer becomes nobody's result."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import subprocess
import sys
from concurrent.futures import wait

import pytest

import tinkex
from tinkex._transport import connection_pool

PROGRAM = pathlib.Path(__file__).parents[1] / "support" / "surplus_server.py"
PARAMS = tinkex.SamplingParams(max_tokens=2)


@contextlib.contextmanager
def surplus_server(share, kind):
    """A server that sends a surplus behind a share of its answers; yields its URL, and a list for their number."""
    command = [sys.executable, PROGRAM, str(share), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        told = []
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", told
        process.stdin.close()
        told.append(int(process.stdout.readline()))


def sample_all(url, count, **settings):
    """Sample so many prompts, a thousand at a time; how many results are another prompt's, and the errors."""
    wrong, errors = 0, []
    config = tinkex.ClientConfig(telemetry=False, trust_env=False, **settings)
    with tinkex.ServiceClient(base_url=url, api_key="tml-x", config=config) as service:
        client = service.create_sampling_client(base_model="any/model")
        for start in range(0, count, 1000):
            futures = {client.sample([number, start], PARAMS): number for number in range(start, start + 1000)}
            assert not wait(futures, 300).not_done
            errors += [error for future in futures if (error := future.exception()) is not None]
            wrong += sum(
                future.result().sequences[0].tokens != [number, start]
                for future, number in futures.items()
                if future.exception() is None
            )
    return wrong, errors


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["answer", "line"])
@pytest.mark.parametrize("settings", [{}, {"max_connections": 1}, {"workers": 2, "max_connections": 8}])
def test_a_surplus_is_nobodys_result(kind, settings, caplog):
    """Of some thousand samples behind a server that sends more than it was asked for each gets its own result."""
    count = 1000 if settings.get("max_connections") == 1 else 5000
    with surplus_server(0.02, kind) as (url, told), caplog.at_level(logging.WARNING, "tinkex"):
        wrong, errors = sample_all(url, count, **settings)
    assert told[0] > 0
    assert (wrong, errors) == (0, [])
    assert caplog.text.count("no request asked for") == 1


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"max_connections": 1}])
def test_a_rest_and_a_look_are_enough(settings, monkeypatch):
    """So it is where connections go on being used again as if nothing had happened."""
    monkeypatch.setattr(connection_pool, "_DISTRUST_SECONDS", 0.0)
    count = 1000 if settings else 5000
    with surplus_server(0.02, "answer") as (url, told):
        assert sample_all(url, count, **settings) == (0, [])
    assert told[0] > 3


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("settings", [{}, {"max_connections": 1}])
def test_a_surplus_among_a_hundred_thousand(settings):
    """The same for a hundred thousand samples, with the default settings and over a single connection."""
    with surplus_server(0.02, "answer") as (url, told):
        assert sample_all(url, 100_000, **settings) == (0, [])
    assert told[0] > 3  # over a single connection most come when it is closed already
