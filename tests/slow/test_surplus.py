"""Whose answer is it: what a server or a proxy sends behind an answer becomes nobody's result."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import CancelledError, wait

import pytest

import tinkex
from tinkex._transport import connection_pool

SUPPORT = pathlib.Path(__file__).parents[1] / "support"
PARAMS = tinkex.SamplingParams(max_tokens=2)


@contextlib.contextmanager
def surplus_server(share, kind):
    """A server that sends a surplus behind a share of its answers; yields its URL, and a list for their number."""
    told = []
    with serving("surplus_server.py", str(share), kind) as (url, process):
        yield url, told
        process.stdin.close()
        told.append(int(process.stdout.readline()))


@contextlib.contextmanager
def serving(program, *arguments):
    """A program of `support` that serves until its input ends; yields its URL and the process."""
    command = [sys.executable, SUPPORT / program, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process


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


CONFUSED = tinkex.ClientConfig(
    telemetry=False, trust_env=False, request_timeout=5.0, poll_timeout=5.0, min_poll_interval=0.02,
    retry=tinkex.RetryConfig(max_attempts=40, base_delay=0.01, max_delay=0.1),
)  # fmt: skip


def cancel_some(futures, rng):
    """Cancel a third of the futures at random moments, while the others go on; returns those."""
    chosen = rng.sample(futures, len(futures) // 3)
    for future in chosen:
        future.cancel()
        if rng.random() < 0.05:
            time.sleep(rng.uniform(0, 0.02))
    return set(chosen)


def outcome(future, tag, may_end):
    """How a sample has ended: "right" with its own tokens, or without where it was given up."""
    try:
        return "right" if future.result(100).sequences[0].tokens == tag else "another's"
    except (CancelledError, tinkex.SampleTimeoutError) as error:
        return "given up" if may_end else type(error).__name__
    except tinkex.TinkexError as error:
        return f"{type(error).__name__}: {error}"[:200]


@pytest.mark.parametrize(
    "count", [pytest.param(4000, marks=pytest.mark.slow), pytest.param(55_000, marks=pytest.mark.heavy)]
)
@pytest.mark.parametrize("poller", ["alone", "together"])
@pytest.mark.timeout(1800)
def test_tags_under_random_cancels(poller, count):
    """Samples that a confused server loses, refuses and reports at random, a third of them cancelled: none is mixed."""
    rng, outcomes = random.Random(count), Counter()
    with (
        serving("confused_server.py", poller) as (url, process),
        tinkex.ServiceClient(base_url=url, api_key="tml-x", config=CONFUSED) as service,
    ):
        client = service.create_sampling_client(base_model="any/model")
        for start in range(0, count, 1000):
            tags = [[number, start] for number in range(start, start + 1000)]
            timeouts = [0.03 if rng.random() < 0.05 else 100.0 for _ in tags]
            futures = [client.sample(tag, PARAMS, timeout=time) for tag, time in zip(tags, timeouts, strict=True)]
            cancelled = cancel_some(futures, rng)
            outcomes.update(
                outcome(future, tag, time < 1 or future in cancelled)
                for future, tag, time in zip(futures, tags, timeouts, strict=True)
            )
        comes_to_rest(service)
        process.stdin.close()
    assert set(outcomes) == {"right", "given up"}, outcomes
    assert outcomes["right"] > count / 2


def comes_to_rest(service):
    """What samples held is free, soon."""
    context = service._lifecycle.runtime.sampling
    admission, deadline = context.admission, time.monotonic() + 10
    while held := [
        admission._places,
        admission.in_flight,
        admission._submitting,
        admission._bytes,
        context.response_bytes.out,
    ]:
        if not any(held):
            return
        assert time.monotonic() < deadline, held
        time.sleep(0.01)
