"""How a machine ends: what is under way gets its time, the rest fails, the session is finished, threads and sockets go.

This happens on a thread of its own, and whoever asked for it looks on without taking part. A Ctrl-C that comes to a
thread inside a Condition, and every future has one, can leave it locked: then whoever ends the future would hang.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from tinkex._runtime.task import Job, Story
from tinkex._service.runtime import Machine
from tinkex.errors import ClientClosedError
from tinkex.future import ClientFuture

FAREWELL_SECONDS = 5.0  # for finishing the session and the last telemetry
TELEMETRY_SECONDS = 1.0  # of which telemetry may take this much
CANCEL_SECONDS = 1.0  # and telling what nobody wants any more, where the session belongs to somebody else
HURRIED_SECONDS = 0.5  # the same when the interpreter exits, or somebody is in a hurry
_JOIN_SECONDS = 1.0
_MOST_PAUSE = 0.05


class Ending:
    """The end of one machine."""

    def __init__(self, machine: Machine, reason: str, detail: str | None) -> None:
        self._machine = machine
        self._reason = reason
        self._detail = detail
        self._begun = threading.Lock()  # taken once
        self._cancel = False
        self._hurried = reason == "interrupted"
        self._over = False

    def look_on(self, patience: float, seconds: float, *, cancel_pending: bool) -> None:
        """Wait `seconds` at most until it is over; what is under way has `patience`, or none with `cancel_pending`.

        An exception in this thread, such as a Ctrl-C, makes the end hurry, and is raised soon.
        """
        self._cancel |= cancel_pending
        try:
            self._begin(patience)
            wait_until(lambda: self._over, seconds)
        except BaseException:
            self._hurried = True
            self._begin(0.0)
            wait_until(lambda: self._over, 2 * HURRIED_SECONDS)
            raise

    def _begin(self, patience: float) -> None:
        threading.Thread(target=self._run, args=(patience,), name="tinkex-close", daemon=True).start()

    def _run(self, patience: float) -> None:
        machine = self._machine
        if not self._begun.acquire(blocking=False):
            return
        machine.admission.close()
        try:
            wait_until(lambda: self._cancel or self._hurried or not any(_held(machine)), patience)
            if self._cancel:
                for job in _held(machine):
                    job.future.cancel()
            fail_all(machine)
            hurried = self._hurried
            seconds = HURRIED_SECONDS if hurried else FAREWELL_SECONDS
            farewell = say_farewell(machine, self._reason, self._detail, seconds)
            wait_until(lambda: farewell.done() or self._hurried is not hurried, seconds)
        finally:
            machine.stop()
            machine.join(_JOIN_SECONDS)
            self._over = True


def fail_all(machine: Machine) -> None:
    """End every future that somebody may hold."""
    for job in _held(machine):
        job.fail(ClientClosedError("The client was closed before the sample ended: make a new one."))


def say_farewell(machine: Machine, reason: str, detail: str | None, seconds: float) -> Future[None]:
    """Begin to say the last words; takes no lock."""
    future: Future[None] = Future()
    machine.jobs.start(lambda: last_words(machine, reason, detail, seconds), future)
    return future


def last_words(machine: Machine, reason: str, detail: str | None, seconds: float) -> Story[None]:
    """Finish the session and send the telemetry that is left."""
    if machine.telemetry is not None:
        machine.telemetry.on_event = None
        if machine.session.created_here:
            machine.telemetry.session_end()
    if machine.session.created_here:
        machine.cancellations.close()
    else:
        yield from machine.cancellations.drain(min(seconds, CANCEL_SECONDS), lambda: machine.admission.in_flight)
    yield from machine.session.finish(reason, detail, seconds)
    yield from machine.flush(min(seconds, TELEMETRY_SECONDS))


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Look again and again, soon at first, for `seconds` at most. Holds nothing that a Ctrl-C could leave locked."""
    never = threading.Lock()
    never.acquire()
    pause = 0.001
    while seconds > 0 and not condition():
        never.acquire(timeout=min(pause, seconds))
        seconds -= pause
        pause = min(2 * pause, _MOST_PAUSE)


def _held(machine: Machine) -> Iterator[Job]:
    """The jobs that somebody may hold a future of."""
    return (job for job in machine.jobs.live if isinstance(job.future, ClientFuture))
