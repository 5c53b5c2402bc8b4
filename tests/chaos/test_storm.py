"""A storm of samples under random faults: none is lost, none gets another's answer.

The seed of a storm that fails stands in its message. TINKEX_CHAOS_SEED=seed gives the same requests the same
faults again.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from concurrent.futures import CancelledError

import pytest
from faults import Storm

import tinkex
from tinkex.testing import FakeServer, expected_tokens

SEEDS = [int(os.environ["TINKEX_CHAOS_SEED"])] if "TINKEX_CHAOS_SEED" in os.environ else [1, 2, 3]
THREADS = 8
CONFIG = tinkex.ClientConfig(
    request_timeout=2.0,
    poll_timeout=2.0,
    min_poll_interval=0.02,
    retry=tinkex.RetryConfig(base_delay=0.01, max_delay=0.1, max_attempts=40),
)
FORMS = [  # of servers: long polls, the session poller, big results, JSON
    {},
    {"client_config": {"sample_use_retrieve_futures": True, "sample_cancel_enabled": True}},
    {"metadata_size": 200},
    {"like": "skyrl"},
]


def sample_and_compare(client, rng, count, outcomes):
    """Submit `count` random samples, give some up, and say of each answer whether it is its own."""
    begun = []
    for _ in range(count):
        prompt = [rng.randrange(1000) for _ in range(rng.randrange(1, 20))]
        seed, wanted = rng.randrange(1 << 30), rng.randrange(1, 4)
        params = tinkex.SamplingParams(max_tokens=8, seed=seed)
        patience = 0.01 if rng.random() < 0.02 else 600.0  # on a machine that does much else
        future = client.sample(prompt, params, num_samples=wanted, timeout=patience)
        if rng.random() < 0.02:
            future.cancel()
            patience = 0.0
        begun.append((prompt, seed, wanted, patience, future))
    outcomes.extend(outcome(*each) for each in begun)


def outcome(prompt, seed, wanted, patience, future):
    """How one sample ended: "right" is with its own answer, or as it was asked to."""
    try:
        tokens = [sequence.tokens for sequence in future.result(610).sequences]
    except (tinkex.SampleTimeoutError, CancelledError) as error:
        return "right" if patience < 1 else f"{type(error).__name__}: {error}"[:200]
    except Exception as error:  # noqa: BLE001 - counted, and shown by the assertion
        return f"{type(error).__name__}: {error}"[:200]
    own = [expected_tokens(prompt, seed=seed, sample=index, max_tokens=8) for index in range(wanted)]
    return "right" if tokens == own else "another's"


def weather(seed, samples):
    """One storm over eight threads, each with a sampling client: how the samples ended, and under which faults."""
    outcomes = []
    options = {"record": False, "long_poll": 0.05, **FORMS[seed % len(FORMS)]}
    with (
        FakeServer(latency=lambda request, index: request.sampling_params.seed % 50 / 1000, **options) as server,
        tinkex.ServiceClient(base_url=server.url, api_key="tml-test", config=CONFIG) as service,
    ):
        clients = [service.create_sampling_client(base_model="fake/model") for _ in range(THREADS)]
        storm = Storm(server, seed)
        callers = [
            threading.Thread(
                target=sample_and_compare,
                args=(client, random.Random(f"{seed}-{number}"), samples // THREADS, outcomes),
            )
            for number, client in enumerate(clients)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        stats = service.stats()
    return Counter(outcomes), storm.faults, stats


def survive(seed, samples):
    """Go through one storm, and see that each sample ended as it should have."""
    outcomes, faults, stats = weather(seed, samples)
    assert outcomes == {"right": samples}, f"TINKEX_CHAOS_SEED={seed}: {outcomes}, under {faults}"
    assert sum(faults.values()) > samples // 20, f"TINKEX_CHAOS_SEED={seed}: hardly a fault: {faults}"
    assert (stats.in_flight, stats.queued) == (0, 0), f"TINKEX_CHAOS_SEED={seed}: {stats}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_shower(seed):
    """Two hundred samples of eight threads, on each form of server, end with their own results, or as told to."""
    survive(seed, 200)


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("seed", SEEDS)
def test_storm(seed):
    """So do ten thousand."""
    survive(seed, 10_000)
