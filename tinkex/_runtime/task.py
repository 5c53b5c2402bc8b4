"""Tasks: coroutines that wait without holding a thread, and the scheduler that runs them on workers.

A coroutine is a generator that yields what it waits for. A worker runs its task up to the next wait; what ends that
wait puts the task back on the workers' queue. A cancel or a deadline reaches it through `throw`, so that every
`finally` on its way releases what it took.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any, Protocol, TypeVar

from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.fork_locks import reopen
from tinkex._concurrency.worker_pool import WorkerPool
from tinkex._runtime.reactor import Reactor
from tinkex.errors import ClientClosedError, TinkexError
from tinkex.errors._frames import drop_frames
from tinkex.future import ClientFuture

T = TypeVar("T")
logger = logging.getLogger("tinkex")

DEADLINE = -1  # the wait id of a task's deadline: on until the task ends


class Wait(Protocol):
    """Awaitable of a coroutine; `until` on the client's clock ends the wait with TIMED_OUT."""

    until: float

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        """Have `task.resume(wait_id, value)` called when the wait is over, perhaps right here."""


Coroutine = Generator[Wait, Any, T]


class Permit:
    """Permit: the value of a wait that must be released, also when the task was cancelled before it could take it."""

    __slots__ = ()

    def release(self) -> None:
        """Return what was permitted."""
        raise NotImplementedError


class TaskCancelled(BaseException):
    """Cancellation of a coroutine, thrown into it when its future has ended: release what is held and leave."""


class Sleep:
    """Timer wait: until a time on the client's clock."""

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        """Nothing but `until` ends it."""


class RunInThread:
    """Wait for a blocking call on a thread of an elastic pool; yields its result, or raises its error."""

    __slots__ = ("_call", "_threads")
    until = float("inf")  # a call has time limits of its own, from when it gets a thread

    def __init__(self, threads: ElasticPool, call: Callable[[], object]) -> None:
        self._threads = threads
        self._call = call

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        """Run the call on the next free thread."""
        self._threads.submit(lambda: self._run(task, wait_id))

    def _run(self, task: ScheduledTask, wait_id: int) -> None:
        if not task.is_waiting(wait_id):  # cancelled before it had a thread: nothing is called
            return
        try:
            outcome = self._call()
        except BaseException as error:  # noqa: BLE001 - it belongs to the task
            outcome = error
        task.resume(wait_id, outcome)


class FutureWait:
    """Wait for another task's future; yields that future, done."""

    __slots__ = ("_future", "until")

    def __init__(self, future: Future[Any], until: float = float("inf")) -> None:
        self._future = future
        self.until = until

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        """Go on when the future is done."""
        future = self._future
        listen = future._listen if isinstance(future, ClientFuture) else future.add_done_callback  # noqa: SLF001
        listen(lambda future: task.resume(wait_id, future))


def _no_callback(*_: object) -> None:
    """No callback."""


class Scheduler:
    """Scheduler of the tasks of one runtime: every task that has not ended, and the threads that run them.

    `start` takes no lock, so that it may be called wherever a collection may come.
    """

    __slots__ = ("_live", "_stopped", "add", "discard", "reactor", "workers")

    def __init__(self, workers: WorkerPool, reactor: Reactor) -> None:
        self.workers: WorkerPool = workers
        self.reactor: Reactor = reactor
        self._live: set[ScheduledTask] = set()
        self.add: Callable[[ScheduledTask], None] = self._live.add
        self.discard: Callable[[ScheduledTask], None] = self._live.discard
        self._stopped = False

    @property
    def live(self) -> set[ScheduledTask]:
        """The tasks that have not ended, as a copy: tasks come and go at any line."""
        return self._live.copy()

    def stop(self) -> None:
        """Cancel every task, also those launched later; futures that have not ended fail with ClientClosedError."""
        self._stopped = True
        for task in self.live:
            task.cancel()

    def start(self, coroutine: Callable[[], Coroutine[T]], future: Future[T]) -> None:
        """Begin a task on a worker; `future` gets its result."""
        self.launch(ScheduledTask(self, coroutine, future))

    def launch(self, task: ScheduledTask, deadline: float = float("inf")) -> None:
        """Begin a task that was made before; at `deadline` its `on_deadline` ends it."""
        try:
            self.add(task)
            self.reactor.call_at(deadline, task, DEADLINE)
            self.workers.put(task)
        except BaseException:  # a Ctrl-C: the caller has no future of it
            task.cancel()
            raise
        if self._stopped:  # looked at after the task was made: `stop` sees it, or it sees `stop`
            task.fail(_closed())


class ScheduledTask:
    """Task: a coroutine and the future it resolves; any thread may resume or cancel it, one runs it at a time."""

    __slots__ = (
        "__weakref__",
        "_cancelled",
        "_context",
        "_coroutine",
        "_dropped",
        "_ended",
        "_generator",
        "_lock",
        "_running",
        "_scheduler",
        "_value",
        "_wait_id",
        "_waiting",
        "future",
        "on_deadline",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        coroutine: Callable[..., Coroutine[Any]],
        future: Future[Any],
        dropped: Callable[[ScheduledTask], None] = _no_callback,
    ) -> None:
        self.future: Future[Any] = future
        self.on_deadline: Callable[[], BaseException] | None = None
        self._dropped = dropped  # called when the task is cancelled before it began
        self._scheduler = scheduler
        self._coroutine: Callable[..., Any] = coroutine
        self._generator: Coroutine[Any] | None = None
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()  # guards the fields below
        self._wait_id = 0  # numbers the waits, so that a late wake-up of an earlier one is told apart
        self._waiting = False
        self._running = False
        self._cancelled = self._ended = False
        self._value: object = None

    @property
    def done(self) -> bool:
        """Whether it has ended, or will as soon as a worker sees it was cancelled."""
        return self._cancelled or self._ended

    def begin(self, *arguments: object) -> bool:
        """Start the coroutine with `arguments`; False if the task was cancelled before. Called by workers."""
        with self._lock:
            if self._ended or self._cancelled:
                return False
            self._running = True
            self._generator = self._coroutine(*arguments)
            self._coroutine = self._dropped = _no_callback  # thousands wait: what begins them is not kept
        self._advance()
        return True

    def run(self) -> None:
        """Run up to the next wait that does not end at once; called by workers only."""
        if self._generator is None:
            self.begin()
        else:
            self._advance()

    def is_waiting(self, wait_id: int) -> bool:
        """Whether a timer for `wait_id` still has a purpose."""
        return not self._ended and (wait_id == DEADLINE or (wait_id == self._wait_id and self._waiting))

    def resume(self, wait_id: int, value: object) -> bool:
        """End wait `wait_id` with `value`; False if it has ended already, and `value` stays the caller's."""
        if wait_id == DEADLINE:
            return self._expire()
        with self._lock:
            if wait_id != self._wait_id or not self._waiting:
                return False
            self._waiting = False
            self._value = value
            if self._running:  # still inside `subscribe`: the worker takes the value as it returns
                return True
            self._running = True
        self._scheduler.reactor.lapsed += 1
        self._scheduler.workers.put(self)
        return True

    def cancel(self) -> None:
        """Have the task release what it holds and end; a future that has not ended fails with ClientClosedError.

        Where a Ctrl-C comes into it, another call, or the deadline, ends what this one has begun.
        """
        with self._lock:
            if self._ended:
                return
            self._cancelled = True
            if self._running:
                return  # a worker has it, and looks before the next wait
            self._waiting = False
            begun = self._generator is not None
        if begun:
            self._scheduler.workers.put(_Unwinding(self))
        else:
            self._dropped(self)
            self._fail_closed()
            self._end()

    def fail(self, error: BaseException) -> bool:
        """End the future with `error` now, and the task soon after; False if it had ended."""
        ended = self._resolve(error=error)
        self.cancel()
        return ended

    def reopen(self) -> None:
        """In a child, before any task's `forked`: open the lock, which a lost thread may have held."""
        reopen(self._lock)

    def forked(self) -> None:
        """In a child: fail the future and run the `finally` clauses, unless a lost thread was running the coroutine."""
        if isinstance(self.future, ClientFuture):
            self.future._fail_after_fork()  # noqa: SLF001
        generator, self._cancelled = self._generator, True
        if generator is not None:
            with contextlib.suppress(Exception):  # a thread that is lost was running it, or a clause of it fails here
                generator.close()
        self._end()

    def unwind(self) -> None:
        """Run the `finally` clauses of a cancelled task, unless a worker has it already; called by workers only."""
        with self._lock:
            if self._running or self._ended:
                return
            self._running = True
        self._advance()

    def _expire(self) -> bool:
        too_late = self.on_deadline
        if too_late is not None:
            self.fail(too_late())
        return True

    def _advance(self) -> None:
        # The context is left before a wait begins: what ends the wait may have another worker run the task at once.
        try:
            while self._begin(self._context.run(self._next)):
                pass
            return
        except StopIteration as stop:
            self._resolve(result=stop.value)
        except TaskCancelled:
            self._fail_closed()
        except BaseException as error:  # noqa: BLE001 - every future ends, with any error
            self._resolve(error=error)
        self._end()

    def _next(self) -> Wait:
        """Run the generator to its next wait. Cancellations come at waits: before the first no `finally` is entered."""
        assert self._generator is not None
        value, self._value = self._value, None
        if self._cancelled and self._wait_id:
            if isinstance(value, Permit):
                value.release()
            return self._generator.throw(TaskCancelled())
        if isinstance(value, BaseException):
            return self._generator.throw(value)
        return self._generator.send(value)

    def _begin(self, wait: Wait) -> bool:
        """Start a wait; True if it has ended already."""
        with self._lock:
            self._wait_id += 1
            wait_id = self._wait_id
            self._waiting = not self._cancelled
            if self._cancelled:
                return True
        try:
            wait.subscribe(self, wait_id)
        except BaseException as error:  # noqa: BLE001 - it belongs to the coroutine, which is waiting
            self.resume(wait_id, error)
        with self._lock:
            if not self._waiting or self._cancelled:
                self._waiting = False
                return True
            self._running = False
        self._scheduler.reactor.call_at(wait.until, self, wait_id)
        return False

    def _fail_closed(self) -> None:
        """End a future that has not ended: not the caller cancelled the task, but the close of the client."""
        if not self.future.done():
            self._resolve(error=_closed())

    def _resolve(self, result: object = None, error: BaseException | None = None) -> bool:
        if error is not None and not isinstance(error, Exception):
            error = _wrapped(error)
        if error is not None:  # its text says it all; frames would keep bodies, and show credentials
            drop_frames(error)
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
        """Drop every reference: the timer of the deadline may hold the task itself for hours."""
        self._scheduler.discard(self)
        self._coroutine = self._dropped = _no_callback
        future, self.future = self.future, _ENDED
        if isinstance(future, ClientFuture):
            future._drop_references()  # noqa: SLF001
        self._context = _NO_CONTEXT
        self._ended, self._generator, self.on_deadline = True, None, None  # last: until then it can be done again
        self._scheduler.reactor.lapsed += 1


class _Unwinding:
    """Work item: the end of a cancelled task; of several for one task the first does it."""

    __slots__ = ("run",)

    def __init__(self, task: ScheduledTask) -> None:
        self.run: Callable[[], None] = task.unwind


_ENDED: Future[Any] = Future()  # what stands in for the future of a task that has ended
_ENDED.set_result(None)
_NO_CONTEXT = contextvars.Context()


def _closed() -> ClientClosedError:
    return ClientClosedError("The client was closed before the request ended. Make a new client and ask again.")


def _wrapped(error: BaseException) -> TinkexError:
    """Wrap a SystemExit or KeyboardInterrupt of a worker, which must not end the thread that asks for the result."""
    wrapper = TinkexError(f"A tinkex worker was ended by {type(error).__name__}: {error}. Submit the request again.")
    wrapper.__cause__ = error
    return wrapper
