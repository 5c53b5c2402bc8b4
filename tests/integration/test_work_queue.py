"""The workers' queue: nothing is lost or left behind, and who worked last works next."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stepping import until

from tinkex._concurrency import worker_pool
from tinkex._concurrency.clock import nap
from tinkex._concurrency.worker_pool import _BEHIND, _MOVING, _STUCK, WorkQueue
from tinkex._runtime.reactor import _GATHER_SECONDS


@pytest.fixture
def hasty():
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def items():
    """An empty queue."""
    return WorkQueue()


def locked():
    """A bed."""
    sleep_lock = threading.Lock()
    sleep_lock.acquire()
    return sleep_lock


def start(items, work):
    """A thread that calls `work` with every item until it takes None."""

    def run():
        sleep_lock = locked()
        while (item := items.take(sleep_lock)) is not None:
            work(item)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def asleep(items, count):
    """Wait until so many threads have lain down."""
    until(lambda: len(items._idle) == count and all(sleep_lock.locked() for sleep_lock in items._idle))


def end(items, threads):
    """Have them all end; a thread that was left asleep fails the test."""
    for _ in threads:
        items.put(None)
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert items._idle == []


def test_first_in_first_out(items):
    """One thread takes items in the order in which they came."""
    for number in range(5):
        items.put(number)
    assert len(items) == 5
    sleep_lock = locked()
    assert [items.take(sleep_lock) for _ in range(5)] == list(range(5))
    assert len(items) == 0


def test_who_worked_last_works_next(items):
    """One thing after the other is all done by one thread: the one that lay down last."""
    done, threads = queue.SimpleQueue(), []
    for number in range(3):
        threads.append(start(items, lambda _: done.put(threading.current_thread())))
        asleep(items, number + 1)
    for _ in range(20):
        items.put("work")
        assert done.get(timeout=10) is threads[-1]
        asleep(items, 3)
    end(items, threads)


def test_as_many_as_there_are_work_at_once(items):
    """Items that come together wake one thread after the other, until all have one."""
    together = threading.Barrier(4)
    threads = [start(items, lambda _: together.wait(10)) for _ in range(3)]
    asleep(items, 3)
    for _ in range(3):
        items.put("work")
    together.wait(10)
    end(items, threads)


def test_a_busy_thread_is_not_waited_for(items):
    """An item that comes while the last to lie down is at work goes to one that sleeps."""
    gate, done = threading.Event(), queue.SimpleQueue()
    threads = [start(items, lambda work: work()) for _ in range(2)]
    asleep(items, 2)
    items.put(lambda: gate.wait(10))
    asleep(items, 1)
    items.put(lambda: done.put("done"))
    assert done.get(timeout=10) == "done"
    gate.set()
    end(items, threads)


def test_woken_without_need(items):
    """A thread that is woken and finds nothing sleeps on, and still takes what comes."""
    done = queue.SimpleQueue()
    thread = start(items, done.put)
    for number in range(50):
        asleep(items, 1)
        items._wake()
        items.put(number)
        assert done.get(timeout=10) == number
    end(items, [thread])


def test_one_thread_takes_what_piles_up(items):
    """Where items wait, threads beside the first rest; a watcher is told, once, also where none was at work yet."""
    gate, told = threading.Event(), []
    items.watched_by(lambda: told.append(len(items)))
    for _ in range(3 * _BEHIND):
        items.put(gate.wait)
    threads = [start(items, lambda work: work(10))]
    until(lambda: len(items) == 3 * _BEHIND - 1)
    threads += [start(items, lambda work: work(10)) for _ in range(2)]
    asleep(items, 2)
    for _ in range(2):
        items.put(gate.wait)
    asleep(items, 2)
    assert told == [_BEHIND]
    gate.set()
    until(lambda: len(items) == 0)
    asleep(items, 3)
    assert not items.watch()
    items.watched_by(None)
    end(items, threads)


def test_the_others_share_the_last_ones(items):
    """When few are left, as many threads work as there are items."""
    together = threading.Barrier(3)
    items.watched_by(lambda: None)
    for _ in range(_BEHIND):
        items.put(lambda _: None)
    items.put(together.wait)
    items.put(together.wait)
    threads = [start(items, lambda work: work(10)) for _ in range(3)]
    together.wait(10)
    asleep(items, 3)
    items.watched_by(None)
    end(items, threads)


def test_where_one_is_stuck_another_works(items):
    """A watcher that sees nothing taken for a while has one more thread work, and another where that is stuck, too.

    Once all of them work there is nothing to watch.
    """
    gate, stuck = threading.Event(), []
    items.watched_by(lambda: None)

    def work(_):
        stuck.append(threading.current_thread())
        gate.wait(10)

    for _ in range(3 * _BEHIND):
        items.put("work")
    threads = [start(items, work) for _ in range(3)]
    asleep(items, 2)
    until(lambda: len(stuck) == 1)
    for number in (1, 2):
        assert items.watch()  # it sees that something was taken
        for _ in range(_STUCK - 1):
            assert items.watch()
        assert len(stuck) == number
        assert items.watch()
        until(lambda number=number: len(stuck) == number + 1)
    until(lambda: not items._idle)
    assert not items.watch()
    assert set(stuck) == set(threads)
    gate.set()
    until(lambda: len(items) == 0)
    asleep(items, 3)
    items.watched_by(None)
    end(items, threads)


def test_where_things_move_fewer_work(items):
    """Each time that something was taken for a while one thread less works, down to one; with nothing left, at once."""
    items.watched_by(lambda: None)
    items._idle.append(locked())
    items._most = 3
    for _ in range(1000):
        items.put("work")
    own, most = locked(), []
    for _ in range(3 * _MOVING):
        items.take(own)
        assert items.watch()
        most.append(items._most)
    assert most == [3] * (_MOVING - 1) + [2] * _MOVING + [1] * (_MOVING + 1)
    items._most = 3
    items._items.clear()
    assert not items.watch()
    assert items._most == 1


def test_the_watcher_is_told_anew(items):
    """Once it has seen that the queue is not behind, it is told when it is again; and whatever came between."""
    told = []
    items._idle.append(locked())
    items.watched_by(lambda: told.append(len(items)))
    for round_ in range(1, 4):
        for _ in range(3 * _BEHIND):
            items.put("work")
        assert told == [_BEHIND] * round_
        assert items.watch()
        items.put("work")
        assert told == [_BEHIND] * round_  # it looks by itself
        items._items.clear()
        assert not items.watch()


def test_a_put_while_the_watcher_makes_up_its_mind(items):
    """What makes the queue fall behind right after it was looked at is told, also where it was watched until then."""
    told = []
    items._idle.append(locked())
    items.watched_by(lambda: told.append(True))
    for _ in range(_BEHIND):
        items.put("work")
    assert items.watch()
    items._items.clear()
    told.clear()

    class Interposed(WorkQueue):
        __slots__ = ()

        def _is_behind(self):
            items.__class__ = WorkQueue
            found = self._is_behind()
            for _ in range(_BEHIND):  # by another thread, at this moment
                self.put("work")
            return found

    items.__class__ = Interposed
    assert not items.watch()
    assert told


@pytest.mark.parametrize("line", range(1, 12))
def test_an_interrupted_put(items, line):
    """Wherever a Ctrl-C ends a put, the next one has all that is there taken."""
    watcher = queue.SimpleQueue()
    for _ in range(_BEHIND - 1):
        items.put("work")
    items.watched_by(lambda: watcher.put(True))
    passed = 0

    def trace(frame, event, _):
        nonlocal passed
        if frame.f_code.co_filename != worker_pool.__file__:
            return None
        passed += event == "line"
        if passed == line:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        items.put("work")
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    items.put("work")
    assert watcher.get_nowait()


@contextlib.contextmanager
def watched(items):
    """A thread watches the queue, where it is told to, at the reactor's pace."""
    told = queue.SimpleQueue()
    items.watched_by(lambda: told.put(True))

    def watch():
        while told.get():
            while items.watch():
                nap(_GATHER_SECONDS)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    items.watched_by(None)
    told.put(False)
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.usefixtures("hasty")
@given(
    takers=st.integers(1, 6), putters=st.integers(1, 4), count=st.integers(1, 400), pause=st.integers(1, 50),
    watching=st.sampled_from(["", "watched", "growing"]),
)  # fmt: skip
def test_nothing_is_left_behind(takers, putters, count, pause, watching):
    """However puts and takes fall together, every item is taken once, without any further put to help.

    So it is where the threads are all there, and where they are started as items wait for them.
    """
    done = queue.SimpleQueue()

    def grow():
        threads.append(start(items, done.put))

    items = WorkQueue(takers, grow) if watching == "growing" else WorkQueue()
    threads = items.threads
    if watching != "growing":
        threads.extend(start(items, done.put) for _ in range(takers))
    with watched(items) if watching else contextlib.nullcontext():
        all_are_taken(items, done, putters, count, pause)
    assert 1 <= len(threads) <= takers
    asleep(items, len(threads))
    end(items, threads)


def all_are_taken(items, done, putters, count, pause):
    """So many threads put, others take; each item is taken once."""

    def put(first):
        for number in range(first, first + count):
            items.put(number)
            if number % pause == 0:
                until(lambda: len(items) == 0)  # so that threads lie down in between

    putting = [threading.Thread(target=put, args=(number * count,), daemon=True) for number in range(putters)]
    for thread in putting:
        thread.start()
    assert sorted(done.get(timeout=10) for _ in range(putters * count)) == list(range(putters * count))
    for thread in putting:
        thread.join(10)
