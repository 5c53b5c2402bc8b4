"""Futures of the client: those of `concurrent.futures`, and what a sample adds.

The only module that touches the private parts of `concurrent.futures.Future`: after a fork, and to have users'
callbacks called elsewhere.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, InvalidStateError
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.fork_locks import reopen
from tinkex._logging import about
from tinkex._validation.arguments import check_wait
from tinkex._validation.public_names import with_public_names
from tinkex.errors import ForkedFutureError
from tinkex.queue_state import QueueState

_OF_RESULTS = frozenset({
    "best", "choices", "logprob", "logprobs", "message", "messages", "prompt_logprobs", "sequences", "text", "texts",
    "tokens", "tool_calls", "usage",
})  # fmt: skip
T = TypeVar("T")
logger: logging.Logger = logging.getLogger("tinkex")


class _Callback(partial[object]):
    """A user's callback, in the context it was added in."""


def _of_lock(name: str) -> Any:
    return property(attrgetter(f"_lock.{name}"))


class _Condition(threading.Condition):
    """Condition variable of 200 bytes: the standard one takes 1,300, and every sample in flight has one.

    Its lock is taken and released without a line of Python: at such a line a Ctrl-C would leave it locked, and the
    thread that ends the future would hang.
    """

    __slots__ = ("_lock", "_waiters")

    def __init__(self) -> None:
        self._lock: Any = threading.RLock()
        self._waiters: Any = ()

    __enter__ = _of_lock("__enter__")
    __exit__ = _of_lock("__exit__")
    acquire = _of_lock("acquire")
    release = _of_lock("release")
    _release_save = _of_lock("_release_save")
    _acquire_restore = _of_lock("_acquire_restore")
    _is_owned = _of_lock("_is_owned")

    def wait(self, timeout: float | None = None) -> bool:
        if not self._waiters:  # made now: most results are there when they are asked for
            self._waiters = []
        return super().wait(timeout)


class _Work(Protocol):
    """What a future is the future of."""

    def cancel(self) -> None:
        """End it."""


class _Counters(Protocol):
    """Counters of the samples of a service."""

    def count_failures(self, number: int) -> None:
        """Count so many more."""


@with_public_names
class ClientFuture(Future[T]):
    """A `concurrent.futures.Future` whose callbacks run on threads of their own, so that no work waits for them.

    `concurrent.futures.wait`, `as_completed`, `add_done_callback`, `asyncio.wrap_future` and `await` all work. It stays
    pending until it ends. Safe to use from any thread.
    """

    _work: _Work | None = None
    _report: Callable[[Future[T]], None] | None = None

    def __init__(self, callbacks: ElasticPool | None) -> None:
        # What the standard class sets, but for what is smaller here; a test watches that it sets nothing else.
        self._condition: threading.Condition = _Condition()
        self._state = "PENDING"
        self._result = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: Any = ()
        self._callbacks = callbacks

    if not TYPE_CHECKING:  # or every attribute would be one

        def __getattr__(self, name: str) -> Any:
            words = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in _OF_RESULTS:
                words += f": it is the result's, as in future.result().{name}"
            raise AttributeError(words, name=name, obj=self)

        def __getitem__(self, index: Any) -> Any:  # asked for by loops, too
            raise TypeError(f"{type(self).__name__!r} object is not subscriptable: take its result, future.result()")

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for it in a coroutine of asyncio: `await client.sample(...)`. Cancelling the await cancels the work."""
        import asyncio  # programs that block do without

        try:
            return (yield from asyncio.wrap_future(self).__await__())
        except Exception as error:  # raised without the frames of the times before, as in `result`
            error.__traceback__ = None
            raise

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result, `timeout` seconds at most (None: as long as it takes), and return it.

        Raises the error of the work, `TimeoutError` while it goes on, or `CancelledError`. An error that is asked for
        again and again is raised without the frames of the times before: those would be kept with the future.
        """
        error = self.exception(timeout)
        try:
            if error is not None:
                raise error.with_traceback(None)
            return self._result  # type: ignore[return-value] # it has ended, and well
        finally:
            del error, self  # or the error, which the frame is part of, would hold them

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, as `result` does, and return the error of the work, or None where there is a result."""
        return super().exception(check_wait(timeout))

    def add_done_callback(self, fn: Callable[[Self], object]) -> None:
        """Have `fn(future)` called when the future ends: on a thread of the callback pool, or here and now if it has.

        `fn` runs in a copy of the current context, may block, and may use the client, also to wait for another
        result. The callbacks of one future are called one after another, as they were added. What one raises is logged.
        """
        if getattr(fn, "__module__", None) != "asyncio.futures":  # those only ever wake their loop: no thread needed
            fn = _Callback(contextvars.copy_context().run, fn)
        self._listen(fn)

    def _report_to(self, ended: queue.SimpleQueue[Future[T]]) -> None:
        """Put this future on `ended` when it ends, also if that is in a forked child; the client's own business."""
        self._report = ended.put
        self._listen(self._report)

    def _listen(self, fn: Callable[[Self], object]) -> None:
        """Have `fn(future)` called in the thread that ends the future, which it may not hold up; the client's own."""
        with self._condition:
            if not self._done_callbacks:  # made now: few futures have any
                self._done_callbacks = []
        super().add_done_callback(fn)  # type: ignore[arg-type] # it is called with this future

    def cancel(self) -> bool:
        """End the work, if it has not ended: its thread, connection and place are free at once.

        Returns True if the future is cancelled, now or before; False if it had ended. What the server has begun may
        still be done and billed.
        """
        if not super().cancel():
            return False
        mark = object()
        if self.__dict__.setdefault("_canceller", mark) is mark:  # atomic: one thread alone tells wait() and others
            self.set_running_or_notify_cancel()
        work = self._work
        if work is not None:
            work.cancel()
        return True

    def _on_cancel(self, work: _Work) -> None:
        """Have the work cancelled when this is; the client's own business."""
        self._work = work

    def _drop_references(self) -> None:
        """Drop the references to the client: a caller may keep a future for its result."""
        self._work = None

    def _fail_after_fork(self) -> None:
        """End it in a forked child, where nothing works on it; its lock may have been held at the fork."""
        _reopen(self._condition)
        for waiter in self._waiters:
            _reopen(waiter.event._cond)  # noqa: SLF001
            if hasattr(waiter, "lock"):
                reopen(waiter.lock)
        self._done_callbacks = [] if self._report is None else [self._report]
        with contextlib.suppress(InvalidStateError):
            self.set_exception(ForkedFutureError())

    def _invoke_callbacks(self) -> None:
        """Part of the standard class, which calls it once, when the future has ended."""
        users = [call for call in self._done_callbacks if isinstance(call, _Callback)]
        if users and self._callbacks is not None:
            self._done_callbacks = [call for call in self._done_callbacks if not isinstance(call, _Callback)]
            try:
                self._callbacks.submit(partial(_call, users, self))
            except RuntimeError:
                logger.exception("No thread could be had for the callbacks of a future: they are not called.")
        super()._invoke_callbacks()  # type: ignore[misc]


def _call(callbacks: list[_Callback], future: Future[Any]) -> None:
    for callback in callbacks:
        try:
            callback(future)
        except BaseException:
            fields = about(*(getattr(future, name, None) for name in ("request_id", "_", "phase", "attempts")))
            logger.exception("A callback raised; tinkex goes on.", extra=fields)


def _reopen(condition: Any) -> None:
    """Open a condition that a lost thread may hold, in place: this one may be waiting on it, in a signal handler."""
    if not getattr(condition._lock, "_is_owned", bool)():  # noqa: SLF001
        reopen(condition._lock)  # noqa: SLF001


class SampleFuture(ClientFuture[T]):
    """The future of one sample. Besides what every future has, it tells how the sample is doing.

    `result(timeout)` only waits: when it raises `TimeoutError` the sample goes on. To end the sample use `cancel()`, or
    `timeout=` when sampling, which raises `SampleTimeoutError`. The attributes may be read at any time.

    Attributes:
        phase (str): Where the sample is: "queued", "submitting", "waiting", "fetching", "retrying" or "done".
        request_id (str | None): The server's id of the request, once it has accepted it.
        sample_sequence_ids (tuple[str, ...] | None): The ids of the sequences, one a sample asked for; None before the
            server gave them, or if it has none.
        queue_state (QueueState | None): The server's last word on its queue; None if it said nothing.
        queue_state_reason (str | None): The reason the server gave for it; None if none.
        last_heard (float | None): When the server last answered about this sample, in monotonic seconds; None if it has
            not yet.
        last_status (int | None): The status of that answer.
        last_failure (str | None): The last failure that the sample has met and goes on after, in words; None if there
            was none.
        attempts (int): How many times the sample was submitted.
    """

    phase: str = "queued"
    request_id: str | None = None
    sample_sequence_ids: tuple[str, ...] | None = None
    queue_state: QueueState | None = None
    queue_state_reason: str | None = None
    last_heard: float | None = None
    last_status: int | None = None
    last_failure: str | None = None
    attempts: int = 0
    _header_lines: str = ""  # what instrumentations add to the head of the sample's requests
    _counters: _Counters | None = None  # of the service; None until the sample is queued

    def set_exception(self, exception: BaseException | None) -> None:
        """End it with an error; part of the standard class."""
        with self._counted_as_failed():
            super().set_exception(exception)

    def cancel(self) -> bool:
        """End the work, if it has not ended: its thread, connection and place are free at once.

        Returns True if the future is cancelled, now or before; False if it had ended. What the server has begun may
        still be done and billed.
        """
        if self.done():
            return super().cancel()
        with contextlib.suppress(InvalidStateError), self._counted_as_failed():
            if super().cancel():
                return True
            raise InvalidStateError
        return False

    @contextlib.contextmanager
    def _counted_as_failed(self) -> Iterator[None]:
        """Count a failure, once, before anyone can see it; not, after all, if InvalidStateError says it has ended."""
        counters, mark = self._counters, object()
        if counters is None or self.__dict__.setdefault("_counted", mark) is not mark:
            yield
            return
        counters.count_failures(1)
        try:
            yield
        except InvalidStateError:
            counters.count_failures(-1)
            raise

    def _note_retry(self, *facts: Any) -> None:
        """Take the facts of a `SampleRetry`: for the observers, of a future that has any."""

    def _note_queue(self, state: QueueState, reason: str | None) -> None:
        """Take what the server says of its queue: for them, too."""

    def _refuse(self, error: BaseException) -> None:
        """Take note that the sample was not queued."""

    def _fail_after_fork(self) -> None:
        self._counters = None  # the sample is the parent's
        super()._fail_after_fork()

    def _invoke_callbacks(self) -> None:
        self.phase = "done"  # also where it ends before its coroutine began
        super()._invoke_callbacks()


def _size_futures() -> None:
    """Have CPython lay out every future like a first one that has all that samples in flight have.

    What the first futures of a process lack, each one after them keeps in a dict of its own, of 460 bytes.
    """
    first: SampleFuture[Any] = SampleFuture(None)
    for name in (
        "_work", "_counters", "phase", "request_id", "sample_sequence_ids", "last_heard", "last_status", "attempts",
    ):  # fmt: skip
        setattr(first, name, None)


_size_futures()
