"""The session a service has with the server: start-up, flags, heartbeats, end."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import quote

from tinkex import _wire
from tinkex._api.auth import Auth
from tinkex._api.client import Api, decode_object
from tinkex._api.endpoints import (
    CAPABILITIES,
    CLIENT_CONFIG,
    CREATE_SAMPLING_SESSION,
    CREATE_SESSION,
    DYNAMIC_CONFIG,
    HEARTBEAT,
    RETRIEVE_FUTURE,
    Endpoint,
)
from tinkex._api.flags import Flags
from tinkex._concurrency.clock import Clock
from tinkex._concurrency.fork_locks import new_lock
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._identity import PROTOCOL_VERSION
from tinkex._runtime.single_flight import Shared
from tinkex._runtime.task import Jobs, Outcome, Sleep, Story
from tinkex._transport.http11 import Response
from tinkex.config import ClientConfig
from tinkex.errors import (
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    RequestFailedError,
    TinkexError,
    clean_text,
)
from tinkex.types import ServerCapabilities

T = TypeVar("T")
logger = logging.getLogger("tinkex")

_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT_PATIENCE = 120.0
_SHORT_TIMEOUT = 10.0
_LAST_BEAT_SECONDS = 1.0
_LEAST_REFRESH_SECONDS = 10.0


class Session:
    """One session with the server, begun on first use, kept alive, finished once by the process that began it."""

    def __init__(self, jobs: Jobs, api: Api, auth: Auth, clock: Clock, config: SnapshotCell[ClientConfig]) -> None:
        self._jobs = jobs
        self._api = api
        self._auth = auth
        self._clock = clock
        self._config = config
        self._sampling_numbers = itertools.count()
        self._lock = new_lock()  # guards _kept_alive, _beating, _asked_capabilities
        self._kept_alive: set[str] = set()  # sessions whose heart beats here
        self._beating = False
        self._over = False
        self._beat_in_air: Future[None] | None = None  # a heartbeat that is not answered yet, or the last one
        self._asked_capabilities = False
        self.flags: SnapshotCell[Flags] = SnapshotCell(Flags())
        self.session_id: str | None = None  # None until begun
        self.created_here = False
        self.over_at_server = False  # as it answered to a heartbeat
        self.heard_at: float | None = None  # when the server last confirmed it
        self.started = Shared(jobs, self._start)
        self.begun = Shared(jobs, self._begin)
        self.capabilities: ServerCapabilities | None = None  # as last told

    def create_sampling_session(self, base_model: str | None, model_path: str | None) -> Story[str]:
        """Register a model with the session; the id to sample with."""
        yield from self.begun()
        fields = {
            "session_id": self.session_id,
            "sampling_session_seq_id": next(self._sampling_numbers),
            "base_model": base_model,
            "model_path": model_path,
            "type": "create_sampling_session",
        }
        config = self._config.current
        answer = yield from self._api.ask(CREATE_SAMPLING_SESSION, _present(fields), config)
        if "sampling_session_id" not in answer and "request_id" in answer:
            answer = yield from self._retrieve(str(answer["request_id"]), config)
        return _text(answer, "sampling_session_id", "create_sampling_session")

    def sampler(self, sampling_session_id: str) -> Story[dict[str, Any]]:
        """What the server knows about a sampling session: base_model, perhaps model_path."""
        yield from self.started()
        endpoint = Endpoint(f"samplers/{quote(sampling_session_id, safe='')}", method="GET")
        return (yield from self._api.ask(endpoint, {}, self._config.current))

    def adopt(self, session_id: str) -> None:
        """Keep a session alive that another client or process began; nothing new is created in it."""
        with self._lock:
            self._kept_alive.add(session_id)
        self._beat()

    def finish(self, reason: str, detail: str | None, seconds: float) -> Story[None]:
        """Tell the server that the session is over, if it was begun here; failures do not matter any more."""
        if not self.created_here or self.session_id is None:
            return
        self._over = True
        if self._beat_in_air is not None:  # or it might come after the end
            yield Outcome(self._beat_in_air, self._clock.monotonic() + min(seconds, _LAST_BEAT_SECONDS))
        body = _wire.encode_json({"reason": {"type": reason}, "detail": detail})
        endpoint = Endpoint(f"sessions/{quote(self.session_id, safe='')}/finish")
        try:
            yield from self._api.call(endpoint, body, self._config.current, seconds=seconds)
        except TinkexError as error:
            logger.debug("The session could not be finished: %s", error)

    def _start(self) -> Story[None]:
        config = self._config.current
        yield from self._learn(CLIENT_CONFIG, config)
        flags = self.flags.current
        self._auth.configure(
            exchanges=flags.pjwt_auth_enabled, command_required=flags.credential_default_source == "credential_cmd"
        )
        yield from self._learn(DYNAMIC_CONFIG, config)
        if flags.pjwt_auth_enabled:
            self._jobs.start(self._api.keep_token_fresh, Future())
        self._jobs.start(self._refresh_flags, Future())

    def _learn(self, endpoint: Endpoint, config: ClientConfig) -> Story[None]:
        try:
            answer = yield from self._api.ask(endpoint, {"sdk_version": PROTOCOL_VERSION}, config)
        except APIStatusError as error:
            if error.status not in (404, 405):  # many servers have no flags
                raise
            return
        self.flags.update(lambda flags: flags.updated(answer))

    def _refresh_flags(self) -> Story[None]:
        body = _wire.encode_json({"sdk_version": PROTOCOL_VERSION})
        while True:
            yield Sleep(self._clock.monotonic() + max(self.flags.current.refresh_interval_sec, _LEAST_REFRESH_SECONDS))
            try:
                response = yield from self._api.call(DYNAMIC_CONFIG, body, self._config.current, seconds=_SHORT_TIMEOUT)
                if response.status in (404, 405):
                    return
                if response.status < 300:
                    answer = decode_object(response)
                    self.flags.update(lambda flags: flags.updated(answer))  # noqa: B023 - used at once
            except Exception as error:  # noqa: BLE001 - as for heartbeats
                words = self._api.masked(str(error))
                logger.debug("The server's flags could not be refreshed; the last ones stay: %s", words)

    def _begin(self) -> Story[str]:
        yield from self.started()
        if self.session_id is None:
            config = self._config.current
            fields = {
                "tags": list(config.tags) or ["tinkex-python"],
                "user_metadata": dict(config.user_metadata),
                "sdk_version": PROTOCOL_VERSION,
                "project_id": config.project_id,
                "display_name": config.display_name,
                "type": "create_session",
            }
            answer = yield from self._api.ask(CREATE_SESSION, _present(fields), config)
            self.session_id = _text(answer, "session_id", "create_session")
            self.created_here = True
            self.heard_at = self._clock.monotonic()
            self._log_messages(answer)
        self.adopt(self.session_id)
        return self.session_id

    def _beat(self) -> None:
        with self._lock:
            start, self._beating = not self._beating, True
        if start:
            self._jobs.start(self._heartbeats, Future())

    def _heartbeats(self) -> Story[None]:
        heard_at: dict[str, float] = {}
        while True:
            begun_at = self._clock.monotonic()
            yield Sleep(begun_at + _HEARTBEAT_SECONDS)
            in_air: Future[None] = Future()
            self._beat_in_air = in_air  # before `_over` is looked at: `finish` sees this, or this sees `finish`
            try:
                for session_id in () if self._over else tuple(self._kept_alive):
                    heard_at[session_id] = yield from self._beat_once(session_id, heard_at.get(session_id, begun_at))
            finally:
                in_air.set_result(None)
            with self._lock:
                if self._over or not self._kept_alive:
                    self._beating = False
                    return

    def _beat_once(self, session_id: str, heard_at: float) -> Story[float]:
        """One heartbeat, the last where the session is finished; when it was heard last."""
        shown = clean_text(session_id, 200)
        try:
            yield from self.started()  # a session that was adopted comes without the flags
            body = _wire.encode_json({"session_id": session_id, "type": "session_heartbeat"})
            response = yield from self._api.call(HEARTBEAT, body, self._config.current, seconds=_SHORT_TIMEOUT)
            if response.status == 410:
                logger.info("Session %s is finished; its heartbeat stops.", shown)
                self.over_at_server |= session_id == self.session_id
                with self._lock:
                    self._kept_alive.discard(session_id)
            elif response.status >= 300:
                raise self._api.error(response)
            else:
                self.heard_at = heard_at = self._clock.monotonic()
        except Exception as error:  # noqa: BLE001 - an adapter may raise anything, and the next one may be heard
            silence = self._clock.monotonic() - heard_at
            level = logging.WARNING if silence > _HEARTBEAT_PATIENCE else logging.DEBUG
            logger.log(level, "No heartbeat of session %s was answered for %.0f s; the server may end it: %s",
                       shown, silence, self._api.masked(str(error)))  # fmt: skip
        return heard_at

    def _retrieve(self, request_id: str, config: ClientConfig) -> Story[dict[str, Any]]:
        """Wait for an answer that a server gives as a future where it could have given it at once."""
        body = _wire.encode_json({"request_id": request_id})
        endpoint = Endpoint(RETRIEVE_FUTURE.path)
        while True:
            asked_at = self._clock.monotonic()
            response = yield from self._poll(endpoint, body, config)
            if response is not None:
                outcome = _wire.outcome_of(decode_object(response))
                if isinstance(outcome, _wire.Failed):
                    words = self._auth.masked(outcome.message)
                    raise RequestFailedError(
                        f"The server could not create the sampling session: {words}", request_id, outcome.category
                    )
                if isinstance(outcome, _wire.Completed) and isinstance(outcome.value, dict):
                    return outcome.value
            yield Sleep(asked_at + config.min_poll_interval)

    def _poll(self, endpoint: Endpoint, body: bytes, config: ClientConfig) -> Story[Response | None]:
        """One look for such an answer, again where that failed; None: not yet."""
        try:
            return (yield from self._api.persist(endpoint, body, config, seconds=config.poll_timeout))
        except APITimeoutError:
            return None
        except APIStatusError as error:
            if error.status == 408:
                return None
            raise

    def _log_messages(self, answer: Mapping[str, Any]) -> None:
        levels = {"info_message": logging.INFO, "warning_message": logging.WARNING, "error_message": logging.ERROR}
        for name, level in levels.items():
            if isinstance(answer.get(name), str) and answer[name]:
                logger.log(level, "The server says: %s", clean_text(self._auth.masked(answer[name]), 500))

    def fetch_capabilities(self) -> Story[ServerCapabilities]:
        """Ask what the server offers."""
        yield from self.started()
        self._asked_capabilities = True
        answer = yield from self._api.ask(CAPABILITIES, {}, self._config.current)
        self.capabilities = capabilities = _wire.decode_capabilities(answer)
        return capabilities

    def learn_capabilities(self) -> None:
        """Ask in the background, once; many servers do not tell, and a failure matters to nobody."""
        with self._lock:
            start, self._asked_capabilities = not self._asked_capabilities, True
        if start:
            self._jobs.start(self.fetch_capabilities, Future())


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _text(answer: Mapping[str, Any], name: str, asked: str) -> str:
    value = answer.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise APIResponseError(f"The server's answer to {asked} has no {name}.")
    return value
