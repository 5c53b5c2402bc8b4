"""Jobs: work that waits without holding a thread.

A job is a generator that yields what it waits for. A worker runs it up to the next wait; whoever ends that
wait puts it back on the workers' queue. `throw` is how a cancel or a deadline reaches it, so that every
`finally` on its way gives back what it took.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any, Protocol, TypeVar

from tinkex._concurrency.fork_locks import reopen
from tinkex._concurrency.worker_pool import WorkerPool
from tinkex._runtime.reactor import Waiter
from tinkex.errors import ClientClosedError, TinkexError
from tinkex.future import ClientFuture

T = TypeVar("T")
logger = logging.getLogger("tinkex")

DEADLINE = -1  # the epoch of a job's deadline: on until the job ends


class Wait(Protocol):
    """Something to wait for; `until` on the client's clock ends the wait with TIMED_OUT."""

    until: float

    def arm(self, job: Job, epoch: int) -> None:
        """See to it that `job.wake(epoch, value)` is called, perhaps right here."""


Story = Generator[Wait, Any, T]


class Grant:
    """A value of a wait that must be given back, also when the job was interrupted before it could take it."""

    __slots__ = ()

    def give_back(self) -> None:
        """Return what was granted."""
        raise NotImplementedError


class Interrupted(BaseException):
    """Thrown into a job whose future has already ended: give back what you hold and leave."""


class Sleep:
    """A wait for a time."""

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until

    def arm(self, job: Job, epoch: int) -> None:
        """Nothing but `until` ends it."""


class Outcome:
    """A wait for another job's future; yields that future, done."""

    __slots__ = ("_future", "until")

    def __init__(self, future: Future[Any], until: float = float("inf")) -> None:
        self._future = future
        self.until = until

    def arm(self, job: Job, epoch: int) -> None:
        """Go on when the future is done."""
        Future.add_done_callback(self._future, lambda future: job.wake(epoch, future))


def _nothing() -> None:
    """Nobody needs to know."""


class Jobs:
    """Every job that was made and has not ended, with the threads that run them.

    `start` takes no lock, so that it may be called wherever a collection may come.
    """

    __slots__ = ("_live", "_stopped", "enter", "leave", "waiter", "workers")

    def __init__(self, workers: WorkerPool, waiter: Waiter) -> None:
        self.workers = workers
        self.waiter = waiter
        self._live: set[Job] = set()
        self.enter = self._live.add
        self.leave = self._live.discard
        self._stopped = False

    @property
    def live(self) -> set[Job]:
        """Those that have not ended, as a copy: jobs come and go at any line."""
        return self._live.copy()

    def stop(self) -> None:
        """Interrupt every job, also those launched later; futures that have not ended fail with ClientClosedError."""
        self._stopped = True
        for job in self.live:
            job.interrupt()

    def start(self, story: Callable[[], Story[T]], future: Future[T]) -> None:
        """Begin a job on a worker; `future` gets its result."""
        self.launch(Job(self, story, future))

    def launch(self, job: Job, deadline: float = float("inf")) -> None:
        """Begin a job that was made before; at `deadline` its `on_deadline` ends it."""
        self.waiter.call_at(deadline, job, DEADLINE)
        self.workers.put(job)
        if self._stopped:  # looked at after the job was made: `stop` sees it, or it sees `stop`
            job.fail(_closed())


class Job:
    """One generator on its way to its future's end; any thread may wake or interrupt it, one runs it at a time."""

    __slots__ = (
        "__weakref__",
        "_context",
        "_dropped",
        "_ended",
        "_epoch",
        "_generator",
        "_interrupted",
        "_jobs",
        "_lock",
        "_running",
        "_story",
        "_value",
        "_waiting",
        "future",
        "on_deadline",
    )

    def __init__(
        self, jobs: Jobs, story: Callable[..., Story[Any]], future: Future[Any], dropped: Callable[[], None] = _nothing
    ) -> None:
        self.future = future
        self.on_deadline: Callable[[], BaseException] | None = None
        self._dropped = dropped  # called when the job is interrupted before it began
        self._jobs = jobs
        self._story: Callable[..., Any] = story
        self._generator: Story[Any] | None = None
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()  # guards the fields below
        self._epoch = 0  # numbers the waits, so that a late wake-up of an earlier one is told apart
        self._waiting = False
        self._running = False
        self._interrupted = self._ended = False
        self._value: object = None
        jobs.enter(self)

    @property
    def done(self) -> bool:
        """Whether it has ended, or will as soon as a worker sees it was interrupted."""
        return self._interrupted or self._ended

    def begin(self, *arguments: object) -> bool:
        """Start the story with `arguments` and run it; False if the job was interrupted before. Called by workers."""
        with self._lock:
            if self._ended or self._interrupted:
                return False
            self._running = True
            self._generator = self._story(*arguments)
            self._story = self._dropped = _nothing  # thousands wait: what begins them is not kept
        self._advance()
        return True

    def run(self) -> None:
        """Run up to the next wait that does not end at once; called by workers only."""
        if self._generator is None:
            self.begin()
        else:
            self._advance()

    def is_waiting(self, epoch: int) -> bool:
        """Whether a timer for `epoch` still has a purpose."""
        return not self._ended and (epoch == DEADLINE or (epoch == self._epoch and self._waiting))

    def wake(self, epoch: int, value: object) -> bool:
        """End the wait numbered `epoch` with `value`; False if it has ended already, and `value` stays the caller's."""
        if epoch == DEADLINE:
            return self._expire()
        with self._lock:
            if epoch != self._epoch or not self._waiting:
                return False
            self._waiting = False
            self._value = value
            if self._running:  # still inside `arm`: the worker takes the value as it returns
                return True
            self._running = True
        self._jobs.waiter.lapsed += 1
        self._jobs.workers.put(self)
        return True

    def interrupt(self) -> None:
        """Have the job give back what it holds and end; a future that has not ended fails with ClientClosedError."""
        with self._lock:
            if self._interrupted or self._ended:
                return
            self._interrupted = True
            if self._running:
                return  # a worker has it, and looks before the next wait
            self._waiting = False
            self._running = True
            begun = self._generator is not None
        if begun:
            self._jobs.workers.put(self)
        else:
            self._dropped()
            self._resolve(error=_closed())
            self._end()

    def fail(self, error: BaseException) -> bool:
        """End the future with `error` now, and the job soon after; False if it had ended."""
        ended = self._resolve(error=error)
        self.interrupt()
        return ended

    def reopen(self) -> None:
        """In a child, before any job's `forked`: open the lock, which a lost thread may have held."""
        reopen(self._lock)

    def forked(self) -> None:
        """In a child: fail the future and run the `finally` clauses, unless the story was running in a lost thread."""
        if isinstance(self.future, ClientFuture):
            self.future.fail_after_fork()
        generator, self._interrupted = self._generator, True
        if generator is not None:
            with contextlib.suppress(Exception):  # a thread that is lost was running it, or a clause of it fails here
                generator.close()
        self._end()

    def _expire(self) -> bool:
        too_late = self.on_deadline
        if too_late is not None:
            self.fail(too_late())
        return True

    def _advance(self) -> None:
        # The context is left before a wait begins: whoever ends the wait may have another worker run the job at once.
        try:
            while self._begin(self._context.run(self._next)):
                pass
            return
        except StopIteration as stop:
            self._resolve(result=stop.value)
        except Interrupted:
            self._resolve(error=_closed())
        except BaseException as error:  # noqa: BLE001 - every future ends, whatever happened
            self._resolve(error=error)
        self._end()

    def _next(self) -> Wait:
        """Run the generator to its next wait. Interruptions come at waits: before the first no `finally` is entered."""
        assert self._generator is not None
        value, self._value = self._value, None
        if self._interrupted and self._epoch:
            if isinstance(value, Grant):
                value.give_back()
            return self._generator.throw(Interrupted())
        if isinstance(value, BaseException):
            return self._generator.throw(value)
        return self._generator.send(value)

    def _begin(self, wait: Wait) -> bool:
        """Start a wait; True if it has ended already."""
        with self._lock:
            self._epoch += 1
            epoch = self._epoch
            self._waiting = not self._interrupted
            if self._interrupted:
                return True
        try:
            wait.arm(self, epoch)
        except BaseException as error:  # noqa: BLE001 - it belongs to the story, which is waiting
            self.wake(epoch, error)
        with self._lock:
            if not self._waiting or self._interrupted:
                self._waiting = False
                return True
            self._running = False
        self._jobs.waiter.call_at(wait.until, self, epoch)
        return False

    def _resolve(self, result: object = None, error: BaseException | None = None) -> bool:
        if isinstance(error, TinkexError):  # its text says it all; frames would keep bodies, and show credentials
            error.__traceback__ = None
        elif error is not None and not isinstance(error, Exception):
            error = _wrapped(error)
        future = self.future
        try:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        except InvalidStateError:  # cancelled, or past its deadline
            return False
        return True

    def _end(self) -> None:
        """Let go of everything: the timer of the deadline may hold the job itself for hours."""
        self._ended, self._generator, self.on_deadline = True, None, None
        self._story = self._dropped = _nothing
        if isinstance(self.future, ClientFuture):
            self.future.let_go()
        self.future = _ENDED
        self._context = _NO_CONTEXT
        self._jobs.leave(self)
        self._jobs.waiter.lapsed += 1


_ENDED: Future[Any] = Future()  # what stands in for the future of a job that has ended
_ENDED.set_result(None)
_NO_CONTEXT = contextvars.Context()


def _closed() -> ClientClosedError:
    return ClientClosedError("The client was closed before the request ended. Make a new client and ask again.")


def _wrapped(error: BaseException) -> TinkexError:
    """A SystemExit or KeyboardInterrupt raised in a worker must not end whoever asks for the result."""
    wrapper = TinkexError(f"A tinkex worker was ended by {type(error).__name__}: {error}. Submit the request again.")
    wrapper.__cause__ = error
    return wrapper
