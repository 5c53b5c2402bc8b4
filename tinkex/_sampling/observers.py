"""Notification of queue-state observers: in order, on a thread that may block."""

from __future__ import annotations

import contextvars
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import partial

from tinkex._concurrency.clock import Clock
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.fork_locks import new_lock
from tinkex._logging import about
from tinkex.queue_state import QueueState, QueueStateChanged, QueueStateObserver

logger = logging.getLogger("tinkex")

_MOST_PENDING = 10_000
_MOST_SESSIONS = 4096


def _notify(event: QueueStateChanged, observers: Iterable[QueueStateObserver]) -> None:
    for observer in observers:
        try:
            observer.on_queue_state_change(event)
        except BaseException:
            extra = about(event.request_id, event.sampling_session_id)
            logger.exception("A queue state observer raised; sampling goes on.", extra=extra)


class ObserverNotifier:
    """Notifies observers of every queue state but "active", and of the change back to it. Never blocks, never raises.

    They are called in the context of the sample that the state came for, one at a time, in the order of the states.
    """

    def __init__(self, observers: Iterable[QueueStateObserver], threads: ElasticPool, clock: Clock) -> None:
        self._observers = tuple(observers)
        self._threads = threads
        self._clock = clock
        self._lock = new_lock()  # guards all below
        self._known: OrderedDict[str, tuple[QueueState, float]] = OrderedDict()
        self._pending: deque[Callable[[], None]] = deque(maxlen=_MOST_PENDING)
        self._running = False

    def notify(
        self,
        session: str,
        request_id: str | None,
        state: QueueState,
        reason: str | None,
        more: Iterable[QueueStateObserver | None],
    ) -> None:
        """Queue a notification about `session`, for the service's observers and those in `more`."""
        if state is QueueState.ACTIVE and session not in self._known:
            return  # all is well, as it was
        now = self._clock.monotonic()
        with self._lock:
            previous, since = self._known.pop(session, (None, None))
            if state is QueueState.ACTIVE and previous is None:
                return
            if state is not QueueState.ACTIVE:
                self._known[session] = (state, since if since is not None and previous is state else now)
                if len(self._known) > _MOST_SESSIONS:
                    self._known.popitem(last=False)
            event = QueueStateChanged(
                state, reason, session, request_id, previous, None if since is None else now - since
            )
            observers = (*self._observers, *(observer for observer in more if observer is not None))
            self._pending.append(partial(contextvars.copy_context().run, _notify, event, observers))
            start, self._running = not self._running, True
        if start:
            self._start()

    def _start(self) -> None:
        try:
            self._threads.submit(self._run)
        except RuntimeError as error:  # no thread can be started now: the next notification tries again
            logger.warning("Queue state observers are not told yet: %s", error)
            with self._lock:
                self._running = False

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._pending:
                    self._running = False
                    return
                notification = self._pending.popleft()
            notification()
