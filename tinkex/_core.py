"""The part of a ServiceClient that its owner shares with nobody: configuration, the machine, and its end.

A service's threads hold the core, never the ServiceClient: a client that is dropped can be collected.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import attrs

from tinkex._arguments import check_timeout
from tinkex._clock import Clock
from tinkex._job import Story
from tinkex._locks import new_lock, reopen_all
from tinkex._machine import Machine
from tinkex._snapshot import SnapshotCell
from tinkex._threads import internally
from tinkex.config import ClientConfig, validate_changes
from tinkex.errors import APITimeoutError, ClientClosedError
from tinkex.future import ClientFuture
from tinkex.queue_state import QueueStateLogger, QueueStateObserver

T = TypeVar("T")
logger = logging.getLogger("tinkex")

_FAREWELL_SECONDS = 5.0  # for finishing the session and the last telemetry, at close
_EXIT_SECONDS = 0.5  # the same when the interpreter exits, or somebody is in a hurry
_JOIN_SECONDS = 1.0
_numbers = itertools.count(1)
_cores: weakref.WeakValueDictionary[int, Core] = weakref.WeakValueDictionary()


class Core:
    """Configuration and machine of one service. The machine is built on first use, and anew in a forked child."""

    def __init__(self, config: ClientConfig, observers: Iterable[QueueStateObserver], clock: Clock) -> None:
        self.config = SnapshotCell(config)
        self._clock = clock
        self._logger = QueueStateLogger(config.queue_log_interval, clock)
        self._observers = (self._logger, *observers)
        number = next(_numbers)
        self._name = f"tinkex-{number}"
        self._lock = new_lock()  # guards building and dropping the machine, and `closed`
        self._ended = threading.Event()
        self._closer: int | None = None  # the thread that closes
        self._machine: Machine | None = self._build(None)
        self._started = False
        self._pid = os.getpid()
        self._session_id: str | None = None  # inherited from the parent process
        self.closed = False
        _cores[number] = self

    @property
    def machine(self) -> Machine:
        """The working parts of this process; raises ClientClosedError after the end."""
        if os.getpid() != self._pid:
            self._notice_fork()
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
        seconds = self.config.current.timeout if timeout is None else check_timeout(timeout)
        machine = self.machine

        def too_late() -> BaseException:
            return APITimeoutError(f"{what} took longer than {seconds:g} s. Try again, or pass a longer timeout=.")

        future = machine.run(story, self._clock.monotonic() + seconds, too_late)
        if self.closed:  # closed in between: whoever closed may have looked too early to see this job
            future.cancel()
        return future

    def close(self, timeout: float, *, cancel_pending: bool, reason: str, detail: str | None = None) -> None:
        """End it: wait for what is under way, fail the rest, finish the session, stop every thread. Idempotent."""
        machine, first = self._shut()
        if machine is None:
            return
        if not first:
            self._close_again(machine, timeout, cancel_pending=cancel_pending)
            return
        seconds = _EXIT_SECONDS if reason == "interrupted" else _FAREWELL_SECONDS
        try:
            self._drain(machine, timeout, cancel_pending=cancel_pending)
        except BaseException:
            seconds = _EXIT_SECONDS
            raise
        finally:
            self._finish(machine, reason, detail, seconds)

    def exit(self) -> Future[None] | None:
        """The interpreter ends: resolve everything and begin to say good-bye. Called once, by atexit."""
        machine, first = self._shut()
        if machine is None or not first:
            return None
        self._fail_all(machine)
        return self._farewell(machine, "interrupted", None, _EXIT_SECONDS)

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

    def _notice_fork(self) -> None:
        """A fork that Python was not told of, as uWSGI's may be."""
        with _noticing:
            if os.getpid() != self._pid:
                _forked()

    def _build(self, session_id: str | None) -> Machine:
        return Machine(self.config, self._observers, self._clock, self._name, session_id)

    def _start(self) -> Machine:
        with self._lock:
            if self.closed or _exiting.is_set():
                raise ClientClosedError
            if self._machine is None:
                self._machine = self._build(self._session_id)
            if not self._started:
                self._machine.start()
                self._started = True
            return self._machine

    def _shut(self) -> tuple[Machine | None, bool]:
        """Take nothing more; the machine if there is one to end, and whether this is the first call."""
        with self._lock:
            first, self.closed = not self.closed, True
            if first:
                self._closer = threading.get_ident()
            machine = self._machine if self._started and self._pid == os.getpid() else None
        if machine is not None:
            machine.admission.close()
        return machine, first

    def _close_again(self, machine: Machine, timeout: float, *, cancel_pending: bool) -> None:
        if cancel_pending:
            self._drain(machine, 0.0, cancel_pending=True)
        if self._closer != threading.get_ident():  # or a signal handler, or callback, would wait for its own thread
            self._ended.wait(min(timeout, threading.TIMEOUT_MAX))

    def _drain(self, machine: Machine, timeout: float, *, cancel_pending: bool) -> None:
        futures = [future for job in machine.jobs.live if isinstance(future := job.future, ClientFuture)]
        if cancel_pending:
            with internally():
                for future in futures:
                    future.cancel()
        elif futures:
            wait(futures, None if timeout == float("inf") else timeout)

    def _fail_all(self, machine: Machine) -> None:
        with internally():
            for job in machine.jobs.live:
                if isinstance(job.future, ClientFuture):
                    job.fail(ClientClosedError("The client was closed before the sample ended: make a new one."))

    def _finish(self, machine: Machine, reason: str, detail: str | None, seconds: float) -> None:
        try:
            self._fail_all(machine)
            wait([self._farewell(machine, reason, detail, seconds)], seconds)
        finally:
            machine.stop()
            machine.join(_JOIN_SECONDS)
            self._ended.set()

    def _farewell(self, machine: Machine, reason: str, detail: str | None, seconds: float) -> Future[None]:
        future: Future[None] = Future()
        machine.jobs.start(lambda: self._last_words(machine, reason, detail, seconds), future)
        return future

    def _last_words(self, machine: Machine, reason: str, detail: str | None, seconds: float) -> Story[None]:
        if machine.telemetry is not None:
            machine.telemetry.on_event = None
            if machine.session.created_here:
                machine.telemetry.session_end()
        yield from machine.session.finish(reason, detail, seconds)
        yield from machine.flush(seconds)


class Owner:
    """Who a core works for. Held by clients and by samples under way; when the last of them goes, the core ends."""

    def __init__(self, core: Core, *, warn: bool, keeps: Any = None) -> None:
        self.core = core
        self.keeps = keeps  # what must live as long, such as the process of a local model
        self._warn = warn

    def __del__(self) -> None:
        core = self.core
        if core.closed or core.running is None or sys.is_finalizing():
            return
        core.abandon()
        if self._warn:
            where = core.config.current.base_url
            warnings.warn(
                f"A ServiceClient of {where} was never closed: use `with`, or call close()", ResourceWarning, 2
            )


_exiting = threading.Event()
_noticing = threading.Lock()  # guards `_notice_fork`; not for `reopen_all`, which comes while it is held


def _exit() -> None:
    _exiting.set()
    with contextlib.suppress(KeyboardInterrupt):  # the end has begun
        farewells = [core.exit() for core in _living()]
        wait([farewell for farewell in farewells if farewell is not None], _EXIT_SECONDS)


def _forked() -> None:
    reopen_all()
    for core in _living():
        try:
            core.forked()
        except Exception:
            logger.exception("A tinkex client met an error of its own after a fork; please report it.")


def _living() -> list[Core]:
    return [core for reference in _cores.valuerefs() if (core := reference()) is not None]


atexit.register(_exit)
os.register_at_fork(after_in_child=_forked)
