"""The part of a ServiceClient that its owner shares with nobody: configuration, the machine, and its end.

A service's threads hold the core, never the ServiceClient: a client that is dropped can be collected.
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
from typing import Any, TypeVar

import attrs

from tinkex._concurrency.clock import Clock
from tinkex._concurrency.fork_locks import new_lock, reopen_all
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._runtime.host_checks import check_threads
from tinkex._runtime.task import Story
from tinkex._service.runtime import Machine
from tinkex._service.shutdown import FAREWELL_SECONDS, HURRIED_SECONDS, Ending, fail_all, last_words, say_farewell
from tinkex._validation.arguments import check_timeout
from tinkex.config import ClientConfig, validate_changes
from tinkex.errors import APITimeoutError, ClientClosedError, NoThreadsError
from tinkex.future import ClientFuture
from tinkex.queue_state import QueueStateLogger, QueueStateObserver

T = TypeVar("T")
logger = logging.getLogger("tinkex")
logger.addHandler(logging.NullHandler())

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
        self._ending: Ending | None = None
        self._machine: Machine | None = self._build()
        self._started = False
        self._reached = False  # whether the server answered before a fork
        self._pid = os.getpid()
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
        machine = self._machine
        if machine is not None:
            machine.dialer.limit_connecting(config.connect_timeout)
            machine.admission.limits_changed()
        return config

    def run(self, story: Callable[[], Story[T]], timeout: float | None, what: str) -> ClientFuture[T]:
        """Have a story of the service itself told, within `timeout` seconds (None: the configured deadline)."""
        seconds = self.config.current.timeout if timeout is None else check_timeout(timeout)
        machine = self.machine

        def too_late() -> BaseException:
            last = machine.api.last_failure
            words = f" The last failure was: {last}" if last else ""
            return APITimeoutError(
                f"{what} took longer than {seconds:g} s; try again, or pass a longer timeout=.{words}"
            )

        future = machine.run(story, self._clock.monotonic() + seconds, too_late)
        if self.closed:  # closed in between: whoever closed may have looked too early to see this job
            future.cancel()
        return future

    def close(self, timeout: float, *, cancel_pending: bool, reason: str, detail: str | None = None) -> None:
        """End it: wait for what is under way, fail the rest, finish the session, stop every thread. Idempotent."""
        with self._lock:
            if self._ending is None and (machine := self._open_machine()) is not None:
                self._ending = Ending(machine, reason, detail)
            ending, self.closed = self._ending, True
        if ending is not None:
            ending.look_on(timeout, timeout + FAREWELL_SECONDS, cancel_pending=cancel_pending)

    def exit(self) -> Future[None] | None:
        """The interpreter ends: resolve everything and begin to say good-bye. Called once, by atexit."""
        with self._lock:
            machine, self.closed = self._open_machine(), True
        if machine is None:
            return None
        machine.admission.close()
        farewell = say_farewell(machine, "interrupted", None, HURRIED_SECONDS)  # ahead of the thousands of ends
        fail_all(machine)
        return farewell

    def abandon(self) -> None:
        """Its owner was collected: end in the background. Takes no lock, since a collection can come at any line."""
        machine, self.closed = self._open_machine(), True
        if machine is None:
            return

        def story() -> Story[None]:
            try:
                yield from last_words(machine, "success", None, FAREWELL_SECONDS)
            finally:
                machine.stop()

        machine.jobs.start(story, Future())

    def forked(self) -> None:
        """In a child: the parent's threads are not here. Fail what they worked on; build anew on first use."""
        inherited, self._machine, self._started = self._machine, None, False
        self._pid = os.getpid()
        if inherited is not None:
            self._reached |= inherited.api.reached
            inherited.forked()

    def _notice_fork(self) -> None:
        """A fork that Python was not told of, as uWSGI's may be."""
        with _noticing:
            if os.getpid() != self._pid:
                _forked()

    def _build(self) -> Machine:
        return Machine(self.config, self._observers, self._clock, self._name)

    def _start(self) -> Machine:
        with self._lock:
            if self.closed or _exiting.is_set():
                raise ClientClosedError
            if self._machine is None:
                self._machine = self._build()
                self._machine.api.reached = self._reached
            if not self._started:
                check_threads()
                try:
                    self._machine.start()
                except RuntimeError as error:  # what threading raises where the system allows no more
                    raise NoThreadsError(
                        f"tinkex cannot start its threads: {error}. Raise the limit of threads."
                    ) from None
                self._started = True
            return self._machine

    def _open_machine(self) -> Machine | None:
        """The machine, if this process has started it and nobody has closed it."""
        return None if self.closed or not self._started or self._pid != os.getpid() else self._machine


class Owner:
    """Who a core works for. Held by clients and by samples under way; when the last of them goes, the core ends."""

    def __init__(self, core: Core, *, warn: bool, keeps: Any = None) -> None:
        self.core = core
        self.keeps = keeps  # what must live as long, such as the process of a local model
        self._warn = warn
        self._pid = os.getpid()

    def __del__(self) -> None:
        core = self.core
        if core.closed or core.running is None or sys.is_finalizing():
            return
        core.abandon()
        if self._warn and self._pid == os.getpid():  # a child did not make it
            where = core.config.current.base_url
            warnings.warn(
                f"A ServiceClient of {where} was never closed: use `with`, or call close()", ResourceWarning, 2
            )


_exiting = threading.Event()
_noticing = threading.Lock()  # guards `_notice_fork`; not for `reopen_all`, which comes while it is held


_LOADED_LATE = ("tenacity", "orjson", "subprocess", "email.utils", "html")  # by our threads, with the first use


def _exit() -> None:
    _exiting.set()
    with contextlib.suppress(KeyboardInterrupt):  # the end has begun
        farewells = [core.exit() for core in _living()]
        wait([farewell for farewell in farewells if farewell is not None], HURRIED_SECONDS)


def _about_to_fork() -> None:
    """Wait for imports that other threads are in: in the child those never end, and whoever needs one would hang."""
    for name in _LOADED_LATE:
        if name in sys.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


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
os.register_at_fork(before=_about_to_fork, after_in_child=_forked)
