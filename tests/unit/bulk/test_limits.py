"""How fast rows go: the window that adapts, and the rates, on a clock the test moves."""

from __future__ import annotations

import heapq
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.bulk._limits import Gate, Limits, Rate, Window
from tinkex.queue_state import QueueState, QueueStateChanged


class Hands:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 9)), max_size=60), st.integers(1, 600))
def test_rate_is_kept(arrivals, per_minute):
    """In no minute does more go than allowed, by more than the last one to go."""
    rate, now, gone = Rate(per_minute), 0.0, []
    for wait, amount in arrivals:
        now += wait
        now += rate.delay(now)
        rate.spend(amount, now)
        gone.append((now, amount))
    for start, _ in gone:
        minute = [amount for at, amount in gone if start <= at < start + 59.999]
        assert sum(minute[:-1]) <= per_minute


def test_rate_gives_back():
    """What was not used may be used by the next."""
    rate = Rate(60)
    rate.spend(10, 0.0)
    assert rate.delay(0.0) == 10
    rate.spend(-9, 1.0)
    assert rate.delay(1.0) == pytest.approx(0.0)


def simulate(window, capacity, latency, seconds, pauses=(), start=0.0):
    """Keep the window full on a server that does `capacity` rows at once, each in `latency` seconds."""
    now, free_at, ends, done = start, [start] * capacity, [], 0
    pauses = list(pauses)
    while now < start + seconds:
        while len(ends) < window.limit:
            end = max(now, heapq.heappop(free_at)) + latency
            heapq.heappush(free_at, end)
            heapq.heappush(ends, end)
        window.waited()
        now = heapq.heappop(ends)
        while pauses and pauses[0] <= now:
            window.paused(pauses.pop(0))
        done += 1
        window.ended(1, now)
        assert 1 <= window.limit <= window._most
    return done


@pytest.mark.parametrize("capacity", [10, 100, 400])
@pytest.mark.parametrize("latency", [0.2, 5.0])
def test_window_finds_the_capacity(capacity, latency):
    """The window grows to what the server can do at once, and not far beyond; hardly any work is lost on the way."""
    window = Window(Limits(max_in_flight=300))
    seconds = 60 * latency
    done = simulate(window, capacity, latency, seconds)
    wanted = min(capacity, 300)
    assert wanted <= window.limit <= max(3 * wanted, 80)
    assert done >= 0.75 * wanted * seconds / latency


@given(
    st.integers(1, 100), st.integers(1, 100), st.lists(st.floats(0, 60), max_size=30),
    st.sampled_from([1.0, 7.0]),
)  # fmt: skip
def test_window_never_freezes(most, capacity, pauses, latency):
    """Whatever the pauses, the window stays within its bounds, and grows again when they end."""
    window = Window(Limits(max_in_flight=most))
    simulate(window, capacity, latency, 60, sorted(pauses))
    low = window.limit
    simulate(window, max(most, 2), latency, 60 * latency, start=100.0)
    assert window.limit >= min(most / 1.3, low + 1)  # the last step to the most may be too small to be seen to help


def test_pauses_shrink_the_window_once():
    """Pauses that come together halve the window once; those seconds later halve it again, but never to none."""
    window = Window(Limits(max_in_flight=1000))
    for _ in range(50):
        window.paused(10.0)
    assert (window.limit, window.state) == (32, "backing off")
    for number in range(20):
        window.paused(20.0 + 6 * number)
    assert window.limit == 1


def test_without_a_full_window_nothing_is_learned():
    """As long as no row had to wait, the window is not what holds the run back, and stays."""
    window = Window(Limits())
    for number in range(5000):
        window.ended(1, number * 0.01)
    assert window.limit == 64


def test_fixed_window():
    """Without adaptation the window is as wide as allowed, whatever happens."""
    window = Window(Limits(max_in_flight=7, adaptive=False))
    window.paused(1.0)
    simulate(window, 3, 0.1, 10)
    assert (window.limit, window.state) == (7, "fixed")


@pytest.mark.parametrize("name", ["max_in_flight", "requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_checked(name, value):
    """A limit that lets nothing through is refused by name."""
    with pytest.raises((TypeError, ValueError), match=name):
        Limits(**{name: value})


def test_share():
    """The shares of several workers are the whole together."""
    limits = Limits(max_in_flight=10, tokens_per_minute=900).share(3)
    assert (limits.max_in_flight, limits.tokens_per_minute, limits.requests_per_minute) == (3, 300, None)
    assert Limits(max_in_flight=2).share(5).max_in_flight == 1


def test_gate_holds_the_rates():
    """Through the gate as many go as the rates allow; rows that ask nothing of the server pass freely."""
    clock, halt = Hands(), threading.Event()
    gate = Gate(Limits(requests_per_minute=60, tokens_per_minute=6000), clock, halt)
    passed = []

    def enter(tokens):
        clock.now += 0 if tokens is None else 1
        passed.append(gate.enter(tokens))

    for tokens in (100, None, None, 100, 50):
        enter(tokens)
    assert passed == [True] * 5
    assert gate.in_flight == 5
    halt.set()
    assert not gate.enter(1)


def test_gate_tells_the_window_of_pauses():
    """What the server says about its queue reaches the window; that it is active again does not shrink it."""
    gate = Gate(Limits(), Hands(), threading.Event())
    gate.on_queue_state_change(QueueStateChanged(QueueState.ACTIVE, None, "s"))
    assert gate.window.limit == 64
    gate.on_queue_state_change(QueueStateChanged(QueueState.PAUSED_RATE_LIMIT, None, "s"))
    assert gate.window.limit == 32
