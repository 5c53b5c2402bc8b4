"""Shutdown of a runtime: running work gets its time, the rest fails, the session is finished, threads and sockets go.

This happens on a thread of its own, and the caller only waits. A Ctrl-C that comes to a thread inside a Condition, and
every future has one, can leave it locked: then the thread that ends the future would hang.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from tinkex._runtime.task import Coroutine, ScheduledTask
from tinkex._service.runtime import ServiceRuntime
from tinkex.errors import ClientClosedError
from tinkex.future import ClientFuture

FINISH_SECONDS = 5.0  # for finishing the session and the last telemetry
TELEMETRY_SECONDS = 1.0  # of which telemetry may take this much
CANCEL_SECONDS = 1.0  # and for cancels on the server, where the session belongs to another process
HASTY_FINISH_SECONDS = 0.5  # the same when the interpreter exits, or a Ctrl-C hurries the caller
_JOIN_SECONDS = 1.0
_MOST_PAUSE = 0.05


class Shutdown:
    """The shutdown of one runtime, on a thread of its own."""

    def __init__(self, runtime: ServiceRuntime, reason: str, detail: str | None) -> None:
        self._runtime = runtime
        self._reason = reason
        self._detail = detail
        self._begun = threading.Lock()  # taken once
        self._cancel = False
        self._hurried = reason == "interrupted"
        self._over = False

    def wait(self, patience: float, seconds: float, *, cancel_pending: bool) -> None:
        """Wait `seconds` at most until it is over; what is under way has `patience`, or none with `cancel_pending`.

        An exception in this thread, such as a Ctrl-C, makes the end hurry, and is raised soon.
        """
        self._cancel |= cancel_pending
        try:
            self._begin(patience)
            wait_until(lambda: self._over, seconds)
        except BaseException:
            self.hurry()
            wait_until(lambda: self._over, 2 * HASTY_FINISH_SECONDS)
            raise

    def hurry(self) -> None:
        """Begin it, if it has not, and let nothing take longer than it must."""
        self._hurried = True
        self._begin(0.0)

    def _begin(self, patience: float) -> None:
        threading.Thread(target=self._run, args=(patience,), name="tinkex-close", daemon=True).start()

    def _run(self, patience: float) -> None:
        runtime = self._runtime
        if not self._begun.acquire(blocking=False):
            return
        runtime.sampling.admission.close()
        try:
            wait_until(lambda: self._cancel or self._hurried or not any(_held(runtime)), patience)
            if self._cancel:
                for task in _held(runtime):
                    task.future.cancel()
            fail_all(runtime)
            hurried = self._hurried
            seconds = HASTY_FINISH_SECONDS if hurried else FINISH_SECONDS
            finishing = begin_finish_requests(runtime, self._reason, self._detail, seconds)
            wait_until(lambda: finishing.done() or self._hurried is not hurried, seconds)
        finally:
            runtime.stop()
            runtime.join(_JOIN_SECONDS)
            self._over = True


def fail_all(runtime: ServiceRuntime) -> None:
    """Fail every future that a caller may hold."""
    for task in _held(runtime):
        task.fail(ClientClosedError("The client was closed before the sample ended: make a new one."))


def begin_finish_requests(runtime: ServiceRuntime, reason: str, detail: str | None, seconds: float) -> Future[None]:
    """Start the finish requests; takes no lock."""
    future: Future[None] = Future()
    runtime.scheduler.start(lambda: finish_requests(runtime, reason, detail, seconds), future)
    return future


def finish_requests(runtime: ServiceRuntime, reason: str, detail: str | None, seconds: float) -> Coroutine[None]:
    """Finish the session and send the telemetry that is left."""
    runtime.telemetry.end()
    cancellations = runtime.sampling.cancellations
    if runtime.session.created_here:
        cancellations.close()
    else:
        running = runtime.sampling.admission
        yield from cancellations.drain(min(seconds, CANCEL_SECONDS), lambda: running.in_flight)
    yield from runtime.session.finish(reason, detail, seconds)
    yield from runtime.telemetry.flush(min(seconds, TELEMETRY_SECONDS))


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Poll a condition, soon at first, for `seconds` at most. Holds nothing that a Ctrl-C could leave locked."""
    never = threading.Lock()
    never.acquire()
    pause = 0.001
    while seconds > 0 and not condition():
        never.acquire(timeout=min(pause, seconds))
        seconds -= pause
        pause = min(2 * pause, _MOST_PAUSE)


def _held(runtime: ServiceRuntime) -> Iterator[ScheduledTask]:
    """Tasks whose future a caller may hold."""
    return (task for task in runtime.scheduler.live if isinstance(task.future, ClientFuture))
