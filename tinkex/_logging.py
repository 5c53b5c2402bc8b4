"""Log of retries: each at DEBUG, and now and then one at WARNING that counts the others."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tinkex._concurrency.clock import Clock
from tinkex._concurrency.fork_locks import new_lock

logger = logging.getLogger("tinkex")

_MOST_SESSIONS = 4096


class RetryLog:
    """Rate-limited log of the failures that samples go on after. Safe to share.

    Of one sampling session there is a warning in `interval()` seconds at most.
    """

    def __init__(self, clock: Clock, interval: Callable[[], float]) -> None:
        self._clock = clock
        self._interval = interval
        self._lock = new_lock()  # guards _said
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()  # last warning of a session; unlogged since
        self.last: str | None = None  # the last failure, in words

    def note(
        self, session: str, request_id: str | None, phase: str, attempt: int, delay: float, failure: str,
        *, quiet: bool = False,
    ) -> None:  # fmt: skip
        """Note a failure after which a sample goes on in `delay` seconds; `quiet` where others warn of it."""
        self.last = failure
        unsaid = None if quiet else self._count(session)
        level = logging.DEBUG if unsaid is None else logging.WARNING
        if logger.isEnabledFor(level):
            more = f" ({unsaid} more since the last message)" if unsaid else ""
            logger.log(
                level, "Request %s goes on in %.1f s after: %s%s",
                request_id or "(not accepted yet)", delay, failure, more,
                extra={**about(request_id, session, phase, attempt), "delay": delay, "failure": failure},
            )  # fmt: skip

    def _count(self, session: str) -> int | None:
        """How many failures went unlogged before one that is to be logged; None for one that is not."""
        now = self._clock.monotonic()
        with self._lock:
            said_at, unsaid = self._said.pop(session, (float("-inf"), 0))
            say = now - said_at >= self._interval()
            self._said[session] = (now, 0) if say else (said_at, unsaid + 1)
            if len(self._said) > _MOST_SESSIONS:
                self._said.popitem(last=False)
        return unsaid if say else None


def about(
    request_id: str | None = None, session: str | None = None, phase: str | None = None, attempt: int | None = None
) -> dict[str, Any]:
    """Extra fields of a log record about a sample, or about the samples of a session; what is not known is None."""
    return {"request_id": request_id, "sampling_session_id": session, "phase": phase, "attempt": attempt}
