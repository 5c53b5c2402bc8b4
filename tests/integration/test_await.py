"""Futures awaited in asyncio."""

from __future__ import annotations

import asyncio

import pytest

import tinkex
from tinkex.testing import FakeServer

PARAMS = tinkex.SamplingParams(max_tokens=2)


@pytest.fixture
def server():
    """A fake server."""
    with FakeServer() as fake:
        yield fake


def test_samples_can_be_awaited(server):
    """`await client.sample(...)` gives the result, of many samples at once and of the making of a client too."""

    async def run():
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
            client = await service.create_sampling_client_async(base_model="any/model")
            one = await client.sample([1, 2], PARAMS)
            many = await asyncio.gather(*(client.compute_logprobs([1, number]) for number in range(3)))
            return one, many

    one, many = asyncio.run(run())
    assert len(one.sequences[0].tokens) == 2
    assert [len(scores) for scores in many] == [2, 2, 2]


def test_an_await_raises_the_error_of_the_sample(server):
    """The error of a sample is raised where it is awaited."""
    server.fail_next("asample", 400, {"detail": "no such model"})

    async def run():
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
            client = service.create_sampling_client(base_model="any/model")
            with pytest.raises(tinkex.BadRequestError, match="no such model"):
                await client.sample([1], PARAMS)

    asyncio.run(run())


def test_a_cancelled_await_cancels_the_sample():
    """An await that is cancelled, as by `asyncio.timeout`, cancels the sample."""

    async def run(service):
        client = service.create_sampling_client(base_model="any/model")
        future = client.sample([1], PARAMS)

        async def wait():
            await future

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return future

    with FakeServer(latency=3600.0) as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        assert asyncio.run(run(service)).cancelled()


def test_an_error_awaited_again_and_again_does_not_grow(server):
    """Each await of a sample that failed raises its error with the frames of this time only."""
    server.fail_next("asample", 400, {"detail": "no such model"})

    async def run():
        lengths = set()
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
            future = service.create_sampling_client(base_model="any/model").sample([1], PARAMS)
            for _ in range(5):
                with pytest.raises(tinkex.BadRequestError) as caught:
                    await future
                lengths.add(len(caught.traceback))
        return lengths

    assert len(asyncio.run(run())) == 1
