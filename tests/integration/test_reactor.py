"""The reactor: sockets and times, on one thread that sleeps whenever it can."""

from __future__ import annotations

import logging
import os
import queue
import random
import select
import socket
import threading
import types
import warnings
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stepping import at_once

from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex._runtime.poller import KqueuePoller
from tinkex._runtime.reactor import _GATHER_SECONDS, READY, TIMED_OUT, Reactor
from tinkex.errors import NoThreadsError
from tinkex.testing import ManualClock


class Sleeper:
    """Somebody who waits, and notes what with."""

    def __init__(self, woken, name=None):
        self.woken = woken
        self.name = name
        self.waits = True

    def resume(self, wait_id, value):
        self.woken.put((self.name, wait_id, value))
        return True

    def is_waiting(self, wait_id):
        return self.waits


@pytest.fixture
def clock():
    """Time for the reactor."""
    return ManualClock()


@pytest.fixture(params=["native", "poll"])
def reactor(clock, request, monkeypatch):
    """A reactor at work, by that clock; with what the system has, and with what gevent leaves of it."""
    if request.param == "poll":
        for name in ("epoll", "kqueue"):
            monkeypatch.delattr(select, name, raising=False)
    made = Reactor(clock, "reactor")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def woken():
    """Where those who were woken say so."""
    return queue.SimpleQueue()


def test_nothing_to_wait_with(clock, monkeypatch):
    """Where even poll is gone, as under eventlet, a reactor says so."""
    for name in ("epoll", "kqueue", "poll"):
        monkeypatch.delattr(select, name, raising=False)
    with pytest.raises(NoThreadsError, match="eventlet"):
        Reactor(clock, "reactor")


def turn(reactor):
    """Have an idle reactor that has no thread go round once."""
    reactor.wake()
    reactor._turn()


def test_timers_fire_in_order(reactor, clock, woken):
    """Those whose time has come are woken, the earliest first, the others not yet."""
    for at in (3.0, 1.0, 2.0, 1.0, 9.0):
        reactor.call_at(at, Sleeper(woken, at), 7)
    clock.advance(3.0)
    assert [woken.get(timeout=10) for _ in range(4)] == [(at, 7, TIMED_OUT) for at in (1.0, 1.0, 2.0, 3.0)]
    assert woken.empty()


def test_woken_for_an_earlier_time(woken):
    """One who sleeps until some time is roused for an earlier one."""
    reactor = Reactor(SYSTEM_CLOCK, "reactor")
    reactor.start()
    reactor.call_at(SYSTEM_CLOCK.monotonic() + 1000.0, Sleeper(woken, "late"), 0)
    reactor.call_at(SYSTEM_CLOCK.monotonic() + 0.01, Sleeper(woken, "soon"), 0)
    assert woken.get(timeout=10)[0] == "soon"
    reactor.stop()


def test_never(reactor, woken):
    """A time that never comes costs nothing."""
    reactor.call_at(float("inf"), Sleeper(woken), 0)
    assert not reactor._times


def test_moved_clock_needs_no_real_time(reactor, clock, woken):
    """By a clock that is moved by hand the reactor sleeps until it is moved, and not after it has stopped."""
    reactor.call_at(5.0, Sleeper(woken), 1)
    clock.advance(4.9)
    assert reactor._pause(0.1) is None
    clock.advance(0.2)
    assert woken.get(timeout=10) == (None, 1, TIMED_OUT)


def test_where_workers_are_behind(clock, monkeypatch):
    """It looks at the sockets now and then, without waiting for one, and sleeps again once they are not behind."""
    behind, waits, naps = [True, True, False], [], []
    monkeypatch.setattr("tinkex._runtime.reactor.nap", naps.append)
    reactor = Reactor(clock, "reactor", lambda: behind.pop(0))
    poller = reactor._poller
    reactor._poller = types.SimpleNamespace(poll=lambda seconds: waits.append(seconds) or [])
    for _ in range(3):
        reactor._turn()
    poller.close()
    assert waits == [0.0, 0.0, None]
    assert naps == [_GATHER_SECONDS] * 2
    assert 0.0001 <= _GATHER_SECONDS <= 0.001


def test_unsubscribes(clock):
    """A reactor that has ended is not told of moves."""
    ended = threading.Event()
    reactor = Reactor(clock, "reactor")
    poller, reactor._poller = reactor._poller, types.SimpleNamespace(close=ended.set, poll=lambda timeout: [])
    reactor._stopping = True
    reactor.start()
    assert ended.wait(10)
    assert clock._callbacks == []
    poller.close()


def test_sockets(reactor, woken):
    """A parked socket wakes who waits for it once, and again when it is parked anew."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reactor.park(ours.fileno(), Sleeper(woken, "first"), 1, write=False, known=False)
        assert len(reactor._parked) == 1
        theirs.send(b"x")
        assert woken.get(timeout=10) == ("first", 1, READY)
        assert len(reactor._parked) == 0
        reactor.park(ours.fileno(), Sleeper(woken, "again"), 2, write=False, known=True)
        assert woken.get(timeout=10) == ("again", 2, READY)
        reactor.park(ours.fileno(), Sleeper(woken, "write"), 3, write=True, known=True)
        assert woken.get(timeout=10) == ("write", 3, READY)
        reactor.forget(ours.fileno())
        reactor.forget(ours.fileno())


def test_forgotten_sockets_wake_nobody(reactor, woken):
    """One that is about to be closed is not watched any more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reactor.park(ours.fileno(), Sleeper(woken), 1, write=False, known=False)
        reactor.forget(ours.fileno())
        theirs.send(b"x")
        reactor.park(theirs.fileno(), Sleeper(woken, "other"), 2, write=True, known=False)
        assert woken.get(timeout=10) == ("other", 2, READY)
        assert woken.empty()
        reactor.forget(theirs.fileno())


def test_one_who_fails_keeps_nobody_waiting(reactor, clock, woken, caplog):
    """An error in one wake-up does not swallow the next."""

    class Broken(Sleeper):
        def resume(self, wait_id, value):
            raise ValueError("broken")

    reactor.call_at(1.0, Broken(woken), 0)
    reactor.call_at(1.0, Sleeper(woken, "next"), 0)
    with caplog.at_level(logging.ERROR, "tinkex"):
        clock.advance(1.0)
        assert woken.get(timeout=10)[0] == "next"
    assert "error of its own" in caplog.text


def test_compaction(clock, woken):
    """Timers that have lost their purpose are dropped before they fill the memory; the others stay."""
    reactor = Reactor(clock, "reactor")
    sleepers = [Sleeper(woken, number) for number in range(3000)]
    for number, sleeper in enumerate(sleepers):
        reactor.call_at(1000.0 + number, sleeper, 0)
    turn(reactor)
    assert len(reactor._heap) == 3000
    for sleeper in sleepers[10:]:
        sleeper.waits = False
    reactor.lapsed += 2990
    turn(reactor)
    assert sorted(timer[2].name for timer in reactor._heap) == list(range(10))
    reactor._poller.close()


def test_stale_timers_are_not_taken_over(clock, woken):
    """A wait that was over before the reactor looked never enters its heap."""
    reactor = Reactor(clock, "reactor")
    sleeper = Sleeper(woken)
    sleeper.waits = False
    reactor.call_at(5.0, sleeper, 0)
    turn(reactor)
    assert reactor._heap == []
    reactor._poller.close()


def test_handed_over_while_it_falls_asleep(clock, woken):
    """A time handed over between the look into the deque and the sleep is seen."""
    reactor = Reactor(clock, "reactor")
    original = reactor._collect
    looks = []

    def collect():
        found = original()
        looks.append(found)
        if len(looks) == 1:
            reactor.call_at(0.0, Sleeper(woken), 0)
        return found

    reactor._collect = collect
    reactor._turn()  # would sleep for ever
    assert looks[:2] == [False, True]
    assert woken.get(timeout=0)
    reactor._poller.close()


def test_sockets_go_before_timers(clock, woken):
    """An answer that has come is told before any time that is over by then."""
    reactor = Reactor(clock, "reactor")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reactor.call_at(1.0, Sleeper(woken, "timer"), 1)
        reactor.park(ours.fileno(), Sleeper(woken, "socket"), 2, write=False, known=False)
        theirs.send(b"x")
        clock.advance(60.0)
        turn(reactor)
        assert [woken.get(timeout=0) for _ in range(2)] == [("socket", 2, READY), ("timer", 1, TIMED_OUT)]
        reactor.forget(ours.fileno())
    reactor._poller.close()


class StoppedPoller:
    """A poller in whose sleep the whole process is stopped for a while."""

    def __init__(self, poller, clock):
        self.poller, self.clock = poller, clock
        self.stop = 0.0
        self.pauses = []

    def poll(self, pause):
        self.pauses.append(pause)
        self.clock.seconds += (pause or 0.0) + self.stop
        return self.poller.poll(0.0)


class Seconds:
    """A clock that counts, as the system's does."""

    seconds = 0.0

    def monotonic(self):
        return self.seconds

    def wall(self):
        return self.seconds


@pytest.mark.parametrize(("stop", "held"), [(0.5, 0.0), (3.0, 3.0), (3600.0, 5.0)])
def test_after_a_stop_timers_wait_for_what_has_come(woken, stop, held):
    """A process that was stopped beyond a time reads for as long, five seconds at most, before that time is over."""
    clock = Seconds()
    reactor = Reactor(clock, "reactor")
    poller, reactor._poller = reactor._poller, StoppedPoller(reactor._poller, clock)
    reactor.call_at(10.0, Sleeper(woken, "deadline"), 1)
    reactor._poller.stop = stop
    reactor._turn()
    assert reactor._poller.pauses == [10.0]
    reactor._poller.stop = 0.0
    if held:
        assert woken.empty()
        reactor._turn()
        assert reactor._poller.pauses == [10.0, held]
    assert woken.get(timeout=0) == ("deadline", 1, TIMED_OUT)
    poller.close()


def test_after_a_stop_while_workers_are_behind(woken, monkeypatch):
    """So it is where it was stopped between two looks."""
    clock = Seconds()
    reactor = Reactor(clock, "reactor", lambda: True)
    reactor.call_at(10.0, Sleeper(woken, "deadline"), 1)
    monkeypatch.setattr("tinkex._runtime.reactor.nap", lambda _: setattr(clock, "seconds", 14.0))
    reactor._turn()
    assert woken.empty()
    monkeypatch.setattr("tinkex._runtime.reactor.nap", lambda _: setattr(clock, "seconds", 18.0))
    reactor._turn()
    assert woken.get(timeout=0)[0] == "deadline"
    reactor._poller.close()


def test_a_time_that_was_over_when_it_was_set_is_no_stop(woken):
    """A timer for a time long past fires at once."""
    clock = Seconds()
    clock.seconds = 1000.0
    reactor = Reactor(clock, "reactor")
    reactor.call_at(10.0, Sleeper(woken, "past"), 1)
    reactor._turn()
    assert woken.get(timeout=0)[0] == "past"
    reactor._poller.close()


@given(st.lists(st.floats(0.0, 100.0), max_size=40), st.lists(st.floats(0.0, 50.0), max_size=5))
def test_never_early_never_lost(times, moves):
    """After any moves of the clock exactly those have been woken whose time has come."""
    clock, woken = ManualClock(), queue.SimpleQueue()
    reactor = Reactor(clock, "reactor")
    for at in times:
        reactor.call_at(at, Sleeper(woken, at), 0)
    for seconds in moves:
        clock.advance(seconds)
        for _ in range(2):
            turn(reactor)
    turn(reactor)
    turn(reactor)
    names = [woken.get()[0] for _ in range(woken.qsize())]
    assert sorted(names) == sorted(at for at in times if at <= clock.monotonic())
    reactor._poller.close()


def test_many_threads(reactor, clock):
    """Times from many threads, while the clock moves: nobody is forgotten."""
    woken = queue.SimpleQueue()

    def ask(seed):
        chance = random.Random(seed)
        for _ in range(200):
            reactor.call_at(clock.monotonic() + chance.random(), Sleeper(woken), 0)

    at_once(*(partial(ask, seed) for seed in range(4)), lambda: [clock.advance(0.01) for _ in range(100)])
    clock.advance(10.0)
    for _ in range(800):
        woken.get(timeout=10)


def test_collected(clock):
    """A reactor closes its descriptors once, and what is collected with it may still stop it."""
    reactor = Reactor(clock, "reactor")
    descriptors = [each.fileno() for each in reactor._wakeups]
    reactor.__del__()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    reactor.stop()
    reactor.__del__()
    Reactor.__new__(Reactor).__del__()
    reactor._poller.close()


def test_finalized_after_what_it_has(clock):
    """Where the collector, as at the end of the interpreter, takes its sockets first, they close without a warning."""
    reactor = Reactor(clock, "reactor")
    descriptors = [each.fileno() for each in reactor._wakeups]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reactor._wakeups = ()
    assert caught == []
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    reactor._poller.close()


def test_forked(clock, woken):
    """A child gives up its copy of the kernel table and what is parked in it."""
    reactor = Reactor(clock, "reactor")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reactor.park(ours.fileno(), Sleeper(woken), 1, write=False, known=False)
        reactor.forked()
        assert len(reactor._parked) == 0
        reactor.forget(ours.fileno())


class FakeKqueue:
    """A kernel queue of macOS, as far as the reactor uses one."""

    def __init__(self):
        self.changes = []

    def control(self, changes, most, timeout=None):
        self.changes += changes or []
        return [types.SimpleNamespace(ident=change[0]) for change in self.changes] if most else []

    def close(self):
        raise OSError("bad file descriptor")


def test_kqueue(monkeypatch):
    """The other kernel's poller is asked the same things; closing an inherited one is no error."""
    flags = {"KQ_FILTER_READ": -1, "KQ_FILTER_WRITE": -2, "KQ_EV_ADD": 1, "KQ_EV_ONESHOT": 16}
    for name, value in {**flags, "kqueue": FakeKqueue, "kevent": lambda *of: of}.items():
        monkeypatch.setattr(select, name, value, raising=False)
    poller = KqueuePoller()
    poller.watch(3)
    poller.arm(4, False, False)
    poller.arm(5, True, True)
    poller.forget(5)
    assert poller._kqueue.changes == [(3, -1, 1), (4, -1, 17), (5, -2, 17)]
    assert poller.poll(None) == [3, 4, 5]
    poller.close()
