"""Futures as the official SDK's calls return them: awaited, asked for their result, or used as standard ones."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from tinkex._concurrency.fork_locks import new_lock
from tinkex._validation.public_names import with_public_names
from tinkex.compat._errors import official_error
from tinkex.errors import TinkexError

T = TypeVar("T")

_STANDARD_STATE = frozenset(vars(Future()))
_making = new_lock()  # guards the making of the standard state


@with_public_names
class CompatFuture(Future[T]):
    """Future of a call through `tinkex.compat`: an `APIFuture` of the SDK, and a `concurrent.futures.Future`.

    The result is converted into the SDK's types by the thread, or the coroutine, that asks for it. Errors are the
    SDK's, with those of tinkex as their cause. Cancelling it, or an await of it, ends the sample. Safe in any thread.
    """

    def __init__(self, source: Future[Any], convert: Callable[[Any], T]) -> None:
        # The standard class is not asked: few futures need its state, see __getattr__.
        self._source = source
        self._convert = convert

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result, at most `timeout` seconds; None: for as long as it takes. The sample goes on after."""
        try:
            answer = self._source.result(timeout)
        except TinkexError as error:
            raise official_error(error) from error
        return self._converted(answer)

    async def result_async(self, timeout: float | None = None) -> T:  # noqa: ASYNC109 - the SDK's signature
        """The result, in a coroutine of asyncio. After `timeout` seconds the sample is cancelled, as the SDK does."""
        import asyncio

        async with asyncio.timeout(timeout):
            try:
                answer = await asyncio.wrap_future(self._source)
            except TinkexError as error:
                raise official_error(error) from error
        return self._converted(answer)

    def __await__(self) -> Generator[Any, None, T]:
        return self.result_async().__await__()

    async def coroutine(self) -> T:
        """The result, as a coroutine: for what takes no other awaitable, such as `asyncio.create_task`."""
        return await self

    def future(self) -> Future[T]:
        """This future: it is a standard one already."""
        return self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error it ended with, also one of the conversion; None if it has a result."""
        error = self._source.exception(timeout)
        if error is None or isinstance(error, TinkexError):
            try:
                self.result()
            except Exception as raised:  # noqa: BLE001 - it is what was asked for
                return raised
        return error

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have `fn(future)` called when it ends, on a thread of tinkex: it may block, and wait for other results."""
        self._source.add_done_callback(lambda _: fn(self))

    def cancel(self) -> bool:
        """End the sample, if it has not ended; True if it is cancelled, now or before."""
        return self._source.cancel()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._source.cancelled()

    def running(self) -> bool:
        """Always False: it can be cancelled until it ends."""
        return self._source.running()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._source.done()

    def __repr__(self) -> str:
        return f"<CompatFuture of {self._source!r}>"

    def __getattr__(self, name: str) -> Any:
        """What `concurrent.futures.wait` and `as_completed` look at, made when they first do."""
        if name not in _STANDARD_STATE:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with _making:
            made = self.__dict__.get("_condition")
            if made is None:
                super().__init__()
        if made is None:
            self._source.add_done_callback(self._follow)
        return self.__dict__[name]

    def _follow(self, source: Future[Any]) -> None:
        """Bring the standard state to its end; the outcome itself is that of the source."""
        if source.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
        elif source.exception() is not None:
            self.set_exception(source.exception())
        else:
            self.set_result(None)  # type: ignore[arg-type]

    def _converted(self, answer: Any) -> T:
        """The answer in the SDK's types, the same object each time."""
        known = self.__dict__
        if "_value" not in known:
            known.setdefault("_value", self._convert(answer))
        value: T = known["_value"]
        return value
