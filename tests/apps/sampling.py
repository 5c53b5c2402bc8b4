"""What the views and tasks of an application share: one service in each process, and a sampling client of it."""

import functools

import tinkex

service = tinkex.ServiceClient(config=tinkex.ClientConfig(on_full="raise", max_queued=200))


@functools.cache
def sampling_client():
    """Made by the first request that needs it; nothing is kept if it fails."""
    return service.create_sampling_client(base_model="meta-llama/Llama-3.1-8B", timeout=10)
