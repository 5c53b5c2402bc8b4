"""The part of a ServiceClient that its owner shares with nobody: configuration, the machine, and its end.

A service's threads hold the core, never the ServiceClient: a client that is dropped can be collected.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import attrs

from tinkex._clock import Clock
from tinkex._job import Story
from tinkex._locks import new_lock, reopen_all
from tinkex._machine import Machine
from tinkex._snapshot import SnapshotCell
from tinkex.config import ClientConfig, validate_changes
from tinkex.errors import APITimeoutError, ClientClosedError
from tinkex.future import ClientFuture
from tinkex.queue_state import QueueStateLogger, QueueStateObserver

T = TypeVar("T")

_FAREWELL_SECONDS = 5.0  # for finishing the session and the last telemetry, at close
_EXIT_SECONDS = 0.5  # the same when the interpreter exits
_numbers = itertools.count(1)
_cores: weakref.WeakSet[Core] = weakref.WeakSet()


class Core:
    """Configuration and machine of one service. The machine is built on first use, and anew in a forked child."""

    def __init__(self, config: ClientConfig, observers: Iterable[QueueStateObserver], clock: Clock) -> None:
        self.config = SnapshotCell(config)
        self._clock = clock
        self._logger = QueueStateLogger(config.queue_log_interval, clock)
        self._observers = (self._logger, *observers)
        self._name = f"tinkex-{next(_numbers)}"
        self._lock = new_lock()  # guards building and dropping the machine, and `closed`
        self._machine: Machine | None = self._build(None)
        self._started = False
        self._pid = os.getpid()
        self._session_id: str | None = None  # inherited from the parent process
        self.closed = False
        _cores.add(self)

    @property
    def machine(self) -> Machine:
        """The working parts of this process; raises ClientClosedError after the end."""
        if self._started and not self.closed:
            machine = self._machine
            if machine is not None:
                return machine
        return self._start()

    @property
    def running(self) -> Machine | None:
        """The machine if it has been started in this process and not stopped; never builds one."""
        return self._machine if self._started else None

    def reconfigure(self, changes: dict[str, Any]) -> ClientConfig:
        """Validate, then publish; a change that is refused changes nothing."""
        validate_changes(changes)
        config = self.config.update(lambda current: attrs.evolve(current, **changes))
        self._logger.interval = config.queue_log_interval
        return config

    def run(self, story: Callable[[], Story[T]], timeout: float | None, what: str) -> ClientFuture[T]:
        """Have a story of the service itself told, within `timeout` seconds (None: the configured deadline)."""
        machine = self.machine
        seconds = self.config.current.timeout if timeout is None else timeout

        def too_late() -> BaseException:
            return APITimeoutError(f"{what} took longer than {seconds:g} s. Try again, or pass a longer timeout=.")

        return machine.run(story, self._clock.monotonic() + seconds, too_late)

    def close(self, timeout: float, *, cancel_pending: bool, reason: str, detail: str | None = None) -> None:
        """End it: wait for what is under way, fail the rest, finish the session, stop every thread. Idempotent."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            machine = self._machine if self._started else None
        if machine is None:
            return
        machine.admission.close()
        try:
            self._drain(machine, 0.0 if cancel_pending else timeout, cancel=cancel_pending)
        finally:
            self._fail_all(machine)
            self._farewell(machine, reason, detail, _FAREWELL_SECONDS)
            machine.stop()

    def exit(self) -> None:
        """The interpreter ends: resolve everything, say good-bye for a moment at most. Called once, by atexit."""
        with self._lock:
            if self.closed or not self._started or self._pid != os.getpid():
                self.closed = True
                return
            self.closed = True
            machine = self._machine
        if machine is not None:
            machine.admission.close()
            self._fail_all(machine)
            self._farewell(machine, "interrupted", None, _EXIT_SECONDS)

    def abandon(self) -> None:
        """Its owner was collected: end in the background. Takes no lock, since a collection can come at any line."""
        machine = self._machine if self._started else None
        if machine is None or self.closed or self._pid != os.getpid():
            return
        self.closed = True

        def story() -> Story[None]:
            try:
                yield from self._last_words(machine, "success", None, _FAREWELL_SECONDS)
            finally:
                machine.stop()

        machine.jobs.start(story, Future())

    def forked(self) -> None:
        """In a child: the parent's threads are not here. Fail what they worked on; build anew on first use."""
        inherited, self._machine, self._started = self._machine, None, False
        self._pid = os.getpid()
        if inherited is not None:
            self._session_id = inherited.session.session_id
            inherited.forked()

    def _build(self, session_id: str | None) -> Machine:
        return Machine(self.config, self._observers, self._clock, self._name, session_id)

    def _start(self) -> Machine:
        with self._lock:
            if self.closed:
                raise ClientClosedError
            if self._machine is None:
                self._machine = self._build(self._session_id)
            if not self._started:
                self._machine.start()
                self._started = True
            return self._machine

    def _drain(self, machine: Machine, timeout: float, *, cancel: bool) -> None:
        futures = [job.future for job in tuple(machine.jobs.live) if isinstance(job.future, ClientFuture)]
        if cancel:
            for future in futures:
                future.cancel()
        elif futures:
            wait(futures, None if timeout == float("inf") else timeout)

    def _fail_all(self, machine: Machine) -> None:
        error = ClientClosedError("The client was closed before the sample ended. Make a new client and sample again.")
        for job in tuple(machine.jobs.live):
            if isinstance(job.future, ClientFuture):
                job.fail(error)

    def _farewell(self, machine: Machine, reason: str, detail: str | None, seconds: float) -> None:
        future: Future[None] = Future()
        machine.jobs.start(lambda: self._last_words(machine, reason, detail, seconds), future)
        wait([future], seconds)

    def _last_words(self, machine: Machine, reason: str, detail: str | None, seconds: float) -> Story[None]:
        if machine.telemetry is not None:
            machine.telemetry.on_event = None
            if machine.session.created_here:
                machine.telemetry.session_end()
        yield from machine.session.finish(reason, detail, seconds)
        yield from machine.flush(seconds)


class Owner:
    """Who a core works for. It is held by clients and by samples under way; when the last of them goes, the core ends."""

    def __init__(self, core: Core, *, warn: bool, keeps: Any = None) -> None:
        self.core = core
        self.keeps = keeps  # what must live as long, such as the process of a local model
        self._warn = warn

    def __del__(self) -> None:
        core = self.core
        if core.closed or core.running is None or sys.is_finalizing():
            return
        if self._warn:
            where = core.config.current.base_url
            warnings.warn(
                f"A ServiceClient of {where} was never closed: use `with`, or call close()", ResourceWarning, 2
            )
        core.abandon()


def _exit() -> None:
    for core in tuple(_cores):
        core.exit()


def _forked() -> None:
    reopen_all()
    for core in tuple(_cores):
        core.forked()


atexit.register(_exit)
os.register_at_fork(after_in_child=_forked)
