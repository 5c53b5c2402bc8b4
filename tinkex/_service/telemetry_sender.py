"""Telemetry sender: posts queued telemetry events to the server, in the background and at the end."""

from __future__ import annotations

import logging
from concurrent.futures import Future

from tinkex import _wire
from tinkex._api.client import Api
from tinkex._api.endpoints import TELEMETRY
from tinkex._api.session import Session
from tinkex._concurrency.fork_locks import new_lock
from tinkex._identity import PROTOCOL_VERSION
from tinkex._runtime.task import Coroutine, Sleep
from tinkex.telemetry import Telemetry

logger = logging.getLogger("tinkex")

_INTERVAL = 10.0
_TIMEOUT = 5.0


class TelemetrySender:
    """Sends the telemetry of one service, once there is a session and as long as the configuration allows it."""

    def __init__(self, api: Api, session: Session) -> None:
        self._api = api
        self._session = session
        self._lock = new_lock()  # guards the making of `telemetry`
        self._flushing = False
        self.telemetry: Telemetry | None = None  # None before `begin`

    @property
    def _wanted(self) -> bool:
        return self._api.config.current.telemetry

    def begin(self) -> None:
        """Collect and send events from now on, if the configuration allows."""
        with self._lock:
            if self.telemetry is not None or not self._wanted:
                return
            self.telemetry = telemetry = Telemetry(
                session_id=self._session.session_id, sdk_version=PROTOCOL_VERSION, clock=self._api.clock
            )
        telemetry.on_event = self._flush_soon
        if self._session.created_here:
            telemetry.session_start()

    def report(self, error: BaseException) -> None:
        """Queue an event about an error."""
        if self.telemetry is not None and self._wanted:
            self.telemetry.log_exception(error)

    def end(self) -> None:
        """Queue the event that ends the session; what is left is sent by `flush` only."""
        if self.telemetry is not None:
            self.telemetry.on_event = None
            if self._session.created_here:
                self.telemetry.session_end()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._api.scheduler.start(self._flush_later, Future())

    def _flush_later(self) -> Coroutine[None]:
        """Flush every few seconds until nothing is left, also what a failed post leaves behind."""
        telemetry = self.telemetry
        assert telemetry is not None
        try:
            left = True
            while left:
                yield Sleep(self._api.clock.monotonic() + _INTERVAL)
                yield from self.flush(_INTERVAL)
                left = telemetry.pending > 0
        finally:
            self._flushing = False
        if telemetry.pending and telemetry.on_event is not None:  # queued before the flag was cleared
            self._flush_soon()

    def flush(self, seconds: float) -> Coroutine[None]:
        """Post what is queued, as far as `seconds` reach."""
        api, telemetry = self._api, self.telemetry
        until = api.clock.monotonic() + seconds
        while telemetry is not None and self._wanted and (left := until - api.clock.monotonic()) > 0:
            batch = telemetry.take_batch()
            if batch is None:
                return
            body = _wire.encode_json(batch)
            try:
                yield from api.call(TELEMETRY, body, api.config.current, seconds=min(_TIMEOUT, left))
            except Exception as error:  # noqa: BLE001 - an adapter may raise anything, and the next post may be taken
                logger.debug("Telemetry was not taken: %s", api.masked(str(error)))
                return
