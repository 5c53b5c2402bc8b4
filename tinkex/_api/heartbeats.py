"""Session heartbeats: they keep sessions alive on the server, and show that it has ended one, or forgotten it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future

from tinkex import _wire
from tinkex._api.client import Api
from tinkex._api.endpoints import HEARTBEAT
from tinkex._concurrency.fork_locks import new_lock
from tinkex._runtime.single_flight import SingleFlight
from tinkex._runtime.task import Coroutine, FutureWait, Sleep
from tinkex.errors import clean_text

logger = logging.getLogger("tinkex")

_INTERVAL = 10.0
_PATIENCE = 120.0  # seconds without an answered heartbeat, after which a failure is a warning
_TIMEOUT = 10.0
_LAST_BEAT_SECONDS = 1.0  # for one in flight, before the session is finished


class Heartbeats:
    """One heartbeat of every session every 10 s, from one task, begun with the first session. Safe to share.

    `ready` is awaited first: a session that was adopted comes without the server's flags. `renew` begins a session in
    place of one that the server has forgotten; whether it could.
    """

    def __init__(self, api: Api, ready: SingleFlight, renew: Callable[[str], Coroutine[bool]]) -> None:
        self._api = api
        self._ready = ready
        self._renew = renew
        self._lock = new_lock()  # guards _sessions and _running
        self._sessions: set[str] = set()
        self._running = False
        self._stopped = False
        self._in_flight: Future[None] | None = None  # the heartbeats that are not answered yet, or the last ones
        self.heard_at: float | None = None  # when the server last confirmed a session
        self.last_failure: str | None = None  # of the last heartbeat, in words
        self.finished: set[str] = set()  # sessions that the server says are finished
        self.forgotten: set[str] = set()  # and those that it does not know any more

    def keep_alive(self, session_id: str, instead_of: str | None = None) -> None:
        """Send heartbeats of this session, too, from now on, and none of the one it replaces."""
        with self._lock:
            self._sessions.discard(instead_of or "")
            self._sessions.add(session_id)
            self.forgotten.discard(session_id)
            start, self._running = not self._running, True
        if start:
            self._api.scheduler.start(self._run, Future())

    def stop(self, seconds: float) -> Coroutine[None]:
        """Send no more, and wait a moment for the one in flight: it must not come after the end of its session."""
        self._stopped = True
        if self._in_flight is not None:
            yield FutureWait(self._in_flight, self._api.clock.monotonic() + min(seconds, _LAST_BEAT_SECONDS))

    def _run(self) -> Coroutine[None]:
        clock = self._api.clock
        heard_at: dict[str, float] = {}
        while True:
            begun_at = clock.monotonic()
            yield Sleep(begun_at + _INTERVAL)
            in_flight: Future[None] = Future()
            self._in_flight = in_flight  # before `_stopped` is looked at: `stop` sees this, or this sees `stop`
            try:
                for session_id in () if self._stopped else tuple(self._sessions):
                    heard_at[session_id] = yield from self.beat(session_id, heard_at.get(session_id, begun_at))
            finally:
                in_flight.set_result(None)
            with self._lock:
                if self._stopped or not self._sessions:
                    self._running = False
                    return

    def beat(self, session_id: str, heard_at: float) -> Coroutine[float]:
        """One heartbeat, the last where the session is finished; when it was last confirmed.

        A session that the server does not know is `forgotten`, and renewed in place of its next heartbeat.
        """
        api, shown = self._api, clean_text(session_id, 200)
        try:
            yield from self._ready()
            if session_id in self.forgotten:
                if not (yield from self._renew(session_id)):
                    self._drop(session_id)
                return api.clock.monotonic()
            body = _wire.encode_json({"session_id": session_id, "type": "session_heartbeat"})
            response = yield from api.call(HEARTBEAT, body, api.config.current, seconds=_TIMEOUT)
            if response.status == 410:
                logger.info("Session %s is finished; its heartbeat stops.", shown, extra={"session_id": session_id})
                self.finished.add(session_id)
                self._drop(session_id)
            elif response.status >= 300:
                refusal = api.refusal(response)
                if not refusal.is_unknown_id:
                    raise refusal.error
                self.forget(session_id)
            else:
                self.heard_at = heard_at = api.clock.monotonic()
            self.last_failure = None
        except Exception as error:  # noqa: BLE001 - an adapter may raise anything, and the next one may be heard
            silence = api.clock.monotonic() - heard_at
            level = logging.WARNING if silence > _PATIENCE else logging.DEBUG
            self.last_failure = words = api.masked(str(error))
            logger.log(level, "No heartbeat of session %s was confirmed for %.0f s; the server may end it: %s",
                       shown, silence, words,
                       extra={"session_id": session_id, "failure": words})  # fmt: skip
        return heard_at

    def forget(self, session_id: str) -> None:
        """Note that the server does not know this session any more."""
        shown = clean_text(session_id, 200)
        logger.warning(
            "The server has forgotten session %s, perhaps in a restart.", shown, extra={"session_id": session_id}
        )
        self.forgotten.add(session_id)

    def _drop(self, session_id: str) -> None:
        with self._lock:
            self._sessions.discard(session_id)
