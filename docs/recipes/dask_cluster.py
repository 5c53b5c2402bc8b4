"""Samples on the workers of a Dask cluster."""

from __future__ import annotations

import distributed

import tinkex
from tinkex.testing import FakeServer

PARAMS = tinkex.SamplingParams(max_tokens=4)


def sample(prompts: list[list[int]], client: tinkex.SamplingClient) -> list[list[int]]:
    """Sample a part of the prompts, all at once, on whichever worker this is."""
    return [response.sequences[0].tokens for response in client.sample_many(prompts, PARAMS)]


if __name__ == "__main__":
    prompts = [[number] for number in range(1, 101)]
    parts = [prompts[start : start + 25] for start in range(0, len(prompts), 25)]
    cluster = distributed.LocalCluster(n_workers=2, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with (
        FakeServer() as server,
        tinkex.ServiceClient.direct(server.url) as service,  # the hosted service: tinkex.ServiceClient()
        cluster,
        distributed.Client(cluster) as dask,
    ):
        client = dask.scatter(service.create_sampling_client(base_model="Qwen/Qwen3-8B"), broadcast=True)
        for part in dask.gather(dask.map(sample, parts, client=client)):
            for tokens in part:
                print(*tokens)
