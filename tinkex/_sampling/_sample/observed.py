"""Observed sample: the future of a sample that instrumentations follow. Samples that none follows pay nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import InvalidStateError
from typing import TYPE_CHECKING, Any

from tinkex._concurrency.clock import Clock
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._logging import about
from tinkex.future import SampleFuture
from tinkex.queue_state import QueueState
from tinkex.types import SampleResponse

if TYPE_CHECKING:
    from tinkex.instrumentation import Instrumentation, SampleObserver, SampleStarted

logger = logging.getLogger("tinkex")


class ObservedFuture(SampleFuture[Any]):
    """Future of a sample whose observers are told of the end before anyone can see it: once, and what it really was."""

    _ender: list[bool] | None = None  # of the call that ends it, which is told by identity: whether it cancels

    def __init__(self, callbacks: ElasticPool, clock: Clock) -> None:
        super().__init__(callbacks)
        self._observers: list[SampleObserver] = []
        self._clock = clock
        self._began_at = clock.monotonic()
        self._response: SampleResponse | None = None

    def begin(self, instrumentations: Iterable[Instrumentation], start: SampleStarted) -> None:
        """Have the instrumentations begin, here and now."""
        for instrumentation in instrumentations:
            self._safely(self._begin_one, instrumentation, start)

    def _begin_one(self, instrumentation: Instrumentation, start: SampleStarted) -> None:
        observer = instrumentation.begin(start)
        if observer is not None:
            self._observers.append(observer)
            self._header_lines += "".join([_line(name, value) for name, value in observer.headers.items()])

    def keeping(self, finish: Callable[[SampleResponse], Any] | None) -> Callable[[SampleResponse], Any]:
        """What makes the result of the response, and keeps the response for the observers."""

        def keep(response: SampleResponse) -> Any:
            self._response = response
            return response if finish is None else finish(response)

        return keep

    def _note_retry(self, *facts: Any) -> None:
        """Tell the observers of a failure, or a pause, after which the sample goes on."""
        from tinkex.instrumentation import SampleRetry  # loaded when the first was installed

        retry = SampleRetry(*facts)
        for observer in self._observers:
            self._safely(observer.retrying, retry)

    def _note_queue(self, state: QueueState, reason: str | None) -> None:
        """Tell the observers what the server says of its queue."""
        for observer in self._observers:
            self._safely(observer.queue_changed, state, reason)

    def _refuse(self, error: BaseException) -> None:
        """Tell the observers that the sample was not queued, for an error that the caller gets."""
        self._tell_end(None, error)

    def set_result(self, result: Any) -> None:
        """End it with a result."""
        response, self._response = self._response, None
        if not self._end([False], lambda: super(ObservedFuture, self).set_result(result), response, None):
            raise InvalidStateError

    def set_exception(self, exception: BaseException | None) -> None:
        """End it with an error."""
        if not self._end([False], lambda: super(ObservedFuture, self).set_exception(exception), None, exception):
            raise InvalidStateError

    def cancel(self) -> bool:
        """End it, if it has not ended; see `ClientFuture.cancel`."""
        return self._end([True], super().cancel, None, None) or self._ender == [True]

    def _fail_after_fork(self) -> None:
        """End it in a forked child, where the observers are told nothing: the sample is the parent's."""
        self._observers = []
        self.__dict__.pop("_ender", None)  # of a thread that is lost
        super()._fail_after_fork()

    def _end(
        self, ender: list[bool], end: Callable[[], object], response: SampleResponse | None, error: BaseException | None
    ) -> bool:
        """Tell the observers and end it, unless another has begun to; whether it was this call.

        Of several at once, one alone wins, by an atomic step. Where a Ctrl-C ends that one, another may.
        """
        try:
            if self.__dict__.setdefault("_ender", ender) is not ender:
                return False
            self._tell_end(response, error)
            end()
        except BaseException:
            if self._ender is ender and not self.done():
                del self.__dict__["_ender"]
            raise
        return True

    def _tell_end(self, response: SampleResponse | None, error: BaseException | None) -> None:
        observers, self._observers = self._observers, []
        if observers:
            from tinkex.instrumentation import SampleEnded

            end = SampleEnded(response, error, self._clock.monotonic() - self._began_at, self.attempts)
            for observer in observers:
                self._safely(observer.ended, end)

    def _safely(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:
            fields = about(self.request_id, None, self.phase, self.attempts)
            logger.exception("An instrumentation raised; sampling goes on.", extra=fields)


def _line(name: str, value: str) -> str:
    """A header line; raises ValueError for what would not be one."""
    line = f"{name}: {value}"
    if not line.isascii() or not line.isprintable():
        raise ValueError(f"not a header: {line!r}")
    return line + "\r\n"
