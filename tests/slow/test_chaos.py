"""A storm of samples under random faults: none is lost, none gets another's answer.

TINKEX_CHAOS_SEED replays the faults of one storm; the seed stands in the name of a test that fails.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter

import pytest

import tinkex
from tinkex.testing import FakeServer, expected_tokens

pytestmark = pytest.mark.slow

SEEDS = [int(os.environ["TINKEX_CHAOS_SEED"])] if "TINKEX_CHAOS_SEED" in os.environ else [1, 2, 3]
THREADS = 8
SAMPLES = 10_000
SUBMIT_FAULTS = ["reset_early", "close", "stale", "reset_after", "half", "drip", "gzip", "chunked", "interim"]
POLL_FAULTS = ["reset", "close", "half", "gzip", "chunked", "interim", "late", "stale"]
POLL_STATUSES = [408, 410, 429, 500, 503]
CONFIG = tinkex.ClientConfig(
    request_timeout=2.0,
    poll_timeout=2.0,
    min_poll_interval=0.02,
    retry=tinkex.RetryConfig(base_delay=0.01, max_delay=0.1),
)


def disturb(server, rng):
    """Plan one fault."""
    match rng.randrange(6):
        case 0:
            server.fault("asample", rng.choice(SUBMIT_FAULTS))
        case 1:
            server.fault("retrieve_future", rng.choice(POLL_FAULTS))
        case 2:
            server.fail_next("asample", status=429, headers={"Retry-After": "0.05"})
        case 3:
            server.fail_next("asample", status=503)
        case 4:
            server.fail_next("retrieve_future", status=rng.choice(POLL_STATUSES))
        case 5:
            server.fault("connect", rng.choice(["reset", "close"]))


def sample_and_compare(client, rng, count, outcomes):
    """Submit `count` random samples, and say of each answer whether it is its own."""
    begun = []
    for _ in range(count):
        prompt = [rng.randrange(1000) for _ in range(rng.randrange(1, 20))]
        seed, wanted = rng.randrange(1 << 30), rng.randrange(1, 4)
        params = tinkex.SamplingParams(max_tokens=8, seed=seed)
        begun.append((prompt, seed, wanted, client.sample(prompt, params, num_samples=wanted, timeout=100)))
    for prompt, seed, wanted, future in begun:
        try:
            tokens = [sequence.tokens for sequence in future.result(110).sequences]
        except Exception as error:  # noqa: BLE001 - counted, and shown by the assertion
            outcomes.append(f"{type(error).__name__}: {error}"[:200])
        else:
            own = [expected_tokens(prompt, seed=seed, sample=index, max_tokens=8) for index in range(wanted)]
            outcomes.append("right" if tokens == own else "another's")


@pytest.mark.parametrize("seed", SEEDS)
def test_storm(seed):
    """Samples of eight threads, while connections and answers fail at random, all end with their own results."""
    rng = random.Random(seed)
    options = {"client_config": {"sample_use_retrieve_futures": seed % 2 == 1}}
    if seed % 3 == 0:
        options["metadata_size"] = 200
    outcomes, calm = [], threading.Event()
    with (
        FakeServer(latency=lambda *_: rng.random() * 0.05, record=False, long_poll=0.05, **options) as server,
        tinkex.ServiceClient(base_url=server.url, api_key="tml-test", config=CONFIG) as service,
    ):
        client = service.create_sampling_client(base_model="fake/model")

        def trouble():
            while not calm.wait(0.02):
                disturb(server, rng)

        storm = threading.Thread(target=trouble)
        storm.start()
        callers = [
            threading.Thread(
                target=sample_and_compare,
                args=(client, random.Random(f"{seed}-{number}"), SAMPLES // THREADS, outcomes),
            )
            for number in range(THREADS)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        calm.set()
        storm.join()
        stats = service.stats()
    assert Counter(outcomes) == {"right": SAMPLES}
    assert (stats.in_flight, stats.queued, stats.completed, stats.failed) == (0, 0, SAMPLES, 0)
