from __future__ import annotations

import os

import pytest
from leaking import measure

from tinkex.testing import EngineError, FakeServer, default_answer

pytestmark = pytest.mark.timeout(3600)
MILLION = int(os.environ.get("TINKEX_TEST_SOAK_SAMPLES", "1000000"))


@pytest.fixture
def server():
    """A server that answers at once."""
    with FakeServer(record=False) as fake:
        yield fake


EVERY_END = """
    service, client = open_client()
    for _ in range(COUNT // 1000):
        futures = [client.sample([1 + i % 5], PARAMS, timeout=1e-9 if i % 5 == 1 else 600) for i in range(1000)]
        for future in futures[2::5]:
            future.cancel()
        for future in futures:
            try:
                future.result(600)
            except (tinkex.TinkexError, __import__("concurrent.futures").futures.CancelledError):
                pass
        del future, futures
    service.close()
    """


@pytest.mark.parametrize(
    "samples", [pytest.param(40_000, marks=pytest.mark.slow), pytest.param(MILLION, marks=pytest.mark.heavy)]
)
def test_a_million_samples_of_every_kind_of_end(server, samples):
    """A million samples that have a result, fail, are refused, cancelled or too late leave memory where it was.

    In the slow tier forty thousand do: after the first quarter they take less than half a kilobyte each.
    """

    def answer(request):
        token = request.prompt.to_ints()[0]
        if token == 4:
            raise EngineError("no such adapter", 400, "user")
        return default_answer(request)

    server.answers = answer
    measure(EVERY_END.replace("COUNT", str(samples // 4)), server, seconds=3500)
