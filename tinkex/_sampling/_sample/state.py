"""State of one sample: what was asked for, how far it has come, what is noted and told of it."""

from __future__ import annotations

from typing import Any

from tinkex._api.responses import Response
from tinkex._api.retry import UNSPENT, RetryBudget
from tinkex._runtime.task import Coroutine, Sleep
from tinkex._sampling.session import SamplingSession
from tinkex.config import ClientConfig, RetryConfig
from tinkex.errors import APIError
from tinkex.future import SampleFuture
from tinkex.queue_state import QueueState, QueueStateObserver
from tinkex.types import SampleRequest

_NO_RETRY = RetryConfig(max_attempts=1)


class SampleState:
    """State of one sample, in the thread of its task; its future tells the caller."""

    __slots__ = (
        "_config", "_fetching_since", "_moves", "_observers", "_polls", "_quick", "_reference", "_retry",
        "_retry_config", "future", "may_have_run", "request", "session", "started_at",
    )  # fmt: skip

    def __init__(
        self,
        session: SamplingSession,
        request: SampleRequest,
        config: ClientConfig,
        future: SampleFuture[Any],
        retry: RetryConfig,
        observers: tuple[QueueStateObserver, ...],
        reference: object,
    ) -> None:
        context = session.context
        self.session = session
        self.request = request
        self.future = future
        self._config = config
        self._observers = observers
        self._retry_config = _NO_RETRY if context.no_retries else retry
        self._retry = UNSPENT
        self._moves = 0
        self._reference = reference  # a sample keeps alive the client it was asked of
        self.started_at = context.clock.monotonic()
        self.may_have_run = False  # whether something was sent that the server may have acted on without an answer

    def _complete(self, error: APIError) -> None:
        """Add to an error what only the sample knows."""
        future = self.future
        error.request_id = error.request_id or future.request_id
        error.phase = error.phase or future.phase
        error.may_have_run = error.may_have_run or self.may_have_run or future.request_id is not None

    def _budget(self) -> RetryBudget:
        """This sample's own retry budget, made at its first failure: most need none."""
        if self._retry is UNSPENT:
            self._retry = RetryBudget(self._retry_config, self.session.context.clock)
        return self._retry

    def _back_off(self, error: Exception, *, attempt: bool, retry: bool | None = None) -> Coroutine[None]:
        """Wait before going on after `error`, or raise it."""
        return self._sit_out(error, self._budget().delay(error, attempt=attempt, retry=retry))

    def _sit_out(self, error: Exception, delay: float) -> Coroutine[None]:
        phase, self.future.phase = self.future.phase, "retrying"
        self._note_failure(error, delay, phase)
        yield Sleep(self.session.context.clock.monotonic() + delay)
        self.future.phase = phase

    def _note_failure(self, error: Exception, delay: float, phase: str, *, quiet: bool = False) -> None:
        future, context = self.future, self.session.context
        future.last_failure = failure = context.api.masked(str(error))
        session = self.session.sampling_session_id
        attempts = self._retry.attempts
        context.retry_log.note(session, future.request_id, phase, attempts, delay, failure, quiet=quiet)
        future._note_retry(error, phase, attempts, delay, quiet)  # noqa: SLF001

    def _note_answer(self, response: Response) -> None:
        self.future.last_heard = self.session.context.clock.monotonic()
        self.future.last_status = response.status

    def _note_queue(self, state: QueueState, reason: str | None) -> None:
        reason = reason and self.session.context.api.masked(reason)
        self.future.queue_state = state
        self.future.queue_state_reason = reason
        self._notify_observers(state, reason)
        self.future._note_queue(state, reason)  # noqa: SLF001

    def _notify_observers(self, state: QueueState, reason: str | None) -> None:
        session = self.session
        session.context.observers.notify(
            session.sampling_session_id, self.future.request_id, state, reason, self._observers
        )
