"""Request log of the fake server."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from tinkex._server.retention import ENTRY, EvictionQueue
from tinkex._validation.field_docs import with_field_docs

_HEADER = 200  # bytes of a header besides its text
_MOST_NAMES = 1000  # of endpoints and paths that are counted by themselves


@with_field_docs
@define(eq=False)
class RecordedRequest:
    """One recorded request and the status of its answer."""

    #: The endpoint's name, such as "asample" or "client/config"; the path if there is no such.
    endpoint: str
    method: str
    """The HTTP method."""
    path: str
    """The path, with its query."""
    #: Looked up without regard to case.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    """The body, decompressed."""
    #: Monotonic seconds of its arrival.
    at: float = field(factory=time.monotonic)
    #: The status of the answer; None until there is one, and after a fault that sent none.
    status: int | None = None
    #: Which request of the connection this is, from 0, and the client's port.
    client_port: int = 0

    @property
    def json(self) -> Any:
        """The body as JSON; None when it is empty.

        Raises:
            ValueError: The body is not JSON.
        """
        try:
            return json.loads(self.body) if self.body else None
        except RecursionError:
            raise ValueError("the body is nested too deeply") from None

    @property
    def key(self) -> str | None:
        """The credential it carried."""
        return self.headers.get("X-API-Key")


def request_bytes(request: RecordedRequest) -> int:
    """Estimate the bytes of a recorded request in memory."""
    headers = sum(len(name) + len(value) + _HEADER for name, value in request.headers.items())
    return ENTRY + len(request.path) + len(request.body) + headers


class Journal:
    """Log of the latest requests, at most `max_bytes` of them, in order of arrival; safe to share between threads."""

    def __init__(self, max_bytes: int) -> None:
        self._changed = threading.Condition()  # guards all below
        self._requests: dict[int, RecordedRequest] = {}
        self._sizes: EvictionQueue[int] = EvictionQueue(max_bytes, self._requests.pop)
        self._counts: Counter[str] = Counter()

    @property
    def kept_bytes(self) -> int:
        """The estimated bytes of the requests that are kept."""
        with self._changed:
            return self._sizes.used

    def add(self, request: RecordedRequest) -> None:
        """Record a request."""
        with self._changed:
            known = request.endpoint in self._counts or len(self._counts) < _MOST_NAMES
            self._counts[request.endpoint if known else "*"] += 1
            number = self._counts.total()
            self._requests[number] = request
            self._sizes.add(number, request_bytes(request))
            self._changed.notify_all()

    def requests(self, endpoint: str | None = None) -> list[RecordedRequest]:
        """The requests that are kept, or those to one endpoint."""
        with self._changed:
            kept = list(self._requests.values())
        return [each for each in kept if endpoint is None or each.endpoint == endpoint]

    def counts(self) -> Counter[str]:
        """How many requests each endpoint has had."""
        with self._changed:
            return Counter(self._counts)

    def wait(self, endpoint: str, count: int, timeout: float) -> None:
        """Block until an endpoint has had so many requests.

        Raises:
            TimeoutError: It has not in *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._counts[endpoint] >= count, timeout):
                had = self._counts[endpoint]
                raise TimeoutError(f"{endpoint} had {had} of {count} requests in {timeout} s")

    def clear(self) -> None:
        """Forget everything."""
        with self._changed:
            self._requests.clear()
            self._sizes.clear()
            self._counts.clear()
