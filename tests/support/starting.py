"""Samples whose ends a test decides, and requests of which it sees how many were read."""

from __future__ import annotations

from tinkex.future import SampleFuture


class Starter:
    """Begins samples whose ends the test decides."""

    def __init__(self, *, instant=False):
        self.begun = []
        self.futures = {}
        self._instant = instant
        self.most_open = 0

    def __call__(self, item):
        if isinstance(item, Exception):
            raise item
        future = SampleFuture(None)
        self.begun.append(item)
        self.futures[item] = future
        self.most_open = max(self.most_open, sum(not future.done() for future in self.futures.values()))
        if self._instant:
            future.set_result(item * 10)
        return future

    def finish(self, item):
        """End one with ten times its number."""
        self.futures[item].set_result(item * 10)


def reading(source, read):
    """The source, with what has been read of it noted."""
    for item in source:
        read.append(item)
        yield item
