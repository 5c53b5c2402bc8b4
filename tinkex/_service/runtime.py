"""The service's runtime in one process: its threads, connections, API client, session and sampling context.

Its parts are put together here; what they do is in their own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from tinkex._api.auth import Auth
from tinkex._api.client import Api
from tinkex._api.session import Session
from tinkex._concurrency.clock import Clock
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._concurrency.worker_pool import WorkerPool
from tinkex._runtime.reactor import Reactor
from tinkex._runtime.task import Coroutine, ScheduledTask, Scheduler
from tinkex._sampling.context import SamplingContext
from tinkex._sampling.observers import ObserverNotifier
from tinkex._sampling.session import Model, SamplingSession
from tinkex._service.telemetry_sender import TelemetrySender
from tinkex._transport.connection_pool import ConnectionPool
from tinkex._transport.dial import Dialer, make_dialer
from tinkex._transport.exchange import Transport
from tinkex._transport.receiving import ReceiveBudget
from tinkex.config import ClientConfig
from tinkex.future import ClientFuture
from tinkex.queue_state import QueueStateObserver

T = TypeVar("T")

_CONNECTING_THREADS = 20
_POLLING_THREADS = 64  # where polls need threads: through a requests adapter


class ServiceRuntime:
    """Runtime of one service in one process: built on first use, anew in a forked child."""

    def __init__(
        self, config: SnapshotCell[ClientConfig], observers: Iterable[QueueStateObserver], clock: Clock, name: str
    ) -> None:
        first = config.current
        self.clock = clock
        self.workers: WorkerPool = WorkerPool(first.workers, f"{name}-worker")
        self.reactor: Reactor = Reactor(clock, f"{name}-reactor", self.workers.watch)
        self.workers.watched_by(self.reactor.wake)
        self.scheduler: Scheduler = Scheduler(self.workers, self.reactor)
        self.callbacks: ElasticPool = ElasticPool(first.callback_workers, f"{name}-callback")
        connecting = ElasticPool(_CONNECTING_THREADS, f"{name}-connect")
        polling = ElasticPool(_POLLING_THREADS, f"{name}-poll")
        self.pools: tuple[ElasticPool, ElasticPool, ElasticPool] = (self.callbacks, connecting, polling)
        self.dialer: Dialer = make_dialer(first)
        self.connections: ConnectionPool = ConnectionPool(
            self.dialer, self.reactor, connecting, clock, most=first.max_connections,
            most_idle=first.max_idle_connections, busiest=2 * first.workers,
        )  # fmt: skip
        receiving = ReceiveBudget(
            lambda: config.current.max_response_bytes + config.current.inflight_response_bytes,
        )
        transport = Transport(
            self.dialer, self.connections, connecting, polling, clock, self.workers.waiting, receiving
        )
        auth = Auth(self.scheduler, connecting, clock, config)
        self.api: Api = Api(transport, auth, self.scheduler, clock, config)
        self.session: Session = Session(self.api)
        self.telemetry: TelemetrySender = TelemetrySender(self.api, self.session)
        notifier = ObserverNotifier(observers, self.callbacks, clock)
        self.sampling: SamplingContext = SamplingContext(self.api, self.session.flags, notifier, self.telemetry.report)

    def start(self) -> None:
        """Start a worker and the reactor, which starts further ones; may be called again where it failed on the way."""
        self.workers.start()
        self.reactor.start()

    def run(
        self, coroutine: Callable[[], Coroutine[T]], deadline: float, on_deadline: Callable[[], BaseException]
    ) -> ClientFuture[T]:
        """Run `coroutine` as a task of its own; `on_deadline` makes the error of one that has not ended by then."""
        future: ClientFuture[T] = ClientFuture(self.callbacks)
        task = ScheduledTask(self.scheduler, coroutine, future)
        task.on_deadline = on_deadline
        future._on_cancel(task)  # noqa: SLF001
        self.scheduler.launch(task, deadline)
        return future

    def sampling_session(
        self, sampling_session_id: str, *, original: bool, record_stability_info: bool, model: Model | None
    ) -> SamplingSession:
        """A sampling session for use by this process; `original` where this process created it."""
        return SamplingSession(
            self.sampling, self.session, sampling_session_id, original=original,
            record_stability_info=record_stability_info, model=model,
        )  # fmt: skip

    def stop(self) -> None:
        """End all threads and connections; tasks still alive are cancelled."""
        self.sampling.admission.close()
        self.scheduler.stop()
        self.connections.close()
        self.workers.shutdown()
        self.reactor.stop()
        for pool in self.pools:
            pool.stop()
        self.dialer.close()

    def join(self, seconds: float) -> None:
        """Wait a moment, after `stop`, until the workers have released what they held."""
        self.workers.join(seconds)

    def forked(self) -> None:
        """In a child: nothing here runs. Fail the futures, run the `finally` clauses, close our copies of the sockets.

        First of all no part starts anything any more: the `finally` clauses would resume other tasks.
        """
        for threads in (self.workers, *self.pools):
            threads.forked()
        self.reactor.forked()
        self.connections.forked()
        self.dialer.forked()
        tasks = self.scheduler.live
        for task in tasks:
            task.reopen()
        for task in tasks:
            task.forked()
