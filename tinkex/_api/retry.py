"""Retries: whether a failure is transient, how many attempts and how much time are left, how long to back off.

The only module that imports tenacity.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tinkex._api import limits
from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock
from tinkex._concurrency.jitter import uniform
from tinkex.config import RetryConfig
from tinkex.errors import APIConnectionError, APIError, APIStatusError

if TYPE_CHECKING:
    import tenacity

_MOST_DOUBTS = 3


class _Strategies:
    """The strategies of tenacity that a policy stands for."""

    def __init__(self, config: RetryConfig) -> None:
        import tenacity

        self.wait = tenacity.wait_exponential(multiplier=config.base_delay, max=config.max_delay, exp_base=2)
        self.retry = tenacity.retry_if_exception(is_transient)
        self._most = config.max_attempts

    def stop(self, state: tenacity.RetryCallState) -> bool:
        """Whether this is the end. tenacity's own stop_after_delay reads the real clock; a sleep below 0 says it."""
        return state.attempt_number >= self._most or state.upcoming_sleep < 0


_strategies = functools.lru_cache(maxsize=32)(_Strategies)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may be sent again: lost connections, no answer, 408, 409, 425, 429 and 5xx.

    The server's own `x-should-retry` overrules it.
    """
    if isinstance(error, APIStatusError):
        if error.should_retry is not None:
            return error.should_retry
        return error.status in (408, 409, 425, 429) or error.status >= 500
    return isinstance(error, APIConnectionError)


class RetryBudget:
    """Retry budget of one call or sample: the attempts and the time that it may spend on failures.

    Time counts from the first failure, and pauses that the server asks for (`pause`) are not counted.
    """

    __slots__ = ("_clock", "_config", "_first_failure", "_paused", "attempts", "doubts", "failures")

    def __init__(self, config: RetryConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._first_failure: float | None = None
        self._paused = 0.0
        self.attempts = 1
        self.failures = 0
        self.doubts = 0  # polls in a row whose answer another poll may contradict

    def delay(self, error: Exception, *, attempt: bool = True, retry: bool | None = None) -> float:
        """Seconds to wait before going on after `error`; raises `error` where this is the end.

        `attempt` says whether what failed was an attempt (a submission) or only a look at one (a poll); `retry`
        overrules the rule for which errors are transient.
        """
        strategies, state = self._fail(error)
        delay = _jittered(strategies.wait(state), self._config)
        left = self._config.max_elapsed - self._elapsed()
        state.attempt_number = self.attempts if attempt else 0
        state.upcoming_sleep = left - delay  # below 0 where that would be too late
        delay = max(delay, min(_asked(error), left))  # however long the server asks, one last look is in time
        again = strategies.retry(state) if retry is None else retry
        if not again or strategies.stop(state):
            raise error
        self.attempts += attempt
        return delay

    def doubt(self, error: APIError) -> float:
        """Seconds to wait after a poll whose answer another one may contradict; raises `error` where three have not."""
        self.doubts += 1
        return self.delay(error, attempt=False, retry=self.doubts <= _MOST_DOUBTS)

    def pause(self, error: APIStatusError) -> float:
        """Seconds to wait after a 429 that is a pause and no failure: the time of failures begins anew.

        Pauses that follow each other grow as delays do.
        """
        strategies, state = self._fail(error)
        delay = max(_jittered(strategies.wait(state), self._config), _asked(error))
        self._first_failure, self._paused = None, 0.0
        return delay

    def _fail(self, error: Exception) -> tuple[_Strategies, tenacity.RetryCallState]:
        import tenacity

        self.failures += 1
        no_call: Any = None  # the strategies are used, the loop around a call is ours
        state = tenacity.RetryCallState(no_call, None, (), {})
        state.set_exception((type(error), error, error.__traceback__))
        state.attempt_number = self.failures
        return _strategies(self._config), state

    def recovered(self) -> None:
        """A request succeeded: the next failure counts as a first one, for delay and clock. Attempts stay spent."""
        self.failures = self.doubts = 0
        self._first_failure = None
        self._paused = 0.0

    def paused(self, seconds: float) -> None:
        """Leave a pause that the server asked for out of the account."""
        if self._first_failure is not None:
            self._paused += seconds

    def _elapsed(self) -> float:
        now = self._clock.monotonic()
        if self._first_failure is None:
            self._first_failure = now
        return now - self._first_failure - self._paused


def _asked(error: Exception) -> float:
    """Seconds that the server asks to wait."""
    return limits.RETRY_PAUSE.apply((isinstance(error, APIStatusError) and error.retry_after) or 0.0)


def _jittered(delay: float, config: RetryConfig) -> float:
    return min(config.max_delay, delay * (1 + config.jitter * uniform(-1, 1)))


UNSPENT = RetryBudget(RetryConfig(max_attempts=1), SYSTEM_CLOCK)
"""Null budget of what has not failed yet: it is never spent."""
