"""Request log of the fake server."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import define, field


@define(eq=False)
class RecordedRequest:
    """One recorded request and the status of its answer."""

    #: The endpoint's name, such as "asample" or "client/config"; the path if there is no such.
    endpoint: str
    method: str
    path: str
    #: Looked up without regard to case.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
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
        return json.loads(self.body) if self.body else None

    @property
    def key(self) -> str | None:
        """The credential it carried."""
        return self.headers.get("X-API-Key")


class Journal:
    """Request log, in order of arrival; safe to share between threads."""

    def __init__(self, keep: bool = True) -> None:
        self._changed = threading.Condition()  # guards all below
        self._keep = keep
        self._requests: list[RecordedRequest] = []
        self._counts: Counter[str] = Counter()

    def add(self, request: RecordedRequest) -> None:
        """Record a request."""
        with self._changed:
            self._counts[request.endpoint] += 1
            if self._keep:
                self._requests.append(request)
            self._changed.notify_all()

    def requests(self, endpoint: str | None = None) -> list[RecordedRequest]:
        """All requests so far, or those to one endpoint."""
        with self._changed:
            kept = list(self._requests)
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
            self._counts.clear()
