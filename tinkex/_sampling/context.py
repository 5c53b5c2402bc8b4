"""The sampling context: what the samples of one service share, and the policies that hold for all of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tinkex._api.client import Api
from tinkex._api.flags import Flags
from tinkex._concurrency.clock import Clock
from tinkex._concurrency.fork_locks import new_lock
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._logging import RetryLog
from tinkex._runtime.byte_semaphore import ByteSemaphore
from tinkex._runtime.task import Scheduler
from tinkex._sampling.admission import Admission
from tinkex._sampling.cancellations import Cancellations
from tinkex._sampling.observers import ObserverNotifier
from tinkex.types import SampleResponse, Usage

logger = logging.getLogger("tinkex")

_BILLING_MEMORY = 300.0  # seconds after the last 402 until the next one begins a new series


class SampleCounters:
    """Counters of the samples that have ended. Safe to share."""

    __slots__ = ("_lock", "completed", "failed", "prompt_tokens", "sampled_tokens")

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards the totals; a signal handler may cancel a sample where another is
        self.completed: int = 0
        self.failed: int = 0
        self.prompt_tokens: int = 0
        self.sampled_tokens: int = 0

    def count_failures(self, number: int) -> None:
        """Count samples that ended with an error, or cancelled; a negative number takes some back."""
        with self._lock:
            self.failed += number

    def complete(self, usage: Usage | None) -> None:
        """Count a sample that has its result."""
        with self._lock:
            self.completed += 1
            if usage is not None:
                self.prompt_tokens += usage.prompt_tokens
                self.sampled_tokens += usage.sampled_tokens


class SamplingContext:
    """Shared state and policies of all samples of one service in one process. Safe to share."""

    def __init__(
        self,
        api: Api,
        flags: SnapshotCell[Flags],
        observers: ObserverNotifier,
        report_error: Callable[[BaseException], None],
    ) -> None:
        self.api = api
        self._flags = flags
        self.clock: Clock = api.clock
        self.scheduler: Scheduler = api.scheduler
        self.observers = observers
        self.admission: Admission = Admission(api.scheduler, api.clock, self._admission_limits)
        self.response_bytes: ByteSemaphore = ByteSemaphore(self._response_bytes_limit)
        self.retry_log: RetryLog = RetryLog(api.clock, lambda: api.config.current.queue_log_interval)
        self.cancellations: Cancellations = Cancellations(api, lambda: flags.current.sample_cancel_max_batch_size)
        self.counters: SampleCounters = SampleCounters()
        # Guards moves of sampling clients to this context, after a fork, and who renews them.
        self.joining: threading.Lock = new_lock()
        self._report_error = report_error
        self._billing_since: float | None = None
        self._billing_last = float("-inf")

    @property
    def no_retries(self) -> bool:
        """Whether the server asks its clients not to retry."""
        return self._flags.current.sample_no_retries

    def may_wait_for_billing(self, wait: float) -> bool:
        """Whether a 402 is sat out: for `wait` seconds, or the server's own limit, after the first of a series."""
        now = self.clock.monotonic()
        if self._billing_since is None or now - self._billing_last > _BILLING_MEMORY:
            self._billing_since = now
            logger.warning(
                "The server asks for payment (402). Samples wait up to %.0f s; check the account's billing.", wait
            )
        self._billing_last = now
        limit = min(wait, self._flags.current.billing_exception_max_pause_duration_sec)
        return now - self._billing_since < limit

    def credential_changed(self) -> None:
        """Try at once what is sent with another credential: pauses were asked of the last one."""
        self._billing_since = None
        self.admission.lift_pause()

    def poll_together(self) -> bool:
        """Whether to poll through the session poller: the server offers it, and more samples wait than workers run.

        It slows a lone sample, and is the cheapest way for many.
        """
        workers = self.scheduler.workers.count
        return self.admission.in_flight > workers and self._flags.current.sample_use_retrieve_futures

    def cancel_on_server(self, request_id: str) -> None:
        """Cancel a request on the server, where it offers that."""
        if self._flags.current.sample_cancel_enabled:
            self.cancellations.add(request_id)

    def completed(self, response: SampleResponse) -> None:
        """Count a sample that has its result."""
        self.counters.complete(response.usage)

    def failed(self, error: BaseException) -> None:
        """Report the error that a sample ends with."""
        self._report_error(error)

    def _admission_limits(self) -> tuple[int, int, int]:
        config, flags = self.api.config.current, self._flags.current
        in_flight = config.max_in_flight
        if flags.sample_max_concurrent_requests > 0 and not flags.sample_use_retrieve_futures:
            in_flight = min(in_flight, flags.sample_max_concurrent_requests)
        return in_flight, config.max_queued, flags.sample_dispatch_bytes_semaphore_size

    def _response_bytes_limit(self) -> int:
        ours = self.api.config.current.inflight_response_bytes
        return min(ours, self._flags.current.inflight_response_bytes_semaphore_size)
