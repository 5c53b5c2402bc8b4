"""Stream of samples from a stream of prompts, a bounded number of them in flight."""

from __future__ import annotations

import itertools
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import attrs

from tinkex._validation.values import shown
from tinkex.errors import QueueFullError, SampleTimeoutError
from tinkex.future import ClientFuture, SampleFuture
from tinkex.types import SampleRequest, SampleResponse

Start = Callable[..., ClientFuture[Any]]
"""Begins to sample one item."""


Abandon = Callable[[Iterable["Future[SampleResponse]"]], None]
"""Cancels the futures that the consumer left."""


def cancel_all(futures: Iterable[Future[SampleResponse]]) -> None:
    """Cancel futures here and now."""
    for future in futures:
        future.cancel()


class Abandoned:
    """Futures for a worker to cancel: a generator may be closed by a collection, at a line where some lock is held."""

    def __init__(self, futures: Iterable[Future[SampleResponse]]) -> None:
        self._futures = tuple(futures)

    def run(self) -> None:
        """Cancel the futures."""
        cancel_all(self._futures)


def check_stream(items: object, call: object) -> None:
    """Refuse a single item, which would be taken apart, and what begins no item."""
    if isinstance(items, str | bytes | Mapping) or not (hasattr(items, "__iter__") or hasattr(items, "__getitem__")):
        raise TypeError(f"items must be a list of prompts, or another iterable of them, got {shown(items)}")
    if call is not None and not callable(call):
        raise TypeError(f"call must be a function that returns a future, got {shown(call)}")


def in_order(
    items: Iterable[Any], start: Start, most: int, *, return_exceptions: bool, abandon: Abandon = cancel_all
) -> Iterator[Any]:
    """Yield the results in the order of `items`."""
    futures: deque[ClientFuture[Any]] = deque()
    begun = _begun(items, start, return_exceptions)
    try:
        while True:
            for future in begun:  # one for each that is yielded, and more as long as there is nothing to yield
                futures.append(future)
                if len(futures) >= most or futures[0].done():
                    break
            if not futures:
                return
            result = _result_or_error(futures[0], return_exceptions)
            futures.popleft()
            yield result
    finally:
        abandon(futures)


def as_completed(
    items: Iterable[Any], start: Start, most: int, *, return_exceptions: bool, abandon: Abandon = cancel_all
) -> Iterator[tuple[int, Any]]:
    """Yield pairs of an item's number and its result, as they come."""
    numbers: dict[Future[SampleResponse], int] = {}
    ended: queue.SimpleQueue[Future[SampleResponse]] = queue.SimpleQueue()
    begun, count = _begun(items, start, return_exceptions), itertools.count()
    try:
        while True:
            for future in begun:
                numbers[future] = next(count)
                future._report_to(ended)  # noqa: SLF001
                if len(numbers) >= most or not ended.empty():
                    break
            if not numbers:
                return
            done = ended.get()
            yield numbers.pop(done), _result_or_error(done, return_exceptions)
    finally:
        abandon(numbers)


def _begun(items: Iterable[Any], start: Start, return_exceptions: bool) -> Iterator[ClientFuture[Any]]:
    """Yield a future for each item, failed where it cannot be begun; none after one whose error will be raised."""
    for number, item in enumerate(items):
        try:
            future = start(item)
            if not isinstance(future, ClientFuture):
                raise TypeError(f"call must return a future of this client, not {shown(future)}")
            yield future
        except (TypeError, ValueError, QueueFullError, SampleTimeoutError) as error:
            if type(error) in (TypeError, ValueError) and error.args:
                error.args = (f"items[{number}]: {error.args[0]}", *error.args[1:])
            yield failed(error)
            if not return_exceptions:
                return


def failed(error: Exception) -> SampleFuture[SampleResponse]:
    """A future that has failed already."""
    future: SampleFuture[SampleResponse] = SampleFuture(None)
    future.set_exception(error)
    return future


def _result_or_error(future: Future[SampleResponse], return_exceptions: bool) -> Any:
    try:
        return future.result()
    except Exception as error:
        if not return_exceptions:
            raise
        return error


def begin(call: Start, item: Any, defaults: Mapping[str, Any]) -> ClientFuture[Any]:
    """Begin one item: a `SampleRequest` or a mapping is keywords for the call, anything else its first argument."""
    if isinstance(item, SampleRequest):
        return call(**{**defaults, **{field: getattr(item, field) for field in _REQUEST_FIELDS}})
    if isinstance(item, Mapping):
        if "role" in item or ("messages" in item and getattr(call, "__name__", None) == "sample"):
            raise TypeError(
                "messages are sampled by sample_many(..., call=client.chat), with a list of them as an item"
            )
        return call(**{**defaults, **item})
    return call(item, **defaults)


_REQUEST_FIELDS = tuple(field.name for field in attrs.fields(SampleRequest))
