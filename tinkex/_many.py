"""Many samples from a stream of prompts, a bounded number of them in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import attrs

from tinkex.future import SampleFuture
from tinkex.types import SampleRequest, SampleResponse

Start = Callable[[Any], SampleFuture[SampleResponse]]
"""Begins to sample one item."""


def in_order(items: Iterable[Any], start: Start, most: int, *, return_exceptions: bool) -> Iterator[Any]:
    """The results in the order of `items`."""
    futures: deque[SampleFuture[SampleResponse]] = deque()
    source = iter(items)
    try:
        while True:
            while len(futures) < most and (future := _next(source, start, return_exceptions)) is not None:
                futures.append(future)
            if not futures:
                return
            outcome = _outcome(futures[0], return_exceptions)
            futures.popleft()
            yield outcome
    finally:
        for future in futures:
            future.cancel()


def as_completed(
    items: Iterable[Any], start: Start, most: int, *, return_exceptions: bool
) -> Iterator[tuple[int, Any]]:
    """Pairs of an item's number and its result, as they come."""
    futures: dict[Future[SampleResponse], int] = {}
    source, number = iter(items), 0
    try:
        while True:
            while len(futures) < most and (begun := _next(source, start, return_exceptions)) is not None:
                futures[begun] = number
                number += 1
            if not futures:
                return
            for done in wait(futures, return_when=FIRST_COMPLETED).done:
                yield futures.pop(done), _outcome(done, return_exceptions)
    finally:
        for left in futures:
            left.cancel()


def _next(source: Iterator[Any], start: Start, return_exceptions: bool) -> SampleFuture[SampleResponse] | None:
    """The future of the next item, already failed where the item itself is wrong; None at the end."""
    for item in source:
        try:
            return start(item)
        except (TypeError, ValueError) as error:
            if not return_exceptions:
                raise
            return failed(error)
    return None


def failed(error: Exception) -> SampleFuture[SampleResponse]:
    """A future that never was pending."""
    future: SampleFuture[SampleResponse] = SampleFuture(None)
    future.set_exception(error)
    return future


def _outcome(future: Future[SampleResponse], return_exceptions: bool) -> Any:
    try:
        return future.result()
    except Exception as error:
        if not return_exceptions:
            raise
        return error


def keywords(item: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """An item - a prompt, a mapping of `sample()` keywords, or a `SampleRequest` - as keywords for `sample()`."""
    if isinstance(item, SampleRequest):
        return {**defaults, **{field: getattr(item, field) for field in _REQUEST_FIELDS}}
    if isinstance(item, Mapping):
        return {**defaults, **item}
    return {**defaults, "prompt": item}


_REQUEST_FIELDS = tuple(field.name for field in attrs.fields(SampleRequest))
