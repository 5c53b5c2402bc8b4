"""What the story of a sample needs of the service it is told in."""

from __future__ import annotations

from typing import Protocol

from tinkex._api.client import Api
from tinkex._concurrency.clock import Clock
from tinkex._logging import RetryLog
from tinkex._runtime.byte_semaphore import ByteBudget
from tinkex._sampling.admission import Admission
from tinkex.queue_state import QueueState, QueueStateObserver
from tinkex.types import SampleResponse


class Surroundings(Protocol):
    """What all samples of one service share, as far as their stories go."""

    api: Api
    admission: Admission
    response_bytes: ByteBudget
    clock: Clock
    retries: RetryLog

    @property
    def no_retries(self) -> bool:
        """Whether the server asks its clients not to retry."""

    def announce(
        self,
        sampling_session_id: str,
        request_id: str | None,
        state: QueueState,
        reason: str | None,
        observers: tuple[QueueStateObserver, ...],
    ) -> None:
        """Tell the service's observers, and these, what the server says of its queue."""

    def may_wait_for_billing(self, wait: float) -> bool:
        """Whether a 402 may be sat out by somebody who would do so for `wait` seconds."""

    def poll_together(self) -> bool:
        """Whether to wait through the session poller: the server has one, and it pays."""

    def forget(self, request_id: str) -> None:
        """Tell the server that nobody wants the result any more."""

    def ended(self, response: SampleResponse | None, error: BaseException | None) -> None:
        """Keep count."""
