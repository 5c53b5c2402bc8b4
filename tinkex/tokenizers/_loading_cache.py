"""A bounded LRU cache that loads each key once, however many threads ask for it."""

from __future__ import annotations

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class LoadingCache(Generic[T]):
    """A bounded LRU cache with single-flight loading; safe to share between threads.

    A load that fails raises in every thread that waited for it, and is tried anew by the next caller.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()  # guards _loaded and _loading, never held while loading
        self._loaded: collections.OrderedDict[Hashable, T] = collections.OrderedDict()
        self._loading: dict[Hashable, concurrent.futures.Future[T]] = {}

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """Return the value of the key, loading it first on a miss; concurrent callers wait for one load."""
        mine: concurrent.futures.Future[T] = concurrent.futures.Future()
        with self._lock:
            if key in self._loaded:
                self._loaded.move_to_end(key)
                return self._loaded[key]
            shared = self._loading.setdefault(key, mine)
        if shared is mine:
            self._fill(mine, key, load)
        error = shared.exception()
        if error is not None:
            raise error.with_traceback(None)  # it is raised in every thread that waited
        return shared.result()

    def _fill(self, future: concurrent.futures.Future[T], key: Hashable, load: Callable[[], T]) -> None:
        try:
            value = load()
        except BaseException as error:
            self._end(key)
            mere = isinstance(error, Exception)  # a waiting thread was not the one that Ctrl-C hit
            future.set_exception(error if mere else InterruptedError("the load was interrupted"))
            raise
        self._end(key, value)
        future.set_result(value)

    def _end(self, key: Hashable, *values: T) -> None:
        with self._lock:
            self._loading.pop(key, None)
            self._loaded.update((key, value) for value in values)
            while len(self._loaded) > self._size:
                self._loaded.popitem(last=False)

    def reset_after_fork(self) -> None:
        """Drop loads in progress, in a forked child: the threads that run them do not exist there."""
        self._lock = threading.Lock()
        self._loading.clear()
