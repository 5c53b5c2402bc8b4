"""Pagination: lists on the server, read a page at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar

from tinkex._validation.public_names import with_public_names
from tinkex._wire.records import Page

T = TypeVar("T")


@with_public_names
class Listing(Iterator[T], Generic[T]):
    """Lazy paginated iterator over a list on the server: it asks for the next page when it needs it.

    An error of a page is raised where that page is needed; what came before is not lost, and `next()` asks for the same
    page again. A list that grows or shrinks meanwhile may show an item twice, or not at all. For one thread at a time.
    """

    total: int | None = None
    """How many items the server has in all; None until it has said so."""

    def __init__(self, fetch: Callable[[int, int], Page[T]], page_size: int, offset: int = 0) -> None:
        self._fetch = fetch
        self._page_size = page_size
        self._offset = offset
        self._items: deque[T] = deque()
        self._last: tuple[T, ...] | None = None
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while not self._items:
            if self._ended:
                raise StopIteration
            self._take(self._fetch(self._offset, self._page_size))
        return self._items.popleft()

    def _take(self, page: Page[T]) -> None:
        repeated = page.items == self._last  # a server without pages gives the same answer to every offset
        self._offset += page.count
        self._last = page.items
        if page.total is not None and (page.count or self.total is None):  # some say 0 behind the end
            self.total = page.total
        if page.count == 0 or repeated:
            self._ended = True
        elif page.total is None:
            self._ended = page.count != self._page_size
        else:
            self._ended = self._offset >= page.total
        if not repeated:
            self._items.extend(page.items)
