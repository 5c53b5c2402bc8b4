"""The retry budget: how often, how long, after what pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._api.retry import RetryBudget, is_transient
from tinkex.config import RetryConfig
from tinkex.errors import APIConnectionError, APIResponseError, APITimeoutError, RequestFailedError, status_error
from tinkex.testing import ManualClock

LOST = APIConnectionError("lost")


@pytest.fixture
def clock():
    """Time for the budget."""
    return ManualClock()


def failed(status, **fields):
    """The error of a status."""
    return status_error(status, "no", **fields)


def spend(budget, clock, error=LOST, *, work=0.0, **options):
    """Fail until the budget ends; the delays."""
    delays = []
    for _ in range(10_000):
        clock.advance(work)
        try:
            delays.append(budget.delay(error, **options))
        except type(error):
            return delays
        clock.advance(delays[-1])
    raise AssertionError("it never ends")


CONFIGS = st.builds(
    lambda attempts, elapsed, base, more, jitter: RetryConfig(attempts, elapsed, base, base + more, jitter),
    st.integers(1, 12),
    st.floats(0.0, 500.0),
    st.floats(0.0, 5.0),
    st.floats(0.0, 20.0),
    st.floats(0.0, 1.0),
)


@given(CONFIGS, st.floats(0.0, 30.0))
def test_bounds(config, work):
    """Attempts, time since the first failure, and every delay stay within the configuration."""
    clock = ManualClock()
    budget = RetryBudget(config, clock)
    delays = spend(budget, clock, work=work)
    assert budget.attempts == 1 + len(delays) <= config.max_attempts
    assert sum(delays) + work * max(0, len(delays) - 1) <= config.max_elapsed + 1e-6
    for number, delay in enumerate(delays):
        plain = min(config.max_delay, config.base_delay * 2**number)
        assert plain * (1 - config.jitter) - 1e-9 <= delay <= min(config.max_delay, plain * (1 + config.jitter)) + 1e-9


def test_no_retry(clock):
    """One attempt means no retry."""
    with pytest.raises(APIConnectionError):
        RetryBudget(RetryConfig(max_attempts=1), clock).delay(LOST)


def test_delays_double(clock):
    """Without jitter the delays double up to the longest."""
    config = RetryConfig(max_attempts=7, base_delay=1.0, max_delay=6.0, jitter=0.0)
    assert spend(RetryBudget(config, clock), clock) == [1.0, 2.0, 4.0, 6.0, 6.0, 6.0]


def test_endless_failures_stay_cheap(clock):
    """Polls may fail thousands of times where the configuration sets no time."""
    budget = RetryBudget(RetryConfig(max_elapsed=float("inf"), jitter=0.0), clock)
    assert {budget.delay(LOST, attempt=False) for _ in range(3000)} == {0.5, 1.0, 2.0, 4.0, 8.0, 10.0}


def test_polls_are_no_attempts(clock):
    """A failed look at a result spends time, not attempts."""
    budget = RetryBudget(RetryConfig(max_attempts=1, max_elapsed=60.0, jitter=0.0), clock)
    delays = spend(budget, clock, attempt=False)
    assert sum(delays) <= 60.0
    assert budget.attempts == 1


@given(st.floats(0.0, 100.0), st.floats(0.0, 1.0))
def test_retry_after(told, jitter):
    """The server's word, of a minute at most, is a lower bound, which no jitter undercuts."""
    budget = RetryBudget(RetryConfig(jitter=jitter), ManualClock())
    assert budget.delay(failed(503, retry_after=told)) >= min(told, 60.0)


def test_retry_after_beyond_the_time(clock):
    """A pause that would end after the budget ends with it, for one last attempt."""
    budget = RetryBudget(RetryConfig(max_elapsed=10.0, base_delay=0.5, jitter=0.0), clock)
    assert budget.delay(failed(503, retry_after=11.0)) == 10.0
    clock.advance(10.0)
    with pytest.raises(type(failed(503))):
        budget.delay(failed(503, retry_after=11.0))


def test_pauses_are_not_counted(clock):
    """Time the server asked for is not spent, attempts neither."""
    budget = RetryBudget(RetryConfig(max_elapsed=10.0, jitter=0.0), clock)
    budget.delay(LOST)
    for _ in range(10):
        clock.advance(60.0)
        budget.paused(60.0)
    clock.advance(8.0)
    assert budget.delay(LOST) == 1.0
    clock.advance(2.0)
    with pytest.raises(APIConnectionError):
        budget.delay(LOST)


def test_rate_limited_polls_are_pauses(clock):
    """A 429 to a poll asks for a pause: neither its Retry-After nor the time it takes is spent."""
    budget = RetryBudget(RetryConfig(max_elapsed=10.0, jitter=0.0), clock)
    for _ in range(10):
        clock.advance(budget.pause(failed(429, retry_after=60.0)))
    assert budget.delay(failed(429, retry_after=60.0), attempt=True) == 10.0
    clock.advance(10.0)
    with pytest.raises(type(failed(429))):
        budget.delay(failed(429, retry_after=60.0), attempt=True)


def test_time_counts_from_the_first_failure(clock):
    """Hours of good service before it do not count, and a pause before it is none of it."""
    budget = RetryBudget(RetryConfig(max_elapsed=10.0), clock)
    clock.advance(5000.0)
    budget.paused(100.0)
    budget.delay(LOST)
    clock.advance(10.1)
    with pytest.raises(APIConnectionError):
        budget.delay(LOST)


def test_recovered(clock):
    """After something has worked, delay and time begin anew; attempts stay spent."""
    budget = RetryBudget(RetryConfig(max_attempts=4, max_elapsed=10.0, jitter=0.0), clock)
    assert [budget.delay(LOST), budget.delay(LOST)] == [0.5, 1.0]
    budget.recovered()
    clock.advance(100.0)
    assert budget.delay(LOST) == 0.5
    with pytest.raises(APIConnectionError):
        budget.delay(LOST)
    assert budget.attempts == 4


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 413, 422])
def test_final_statuses(clock, status):
    """What would fail again is raised, unless the caller knows better."""
    budget = RetryBudget(RetryConfig(), clock)
    with pytest.raises(type(failed(status))) as caught:
        budget.delay(failed(status))
    assert caught.value.status == status
    assert budget.delay(failed(status), retry=True) > 0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 599])
def test_transient_statuses(clock, status):
    """What may pass is tried again, unless the caller knows better."""
    assert RetryBudget(RetryConfig(), clock).delay(failed(status)) > 0
    with pytest.raises(type(failed(status))):
        RetryBudget(RetryConfig(), clock).delay(failed(status), retry=False)


def test_transient():
    """Lost connections and missing answers are transient; unreadable answers, failures and our own errors are not."""
    assert is_transient(LOST)
    assert is_transient(APITimeoutError("late"))
    assert not is_transient(APIResponseError("garbage"))
    assert not is_transient(RequestFailedError("failed", category="server"))
    assert not is_transient(ValueError("wrong"))


@pytest.mark.parametrize(("status", "told"), [(500, False), (400, True)])
def test_the_server_decides(status, told):
    """The server's own word on a retry overrules the rule."""
    error = failed(status)
    error.should_retry = told
    assert is_transient(error) is told
