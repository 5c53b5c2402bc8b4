"""A pool of processes that sample with one client each."""

from __future__ import annotations

import concurrent.futures
import multiprocessing

import tinkex
from tinkex.testing import FakeServer

PARAMS = tinkex.SamplingParams(max_tokens=4)


def receive(client: tinkex.SamplingClient) -> None:
    """Keep the client that came as a pickle; runs once in each process."""
    globals()["client"] = client


def sample(prompt: list[int]) -> list[int]:
    """Sample in whichever process this is."""
    client: tinkex.SamplingClient = globals()["client"]
    return client.sample(prompt, PARAMS).result().sequences[0].tokens


if __name__ == "__main__":
    prompts = [[number] for number in range(1, 101)]
    with FakeServer() as server, tinkex.ServiceClient.direct(server.url) as service:  # or: tinkex.ServiceClient()
        client = service.create_sampling_client(base_model="Qwen/Qwen3-8B")
        pool = concurrent.futures.ProcessPoolExecutor(
            4, mp_context=multiprocessing.get_context("spawn"), initializer=receive, initargs=(client,)
        )
        with pool:
            for tokens in pool.map(sample, prompts):
                print(*tokens)
