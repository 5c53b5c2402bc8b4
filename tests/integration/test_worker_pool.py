"""Threads of the client: a fixed pool, and an elastic one that comes and goes with its work."""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import wait
from contextlib import contextmanager

import pytest
from serving import MODEL, PARAMS, make_service
from stepping import until

from tinkex._concurrency import worker_pool
from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.worker_pool import WorkerPool
from tinkex._runtime.reactor import Reactor
from tinkex.testing import FakeServer


@contextmanager
def watched(pool):
    """A pool that a reactor starts and watches, as in a service; it ends after the work that is there."""
    reactor = Reactor(SYSTEM_CLOCK, "test-reactor", pool.watch)
    pool.watched_by(reactor.wake)
    pool.start()
    reactor.start()
    yield pool
    pool.shutdown()
    pool.join(10)
    reactor.stop()


@pytest.fixture
def pool():
    """Three workers at most."""
    with watched(WorkerPool(3, "test-worker")) as made:
        yield made


@pytest.fixture
def no_threads(monkeypatch):
    """A system that starts no thread; the list says how many were asked for."""
    asked = []

    class Refused(threading.Thread):
        def start(self):
            asked.append(self)
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(worker_pool.threading, "Thread", Refused)
    return asked


class Item:
    """Something to run."""

    def __init__(self, run):
        self.run = run


def test_workers_run_what_is_put(pool):
    """Items run on the workers, as many at once as there are."""
    barrier, done = threading.Barrier(4), queue.SimpleQueue()

    def work():
        barrier.wait(10)
        done.put((threading.current_thread().name.startswith("test-"), threading.current_thread().daemon))

    for _ in range(3):
        pool.put(Item(work))
    barrier.wait(10)
    assert [done.get(timeout=10) for _ in range(3)] == [(True, True)] * 3


def test_a_failing_item_ends_no_worker(pool, caplog):
    """What an item raises is logged, and its worker goes on."""
    with caplog.at_level(logging.ERROR, "tinkex"):
        for _ in range(5):
            pool.put(Item(lambda: 1 / 0))
            pool.submit(lambda: None).result(10)
        pool.put(Item(lambda: exec("raise SystemExit")))
        assert wait([pool.submit(lambda: None) for _ in range(9)], 10).not_done == set()
    assert "ZeroDivisionError" in caplog.text


def test_submit_keeps_the_contract(pool):
    """The standard interface gives results, errors and cancelled futures."""
    assert pool.submit(divmod, 7, 2).result(10) == (3, 1)
    assert isinstance(pool.submit(divmod, 7, 0).exception(10), ZeroDivisionError)
    assert isinstance(pool.submit(lambda: exec("raise SystemExit")).exception(10), SystemExit)
    gates = [threading.Event() for _ in range(3)]
    busy = [pool.submit(gate.wait, 10) for gate in gates]
    late = pool.submit(lambda: None)
    assert late.cancel()
    for gate in gates:
        gate.set()
    assert wait(busy, 10).not_done == set()


def test_submit_after_the_end():
    """After the end nothing is taken that would never run."""
    pool = WorkerPool(1, "test-worker")
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(lambda: None)


def test_shutdown_finishes_what_is_queued():
    """Workers end after the work that was there before."""
    pool = WorkerPool(2, "test-worker")
    futures = [pool.submit(lambda number=number: number) for number in range(20)]
    pool.shutdown()
    pool.start()
    pool.join(10)
    assert [future.result(0) for future in futures] == list(range(20))


@pytest.mark.usefixtures("no_threads")
def test_no_workers():
    """Where not even the first can be started, the one who starts the pool is told, and may try again."""
    pool = WorkerPool(3, "test-worker")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="can't start"):
            pool.start()
    assert pool.threads == 0


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_fewer_workers(pool, monkeypatch, caplog, error):
    """Where no more can be had that is reported, once; those there are do the work, and more come when they can."""
    gate, asked = threading.Event(), []

    def refuse(thread):
        asked.append(thread)
        raise error

    def work():
        return [pool.submit(lambda number=number: number) for number in range(20)]

    blocked = pool.submit(gate.wait, 10)
    until(lambda: pool.waiting() == 0)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "tinkex"):
        patch.setattr(threading.Thread, "start", refuse)
        late = work()
        until(lambda: asked)
        late += work()
        until(lambda: len(asked) > 1)
    assert caplog.text.count("Only 1 of 3") == 1
    late += work()
    assert [future.result(10) for future in late] == 3 * [*range(20)]
    until(lambda: pool.threads > 1)
    gate.set()
    assert blocked.result(10)


def test_no_workers_at_exit(pool, monkeypatch, caplog):
    """Once the main thread has ended Python 3.12 starts none: that is no news, and those there are go on."""
    gate, asked = threading.Event(), threading.Event()

    def refuse(thread):
        asked.set()
        raise RuntimeError("can't create new thread at interpreter shutdown")

    blocked = pool.submit(gate.wait, 10)
    until(lambda: pool.waiting() == 0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(threading.main_thread(), "is_alive", lambda: False)
    late = pool.submit(lambda: True)
    assert asked.wait(10)
    gate.set()
    assert blocked.result(10)
    assert late.result(10)
    assert not caplog.text


def test_no_more_workers_than_work(pool):
    """One thing after the other is done by one thread; what waits while all are at work has another started."""
    names, gate = set(), threading.Event()
    for _ in range(20):
        names.add(pool.submit(threading.current_thread).result(10).name)
        until(lambda: pool._items._idle)
    assert (len(names), pool.threads) == (1, 1)
    for number in (1, 2, 3, 3):
        pool.submit(gate.wait, 10)
        until(lambda number=number: pool.threads == number and (number == 3 or pool.waiting() == 0))
    until(lambda: pool.waiting() == 1)
    gate.set()
    assert pool.submit(lambda: pool.threads).result(10) == 3


def test_elastic_growth():
    """Threads come with work that is not taken at once, up to the most there may be."""
    pool = ElasticPool(3, "test-elastic")
    gate, started = threading.Event(), queue.SimpleQueue()

    def work():
        started.put(threading.current_thread().name)
        gate.wait(10)

    for _ in range(7):
        pool.submit(work)
    names = {started.get(timeout=10) for _ in range(3)}
    assert len(names) == pool.threads == 3
    assert started.empty()
    gate.set()
    assert {started.get(timeout=10) for _ in range(4)} <= names
    pool.stop()


def test_elastic_reuse():
    """An idle thread takes new work; none is started."""
    pool = ElasticPool(5, "test-elastic", idle_after=100.0)
    for _ in range(20):
        done = threading.Event()
        pool.submit(done.set)
        assert done.wait(10)
        until(lambda: pool._idle)
    assert pool.threads == 1
    pool.stop()


def ended(pool, threads):
    """Wait until its threads have gone."""
    for thread in threads:
        thread.join(10)
    return pool.threads


def test_elastic_idle_end():
    """An idle thread ends after its time, and new work starts another."""
    pool = ElasticPool(5, "test-elastic", idle_after=0.0)
    for _ in range(2):
        seen = queue.SimpleQueue()
        pool.submit(lambda: seen.put(threading.current_thread()))  # noqa: B023 - it runs within the round
        assert ended(pool, [seen.get(timeout=10)]) == 0


def test_elastic_stop():
    """After a stop idle threads end at once, and queued work is still done."""
    pool = ElasticPool(1, "test-elastic", idle_after=1000.0)
    gate, seen = threading.Event(), queue.SimpleQueue()
    pool.submit(lambda: gate.wait(10))
    pool.submit(lambda: seen.put(threading.current_thread()))
    pool.stop()
    gate.set()
    assert ended(pool, [seen.get(timeout=10)]) == 0


def test_elastic_work_that_raises(caplog):
    """What work raises is logged, and its thread goes on."""
    pool = ElasticPool(1, "test-elastic")
    done = threading.Event()
    with caplog.at_level(logging.ERROR, "tinkex"):
        pool.submit(lambda: exec("raise SystemExit"))
        pool.submit(done.set)
        assert done.wait(10)
    assert "SystemExit" in caplog.text
    pool.stop()


def test_elastic_without_threads(no_threads):
    """Where no thread can be had the caller is told, and nothing is left behind."""
    pool = ElasticPool(2, "test-elastic")
    with pytest.raises(RuntimeError):
        pool.submit(lambda: None)
    assert pool.threads == 0
    assert not pool._items


def test_elastic_with_one_thread_only(monkeypatch):
    """Where no more threads can be had, those there are do the work."""
    pool = ElasticPool(2, "test-elastic")
    gate, done = threading.Event(), threading.Event()
    pool.submit(lambda: gate.wait(10))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        pool.submit(done.set)
    assert pool.threads == 1
    gate.set()
    assert done.wait(10)
    pool.stop()


@pytest.mark.parametrize("starts", [False, True])
def test_elastic_interrupted(monkeypatch, starts):
    """A Ctrl-C before or after the start of a thread: it is counted if it runs, and work goes on."""
    pool = ElasticPool(1, "test-elastic")
    gate, start = threading.Event(), threading.Thread.start

    def interrupted(thread):
        if starts:
            start(thread)
        raise KeyboardInterrupt

    done = [threading.Event(), threading.Event()]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(lambda: done[0].set() or gate.wait(10))
    until(lambda: pool.threads == starts)
    pool.submit(done[1].set)
    gate.set()
    assert all(event.wait(10) for event in done)
    assert pool.threads == 1
    pool.stop()


def _refuse(thread):
    raise RuntimeError("can't start new thread")


def test_forked():
    """In a child nothing is started and nothing is taken, and the parent's reactor is let go of."""
    pool, workers = ElasticPool(2, "test-elastic"), WorkerPool(1, "test-worker")
    workers.watched_by(int)
    pool.forked()
    workers.forked()
    pool.submit(lambda: None)
    workers.put(Item(lambda: None))
    assert (pool.threads, workers.waiting()) == (0, 0)
    assert workers._items._notify is None


@pytest.mark.parametrize("running", [0, 1])
def test_work_that_blocks(running):
    """Where what the workers of a service run blocks, all of them come to work, though nothing is put any more."""
    with FakeServer() as server, make_service(server, workers=4) as service:
        client = service.create_sampling_client(base_model=MODEL)
        client.sample([1, 2], PARAMS).result(10)
        workers = service._lifecycle.runtime.workers
        gate, begun = threading.Event(), []

        def block():
            begun.append(True)
            gate.wait(10)

        if running:
            workers.submit(block)
            until(lambda: begun)
        blocked = [workers.submit(block) for _ in range(12 - running)]
        until(lambda: len(begun) == 4)
        gate.set()
        wait(blocked, 10)
        assert len(begun) == 12


def test_the_reactor_watches_the_queue():
    """In a service the reactor is told where its workers are behind, and looks at their queue, until it is closed."""
    with FakeServer() as server, make_service(server) as service:
        service.create_sampling_client(base_model=MODEL)
        runtime = service._lifecycle.runtime
        assert runtime.workers._items._notify == runtime.reactor.wake
        assert runtime.reactor._watch == runtime.workers.watch
    assert runtime.workers._items._notify is None
