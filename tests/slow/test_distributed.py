"""The same pickled client in processes that others start: multiprocessing and Dask."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import pathlib
import pickle

import pytest
from far_away import sample

import tinkex
from tinkex.testing import FakeServer, expected_tokens

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).resolve().parents[2]
DRIVER, WORKER = "tml-of-the-driver", "tml-of-the-worker"
NUMBERS = range(1, 201)


@pytest.fixture
def server(monkeypatch):
    """A strict server, whose users find their key in their environment; it sees no number used twice."""
    monkeypatch.setenv("TINKER_API_KEY", WORKER)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with FakeServer(strict=True, latency=0.02) as fake:
        yield fake
        assert not fake.violations


@pytest.fixture
def client(server):
    """A client that has a key of its own, which its pickle does not hold."""
    service = tinkex.ServiceClient(base_url=server.url, api_key=DRIVER)
    made = service.create_sampling_client(base_model="fake/model")
    assert DRIVER.encode() not in pickle.dumps(made)
    yield made
    service.close()


def check(results, server, here):
    """Every prompt has its own tokens, made by several processes, each with its own key and block of numbers."""
    assert [tokens for tokens, _ in results] == [expected_tokens([number], max_tokens=4) for number in NUMBERS]
    processes = {process for _, process in results}
    assert len(processes) > 1
    assert here not in processes
    samples = server.requests_to("asample")
    assert {request.key for request in samples} == {WORKER}
    blocks = {request.json["seq_id"] // 1_000_000_000 for request in samples}
    assert len(blocks) >= len(processes)
    assert 0 not in blocks  # that of the original


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing(client, server, method):
    """A process pool, however it starts its processes, samples with the client it is given."""
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
        results = list(pool.map(functools.partial(sample, client), NUMBERS, chunksize=10))
    check(results, server, multiprocessing.current_process().pid)


@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_dask(client, server):
    """Workers of a Dask cluster sample with the client they are given, scattered or as an argument."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=4, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster) as dask:
        shipped = dask.scatter(client, broadcast=True)
        results = dask.gather(dask.map(sample, [shipped] * len(NUMBERS), NUMBERS))
        assert dask.submit(sample, client, 7).result(60)[0] == expected_tokens([7], max_tokens=4)
    check(results, server, multiprocessing.current_process().pid)
