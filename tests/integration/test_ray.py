"""What the actors do, without the cluster around them."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pickle
import sys
import threading
import types

import pytest
from serving import KEY, MODEL, sampling

from tinkex import bulk
from tinkex.bulk import Limits, Models, Row, Task
from tinkex.ray import RayEngine, Sampling, _opened, _Rows, _useful, map_batches, start
from tinkex.testing import FakeServer, expected_tokens


@pytest.fixture
def server():
    """A strict server."""
    with FakeServer(strict=True) as fake:
        yield fake
        assert not fake.violations


@pytest.fixture
def models(server):
    """One model of it."""
    with sampling(server) as client:
        yield Models.of({MODEL: client.client})


def tasks(*numbers, model=MODEL):
    """A task for each prompt of one token."""
    return [Task(0, Row(n, n, [n]), model, {"max_tokens": 4}, "") for n in numbers]


def tokens(records):
    """The first sequence of each."""
    return [record["sequences"][0]["tokens"] for record in records]


def test_calls_share_one_flow(models, server):
    """Every call gets the records of its own tasks, in their order, while the limit holds over all of them."""
    sampler = Sampling(models, Limits(max_in_flight=3), ("text",), None)
    server.hold()
    calls = [range(1 + 10 * call, 11 + 10 * call) for call in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(sampler.sample, tasks(*numbers)) for numbers in calls]
        server.release()
        for numbers, future in zip(calls, futures, strict=True):
            assert tokens(future.result(20)) == [expected_tokens([number], max_tokens=4) for number in numbers]


@pytest.mark.parametrize("most", [1, 3, 4, 100, None])
def test_actors_keep_the_limit_together(most):
    """No limit is exceeded by having more actors than it has places."""
    limits = Limits(max_in_flight=most)
    actors = _useful(8, limits)
    assert 1 <= actors <= 8
    assert actors * limits.share(actors).max_in_flight <= (most or 1000)


def test_a_flow_that_breaks_tells_every_call(models, monkeypatch):
    """When the flow itself fails, whoever waits hears of it, and whoever comes later."""

    def broken(numbers, *_, **__):
        next(numbers)
        raise RuntimeError("out of order")
        yield

    monkeypatch.setattr("tinkex.ray.perform", broken)
    sampler = Sampling(models, Limits(), (), None)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of order"):
            sampler.sample(tasks(1, 2))


def test_what_is_shipped(models):
    """Clients travel opened and without the key; a model that cannot be opened is the error of its own rows."""
    shipped = pickle.dumps(_opened(models, [*tasks(1), *tasks(2, model="none of them")]))
    assert KEY.encode() not in shipped
    received = pickle.loads(shipped)
    assert received.open(MODEL).sampling_session_id == models.get(MODEL).client.sampling_session_id
    with pytest.raises(ValueError, match="none of them"):
        received.open("none of them")


class Cluster:
    """A data set of Ray's that hands its rows to one actor, in this process."""

    def __init__(self, ended):
        self.ended = ended

    def iter_batches(self, **_):
        yield from self.ended


def test_engine_takes_every_task_once(models, monkeypatch):
    """What two actors hand in, because one was thought dead, is taken once; after a halt nothing is."""
    record = {"usage": None}
    ended = [{"index": Numbers([5, 6]), "record": [pickle.dumps(record)] * 2}] * 2
    monkeypatch.setattr("tinkex.ray.start", lambda: None)
    monkeypatch.setattr(RayEngine, "_on_cluster", lambda *_: Cluster(ended))
    work = [Task(index, Row(index, index, [1]), MODEL, {}, "") for index in (5, 6)]
    halt, states = threading.Event(), []
    found = [
        pair for batch in RayEngine()(iter(work), models, Limits(), halt=halt, tell=states.append) for pair in batch
    ]
    assert [task.index for task, _ in found] == [5, 6]
    assert [state.in_flight for state in states] == [2, 0, 0]
    halt.set()
    assert list(RayEngine()(iter(work), models, Limits(), halt=halt)) == []


class Numbers(list):
    """As an array of NumPy."""

    def tolist(self):
        return self


def test_arguments(models):
    """A parameter that does not exist is refused at once."""
    with pytest.raises(TypeError, match="max_token'"):
        map_batches(None, models, max_token=4)
    with pytest.raises(ValueError, match="actors"):
        RayEngine(actors=0)
    assert bulk.Limits(max_in_flight=10).share(4).max_in_flight == 2


@pytest.mark.parametrize("given", [{}, {"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "mine"}, {"RAY_ADDRESS": "x"}])
def test_a_new_cluster_has_a_token_of_its_own(monkeypatch, given):
    """Ray on this machine obeys this job alone and writes nothing to the home folder, unless it is told otherwise."""
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS")
    environ = {**{name: value for name, value in os.environ.items() if name not in names}, **given}
    monkeypatch.setattr(os, "environ", environ)
    module = types.ModuleType("ray")
    module.is_initialized = lambda: True
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    real = __import__

    def imported(name, *rest):
        return module if name == "ray" else real(name, *rest)

    monkeypatch.setattr("builtins.__import__", imported)
    start()
    found = {name: environ[name] for name in names if name in environ}
    if given:
        assert found == given
    else:
        assert found["RAY_AUTH_MODE"] == "token"
        assert len(found["RAY_AUTH_TOKEN"]) == 64


def test_rows_of_every_kind_come_back(models):
    """Choices of a run that scores none are carried along, and a row without any model is an error row, not gone."""
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"prompt_tokens": [[1, 2]], "choices": [[[3], [4]]]})
    (row,) = _Rows(models, Limits(), ["text"], None, {"max_tokens": 1, "score": False})(table).to_pylist()
    record = json.loads(row["record"])
    assert (row["status"], len(record["sequences"]), record["extra"]) == ("ok", 1, {"choices": [[3], [4]]})
    nothing = Models((), models.open)
    (row,) = _Rows(nothing, Limits(), ["text"], None, {"max_tokens": 1})(table).to_pylist()
    assert (row["status"], "names no model" in row["error"], row["choices"]) == ("error", True, [[3], [4]])


def test_rows_without_an_id(models):
    """Such a row is not given the id of another one, as its place in a batch would be; no column is lost."""
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"id": [None, "a"], "prompt_tokens": [[1], [2]], "text": ["mine", "yours"]})
    found = _Rows(models, Limits(), ["text"], None, {"max_tokens": 1})(table).to_pylist()
    records = [json.loads(row["record"]) for row in found]
    assert [(record["id"], "line" in record) for record in records] == [(None, False), ("a", False)]
    assert [record["extra"] for record in records] == [{"text": "mine"}, {"text": "yours"}]


def test_tables_of_numpy(models):
    """A table that a step before made of NumPy arrays is read as a file is; every row keeps its own columns."""
    np = pytest.importorskip("numpy")
    pa = pytest.importorskip("pyarrow")
    kind = pa.fixed_shape_tensor(pa.int64(), [2])
    tokens = pa.ExtensionArray.from_storage(kind, pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)))
    table = pa.table({
        "id": pa.array(np.array([1.0, 2.0])), "prompt_tokens": tokens, "max_tokens": pa.array(np.array([3.0, np.nan])),
        "counts": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), "topic": ["x", "y"],
    })  # fmt: skip
    actor = _Rows(models, Limits(), ["text"], None, {"max_tokens": 2})
    found = actor(table).to_pylist()
    records = [json.loads(row["record"]) for row in found]
    assert [(row["status"], row["topic"]) for row in found] == [("ok", "x"), ("ok", "y")]
    assert [(record["id"], record["prompt_tokens"], record["parameters"]["max_tokens"]) for record in records] == [
        (1, [1, 2], 3), (2, [3, 4], 2),
    ]  # fmt: skip
    assert [record["extra"]["counts"] for record in records] == [{"a": 1}, {}]
