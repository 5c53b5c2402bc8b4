"""Lifecycle of a service: configuration, start, fork, close, interpreter exit, garbage collection.

A service's threads hold the lifecycle, never the ServiceClient: a client that is dropped can be collected.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import itertools
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from tinkex._concurrency.clock import Clock
from tinkex._concurrency.fork_locks import new_lock, reopen_all
from tinkex._concurrency.instrumentation_list import InstrumentationList
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._runtime.host_checks import check_threads, patched_by
from tinkex._runtime.task import Coroutine
from tinkex._service.runtime import ServiceRuntime
from tinkex._service.shutdown import (
    FINISH_SECONDS,
    HASTY_FINISH_SECONDS,
    Shutdown,
    begin_finish_requests,
    fail_all,
    finish_requests,
)
from tinkex._validation.arguments import check_timeout
from tinkex.config import ClientConfig, validate_changes
from tinkex.errors import APITimeoutError, ClientClosedError, NoThreadsError
from tinkex.future import ClientFuture
from tinkex.queue_state import QueueStateLogger, QueueStateObserver

if TYPE_CHECKING:
    from tinkex.types import Health, ServiceStats

T = TypeVar("T")
logger = logging.getLogger("tinkex")
logger.addHandler(logging.NullHandler())

_numbers = itertools.count(1)
_lifecycles: weakref.WeakValueDictionary[int, ServiceLifecycle] = weakref.WeakValueDictionary()


class ServiceLifecycle:
    """Configuration and runtime of one service. The runtime is built on first use, and anew in a forked child."""

    def __init__(self, config: ClientConfig, observers: Iterable[QueueStateObserver], clock: Clock) -> None:
        self.config: SnapshotCell[ClientConfig] = SnapshotCell(config)
        self._clock = clock
        self._logger = QueueStateLogger(config.queue_log_interval, clock)
        self._observers = (self._logger, *observers)
        self.instrumentations: InstrumentationList = InstrumentationList()
        number = next(_numbers)
        self._name = f"tinkex-{number}"
        self._lock = new_lock()  # guards building and dropping the runtime, and `closed`
        self._shutdown: Shutdown | None = None
        self._runtime: ServiceRuntime | None = self._build()
        self._started = False
        self._reached = False  # whether the server answered before a fork
        self._pid = os.getpid()
        self._patched_by = patched_by()
        self._holds: set[object] = set()  # one of each reference
        self._releasing = False
        self.closed: bool = False
        _lifecycles[number] = self

    def hold(self, held: object) -> bool:
        """Keep the service for a new reference, until `release`; False where it ends, or has ended.

        Neither this nor `release` takes a lock: a reference may be collected at any line. A hold is added before
        `_releasing` is looked at, and `_releasing` is set before the holds are: one of the two sees the other.
        """
        self._holds.add(held)
        if not self._releasing and not self.closed:
            return True
        self.release(held)
        return False

    def release(self, held: object) -> bool:
        """End the service in the background if no other reference holds it; whether that ends a service in use."""
        self._holds.discard(held)
        self._releasing = True
        if self._holds:
            self._releasing = False
            return False
        used = not self.closed and self.runtime is not None
        if not self.closed:
            self.abandon()
        return used

    def start(self) -> ServiceRuntime:
        """The runtime of this process, started if it is not; raises ClientClosedError after the end."""
        if os.getpid() != self._pid:
            self._notice_fork()
        if "gevent.monkey" in sys.modules and patched_by() != self._patched_by:
            raise NoThreadsError(
                "gevent has replaced this process's threads after the client was made, whose locks and threads are real"
                " ones: make the client after monkey.patch_all(), or use a threaded worker, such as gunicorn's gthread."
            )
        if self._started and not self.closed:
            runtime = self._runtime
            if runtime is not None:
                return runtime
        return self._start()

    @property
    def runtime(self) -> ServiceRuntime | None:
        """The runtime, if it has been started in this process and not stopped; never starts one."""
        return self._runtime if self._started else None

    def stats(self) -> ServiceStats:
        """Statistics at this moment; never blocks."""
        from tinkex._service.stats import collect_stats  # records are loaded with the first use

        return collect_stats(self.runtime)

    def health(self) -> Health:
        """Whether it can be expected to work; never blocks."""
        from tinkex._service.stats import health_of

        return health_of(self.runtime, closed=self.closed)

    def reconfigure(self, changes: dict[str, Any]) -> ClientConfig:
        """Validate new settings, then publish them; changes that are refused change nothing."""
        validate_changes(changes)
        before = self.config.current
        config = self.config.update(lambda current: attrs.evolve(current, **changes))
        self._logger.interval = config.queue_log_interval
        runtime = self._runtime
        if runtime is not None:
            runtime.dialer.limit_connecting(config.connect_timeout)
            runtime.sampling.admission.limits_changed()
            if (config.api_key, config.default_headers) != (before.api_key, before.default_headers):
                runtime.sampling.credential_changed()
        return config

    def run(self, coroutine: Callable[[], Coroutine[T]], timeout: float | None, what: str) -> ClientFuture[T]:
        """Run a coroutine of the service itself, within `timeout` seconds (None: the configured deadline)."""
        seconds = self.config.current.timeout if timeout is None else check_timeout(timeout)
        runtime = self.start()

        def too_late() -> BaseException:
            last = runtime.api.last_failure
            words = f" The last failure was: {last}" if last else ""
            return APITimeoutError(
                f"{what} took longer than {seconds:g} s; try again, or pass a longer timeout=.{words}"
            )

        future = runtime.run(coroutine, self._clock.monotonic() + seconds, too_late)
        if self.closed:  # closed in between, perhaps too early to see this task
            future.cancel()
        return future

    def close(self, timeout: float, *, cancel_pending: bool, reason: str, detail: str | None = None) -> None:
        """Close the service: wait for running work, fail the rest, finish the session, stop threads. Idempotent."""
        try:
            shutdown = self._begin_shutdown(reason, detail)
            if shutdown is not None:
                shutdown.wait(timeout, timeout + FINISH_SECONDS, cancel_pending=cancel_pending)
        except BaseException:  # a Ctrl-C, perhaps before the shutdown had begun
            shutdown = self._begin_shutdown(reason, detail)
            if shutdown is not None:
                shutdown.hurry()
            raise

    def _begin_shutdown(self, reason: str, detail: str | None) -> Shutdown | None:
        """The shutdown of the runtime; None where there is nothing to wait for. Call it as often as you like."""
        with self._lock:
            runtime = self._open_runtime()
            if self._shutdown is None and runtime is not None and self._started:
                self._shutdown = Shutdown(runtime, reason, detail)
            elif runtime is not None:
                runtime.stop()  # also a thread that is only now being started
            self.closed = True
            return self._shutdown

    def exit(self) -> Future[None] | None:
        """Interpreter exit: resolve every future and start the finish requests. Called once, by atexit."""
        with self._lock:
            runtime, self.closed = self._open_runtime(), True
        if runtime is None or not self._started:
            return None
        runtime.sampling.admission.close()
        finishing = begin_finish_requests(
            runtime, "interrupted", None, HASTY_FINISH_SECONDS
        )  # ahead of the thousands of ends
        fail_all(runtime)
        return finishing

    def abandon(self) -> None:
        """Garbage collection of the last client: end in the background. Takes no lock: it can come at any line."""
        runtime, self.closed = self._open_runtime(), True
        if runtime is None:
            return
        if not self._started:
            runtime.stop()
            return

        def coroutine() -> Coroutine[None]:
            try:
                yield from finish_requests(runtime, "success", None, FINISH_SECONDS)
            finally:
                runtime.stop()

        runtime.scheduler.start(coroutine, Future())

    def forked(self) -> None:
        """Fork, in the child: the parent's threads are not here. Fail their futures; build anew on first use."""
        inherited, self._runtime, self._started = self._runtime, None, False
        self._pid = os.getpid()
        if inherited is not None:
            self._reached |= inherited.api.reached
            inherited.forked()

    def _notice_fork(self) -> None:
        """Handle a fork that Python was not told of, as uWSGI's may be."""
        with _noticing:
            if os.getpid() != self._pid:
                _forked()

    def _build(self) -> ServiceRuntime:
        return ServiceRuntime(self.config, self._observers, self._clock, self._name)

    def _start(self) -> ServiceRuntime:
        with self._lock:
            if self.closed or is_exiting():
                raise ClientClosedError
            if self._runtime is None:
                self._runtime = self._build()
                self._runtime.api.reached = self._reached
            if not self._started:
                check_threads()
                try:
                    self._runtime.start()
                except RuntimeError as error:  # what threading raises where the system allows no more
                    raise NoThreadsError(
                        f"tinkex cannot start its threads: {error}. Raise the limit of threads."
                    ) from None
                self._started = True
            return self._runtime

    def _open_runtime(self) -> ServiceRuntime | None:
        """The runtime of this process, if it is not closed; where it is not `_started`, its start may have begun."""
        return None if self.closed or self._pid != os.getpid() else self._runtime


class ServiceReference:
    """Reference to a service, held by its clients and samples: when the last reference goes, the service ends."""

    def __init__(self, lifecycle: ServiceLifecycle, *, warn: bool, keeps: Any = None) -> None:
        self.lifecycle = lifecycle
        self.keeps = keeps  # what must live as long, such as the process of a local model
        self._warn = warn
        self._pid = os.getpid()
        self._held = object()  # known before it is held, so that an interrupted start is released, too
        if not lifecycle.hold(self._held):
            raise ClientClosedError

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # A default, since the names of a module are gone before all of its objects are.
        held = getattr(self, "_held", None)
        if held is None or is_finalizing() or not self.lifecycle.release(held):
            return
        if self._warn and self._pid == os.getpid():  # a child did not make it
            where = self.lifecycle.config.current.base_url
            warnings.warn(
                f"A ServiceClient of {where} was never closed: use `with`, or call close()", ResourceWarning, 2
            )


_exiting = threading.Event()
_noticing = threading.Lock()  # guards `_notice_fork`; not for `reopen_all`, which comes while it is held


_LOADED_LATE = ("tenacity", "orjson", "subprocess", "email.utils", "html")  # by our threads, with the first use


def is_exiting() -> bool:
    """Whether the interpreter's exit has begun: no service starts any more."""
    return _exiting.is_set()


def _exit() -> None:
    _exiting.set()
    with contextlib.suppress(KeyboardInterrupt):  # the end has begun
        finishing = [lifecycle.exit() for lifecycle in _live_lifecycles()]
        wait([future for future in finishing if future is not None], HASTY_FINISH_SECONDS)


def _about_to_fork() -> None:
    """Wait for imports that other threads are in: in the child those never end, and the next importer would hang."""
    for name in _LOADED_LATE:
        if name in sys.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def _forked() -> None:
    reopen_all()
    for lifecycle in _live_lifecycles():
        try:
            lifecycle.forked()
        except Exception:
            logger.exception("A tinkex client met an error of its own after a fork; please report it.")


def _live_lifecycles() -> list[ServiceLifecycle]:
    return [lifecycle for reference in _lifecycles.valuerefs() if (lifecycle := reference()) is not None]


atexit.register(_exit)
os.register_at_fork(before=_about_to_fork, after_in_child=_forked)
