"""What answers may take of this process's memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from serving import PARAMS, PROMPT, all_done, make_service

import tinkex
from tinkex import _wire
from tinkex.testing import FakeServer, Fault

MIB = 2**20


@pytest.mark.thin(3)
@pytest.mark.parametrize("piece", ["[]", "{}", '{"a":[]}', "1", "1234567", "-1.2345678901", '"a"', "[1,-0.5]"])
def test_the_memory_of_json_is_not_underestimated(piece):
    """The objects of a JSON text take no more memory than is estimated from the text, whatever it is made of."""
    text = ("[" + ",".join([piece] * 5_000) + "]").encode()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        value = json.loads(text)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(value) == 5_000
    assert taken <= _wire.json_object_bytes(text) <= _wire.MOST_JSON_GROWTH * len(text)


@pytest.mark.parametrize("endpoint", ["create_session", "asample", "retrieve_future"])
def test_json_of_very_many_values(endpoint):
    """An answer within the bound whose objects would be far beyond it is an error that names the setting."""
    body = b'{"type": "x", "y": [' + b"[]," * 30_000 + b"1]}"
    with FakeServer() as server, make_service(server, max_response_bytes=200_000) as service:
        server.script(endpoint, *[Fault("status", 200, {"Content-Type": "application/json"}, body)] * 9)
        try:
            error = service.create_sampling_client(base_model="fake/model").sample(PROMPT, PARAMS).exception(20)
        except tinkex.APIResponseError as raised:
            error = raised
    assert isinstance(error, tinkex.APIResponseError)
    assert "8 times max_response_bytes=200000 in memory" in str(error)


def test_results_up_to_the_bound():
    """A result of numbers is read up to the bound itself."""
    params = tinkex.SamplingParams(max_tokens=10_000)
    with FakeServer(answer="json") as server, make_service(server, max_response_bytes=200_000) as service:
        client = service.create_sampling_client(base_model="fake/model")
        assert len(client.sample(PROMPT, params).result(20).sequences[0].tokens) == 10_000


@pytest.mark.slow
def test_many_large_answers_at_once():
    """Answers that were not announced, and come all at once, wait for each other instead of filling the memory."""
    with FakeServer("hatchery", long_poll=5.0) as server:
        settings = {"max_response_bytes": MIB, "inflight_response_bytes": MIB // 2, "workers": 8}
        retry = tinkex.RetryConfig(max_attempts=50, base_delay=0.01, max_delay=0.05)
        with make_service(server, **settings | {"retry": retry}) as service:
            client = service.create_sampling_client(base_model="fake/model")
            params = tinkex.SamplingParams(max_tokens=30_000)
            server.hold()
            futures = [client.sample([number], params, timeout=60) for number in range(16)]
            server.wait_for("retrieve_future", 16)
            server.release()
            all_done(futures, 60)
            assert [len(future.result().sequences[0].tokens) for future in futures] == [30_000] * 16
            budget = service._lifecycle.runtime.api._transport._receiving
            assert budget.used == 0
