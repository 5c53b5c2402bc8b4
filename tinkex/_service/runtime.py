"""Everything of a service that runs: threads, connections, limits, the session. Built on first use, anew after a fork.

This is where the parts are put together; what they do is in their own modules.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

from tinkex import _wire
from tinkex._api.auth import Auth
from tinkex._api.client import Api
from tinkex._api.endpoints import TELEMETRY
from tinkex._api.session import Session
from tinkex._concurrency.clock import Clock
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.fork_locks import new_lock
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._concurrency.worker_pool import WorkerPool
from tinkex._identity import PROTOCOL_VERSION
from tinkex._logging import RetryLog
from tinkex._runtime.byte_semaphore import ByteBudget
from tinkex._runtime.reactor import Waiter
from tinkex._runtime.task import Job, Jobs, Sleep, Story
from tinkex._sampling.admission import Admission
from tinkex._sampling.cancellations import Cancellations
from tinkex._sampling.session import Sampler
from tinkex._service.observers import Announcer
from tinkex._transport.connection_pool import ConnectionPool
from tinkex._transport.dial import make_dialer
from tinkex._transport.exchange import Transport
from tinkex.config import ClientConfig
from tinkex.errors import TinkexError
from tinkex.future import ClientFuture
from tinkex.queue_state import QueueState, QueueStateObserver
from tinkex.telemetry import Telemetry
from tinkex.types import SampleResponse, ServiceStats, Usage

T = TypeVar("T")
logger = logging.getLogger("tinkex")

_CONNECTING_THREADS = 20
_POLLING_THREADS = 64  # where polls need threads: through a requests adapter
_TELEMETRY_SECONDS = 10.0
_TELEMETRY_TIMEOUT = 5.0
_BILLING_MEMORY = 300.0


class Counters:
    """Sums over all samples that have ended."""

    __slots__ = ("_lock", "completed", "failed", "prompt_tokens", "sampled_tokens")

    def __init__(self) -> None:
        self._lock = new_lock()  # guards the sums
        self.completed = self.failed = self.prompt_tokens = self.sampled_tokens = 0

    def add(self, usage: Usage | None, *, failed: bool) -> None:
        """Count one more."""
        with self._lock:
            self.failed += failed
            self.completed += not failed
            if usage is not None:
                self.prompt_tokens += usage.prompt_tokens
                self.sampled_tokens += usage.sampled_tokens


class Machine:
    """One process's working parts of one service. It implements `Surroundings` for the samples."""

    def __init__(
        self, config: SnapshotCell[ClientConfig], observers: Iterable[QueueStateObserver], clock: Clock, name: str,
    ) -> None:  # fmt: skip
        first = config.current
        self.config = config
        self.clock = clock
        self.workers = WorkerPool(first.workers, f"{name}-worker")
        self.waiter = Waiter(clock, f"{name}-waiter")
        self.jobs = Jobs(self.workers, self.waiter)
        self.callbacks = ElasticPool(first.callback_workers, f"{name}-callback")
        self.dialing = ElasticPool(_CONNECTING_THREADS, f"{name}-connect")
        self._dialer = self.dialer = dialer = make_dialer(first)
        self.connections = ConnectionPool(
            dialer, self.waiter, self.dialing, clock, most=first.max_connections, most_idle=first.max_idle_connections,
            busiest=2 * first.workers,
        )  # fmt: skip
        self.auth = Auth(self.jobs, self.dialing, clock, config)
        self.polling = ElasticPool(_POLLING_THREADS, f"{name}-poll")
        transport = Transport(dialer, self.connections, self.dialing, self.polling, clock, self.workers.waiting)
        self.api = Api(transport, self.auth, clock, first)
        self.session = Session(self.jobs, self.api, self.auth, clock, config)
        self.cancellations = Cancellations(
            self.jobs, self.api, clock, lambda: config.current,
            lambda: self.session.flags.current.sample_cancel_max_batch_size,
        )  # fmt: skip
        self.admission = Admission(self.workers, self.waiter, clock, self._limits)
        self.response_bytes = ByteBudget(self._response_limit)
        self._announcer = Announcer(observers, self.callbacks, clock)
        self.retries = RetryLog(clock, lambda: config.current.queue_log_interval)
        self._counters = Counters()
        self._billing_since: float | None = None
        self._billing_last = float("-inf")
        self._flushing = False
        self.moving = new_lock()  # guards a sampling client's move to this machine, and the making of telemetry
        self.telemetry: Telemetry | None = None

    def start(self) -> None:
        """Start the waiter, which starts the workers: one thread start on the caller's time."""
        self.waiter.start(self.workers.start)

    # --- what clients ask for -----------------------------------------------------------------------------------------

    def run(
        self, story: Callable[[], Story[T]], deadline: float, on_deadline: Callable[[], BaseException]
    ) -> ClientFuture[T]:
        """Have `story` told as a job of its own."""
        future: ClientFuture[T] = ClientFuture(self.callbacks)
        job = Job(self.jobs, story, future)
        job.on_deadline = on_deadline
        future.on_cancel(job.interrupt)
        self.jobs.launch(job, deadline)
        return future

    def sampler(self, sampling_session_id: str, *, original: bool, record_stability_info: bool) -> Sampler:
        """The use of a sampling session by this process."""
        return Sampler(
            sampling_session_id, original=original, record_stability_info=record_stability_info, machine=self,
            jobs=self.jobs, api=self.api, clock=self.clock, session=self.session, config=lambda: self.config.current,
        )  # fmt: skip

    def stats(self) -> ServiceStats:
        """How things are; never blocks."""
        now = self.clock.monotonic()
        admission, counters, heard_at = self.admission, self._counters, self.session.heard_at
        phases = [getattr(job.future, "phase", None) for job in tuple(self.jobs.live)]
        paused_for = max(0.0, admission.paused_until - now)
        return ServiceStats(
            in_flight=admission.in_flight,
            queued=phases.count("queued"),
            submitting=phases.count("submitting"),
            waiting=phases.count("waiting"),
            fetching=phases.count("fetching"),
            retrying=phases.count("retrying"),
            last_failure=self.retries.last or self.api.last_failure or None,
            paused_for=paused_for,
            paused_reason=admission.paused_reason if paused_for else None,
            prompt_tokens=counters.prompt_tokens,
            sampled_tokens=counters.sampled_tokens,
            completed=counters.completed,
            failed=counters.failed,
            connections=self.connections.open,
            threads=1 + self.workers.count + self.callbacks.threads + self.dialing.threads + self.polling.threads,
            last_heartbeat=None if heard_at is None else now - heard_at,
        )

    def stop(self) -> None:
        """End all threads and connections; jobs still alive are interrupted."""
        self.admission.close()
        self.jobs.stop()
        self.connections.close()
        self.workers.shutdown()
        self.waiter.stop()
        self.callbacks.stop()
        self.dialing.stop()
        self.polling.stop()
        self._dialer.close()

    def join(self, seconds: float) -> None:
        """Wait a moment, after `stop`, until the workers have given back what they had."""
        self.workers.join(seconds)

    def forked(self) -> None:
        """In a child: nothing here runs. Fail the futures, run the `finally` clauses, close our copies of the sockets.

        First of all no part starts anything any more: the `finally` clauses would wake those who stand in line.
        """
        for threads in (self.workers, self.callbacks, self.dialing, self.polling):
            threads.forked()
        self.waiter.forked()
        self.connections.forked()
        self._dialer.forked()
        jobs = self.jobs.live
        for job in jobs:
            job.reopen()
        for job in jobs:
            job.forked()

    # --- what samples ask for (Surroundings) --------------------------------------------------------------------------

    def announce(
        self,
        sampling_session_id: str,
        request_id: str | None,
        state: QueueState,
        reason: str | None,
        observers: tuple[QueueStateObserver, ...],
    ) -> None:
        """Tell the observers about the server's queue."""
        self._announcer.announce(sampling_session_id, request_id, state, reason, observers)

    @property
    def no_retries(self) -> bool:
        """Whether the server asks its clients not to retry."""
        return self.session.flags.current.sample_no_retries

    def may_wait_for_billing(self, wait: float) -> bool:
        """Whether a 402 may be sat out: for `wait` seconds, or the server's own limit, after the first of a series."""
        now = self.clock.monotonic()
        if self._billing_since is None or now - self._billing_last > _BILLING_MEMORY:
            self._billing_since = now
            logger.warning(
                "The server asks for payment (402). Samples wait up to %.0f s; check the account's billing.", wait
            )
        self._billing_last = now
        limit = min(wait, self.session.flags.current.billing_exception_max_pause_duration_sec)
        return now - self._billing_since < limit

    def poll_together(self) -> bool:
        """Whether the session poller is offered and pays: it slows a lone sample, and is the cheapest way for many."""
        return self.admission.in_flight > self.workers.count and self.session.flags.current.sample_use_retrieve_futures

    def forget(self, request_id: str) -> None:
        """Tell the server that nobody wants a result any more, where it lets us."""
        if self.session.flags.current.sample_cancel_enabled:
            self.cancellations.add(request_id)

    def ended(self, response: SampleResponse | None, error: BaseException | None) -> None:
        """Keep count, and report an error."""
        self._counters.add(None if response is None else response.usage, failed=response is None)
        if error is not None and self.telemetry is not None and self.config.current.telemetry:
            self.telemetry.log_exception(error)

    # --- in the background --------------------------------------------------------------------------------------------

    def begin_telemetry(self) -> None:
        """Report to the server from now on, if the configuration allows."""
        with self.moving:
            if self.telemetry is not None or not self.config.current.telemetry:
                return
            session_id = self.session.session_id
            self.telemetry = telemetry = Telemetry(
                session_id=session_id, sdk_version=PROTOCOL_VERSION, clock=self.clock
            )
        telemetry.on_event = self._flush_soon
        if self.session.created_here:
            telemetry.session_start()

    def flush(self, seconds: float) -> Story[None]:
        """Post what telemetry has, as far as `seconds` reach."""
        until = self.clock.monotonic() + seconds
        while (
            self.telemetry is not None
            and self.config.current.telemetry
            and (left := until - self.clock.monotonic()) > 0
        ):
            batch = self.telemetry.take_batch()
            if batch is None:
                return
            try:
                yield from self.api.call(
                    TELEMETRY, _wire.encode_json(batch), self.config.current, seconds=min(_TELEMETRY_TIMEOUT, left)
                )
            except TinkexError as error:
                logger.debug("Telemetry was not taken: %s", error)
                return

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.jobs.start(self._flush, Future())

    def _flush(self) -> Story[None]:
        try:
            yield Sleep(self.clock.monotonic() + _TELEMETRY_SECONDS)
        finally:
            self._flushing = False
        yield from self.flush(_TELEMETRY_SECONDS)

    def _limits(self) -> tuple[int, int, int]:
        config, flags = self.config.current, self.session.flags.current
        in_flight = config.max_in_flight
        if flags.sample_max_concurrent_requests > 0 and not flags.sample_use_retrieve_futures:
            in_flight = min(in_flight, flags.sample_max_concurrent_requests)
        return in_flight, config.max_queued, flags.sample_dispatch_bytes_semaphore_size

    def _response_limit(self) -> int:
        return min(
            self.config.current.inflight_response_bytes,
            self.session.flags.current.inflight_response_bytes_semaphore_size,
        )
