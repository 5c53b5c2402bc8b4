"""The session of a service: start-up, sampling sessions, capabilities, end."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from tinkex import _wire
from tinkex._api.client import Api
from tinkex._api.endpoints import CAPABILITIES, CREATE_SAMPLING_SESSION, CREATE_SESSION, RETRIEVE_FUTURE, Endpoint
from tinkex._api.flags import ServerFlags
from tinkex._api.heartbeats import Heartbeats
from tinkex._api.responses import decode_object
from tinkex._api.retry import RetryBudget
from tinkex._concurrency.fork_locks import new_lock
from tinkex._identity import PROTOCOL_VERSION
from tinkex._runtime.single_flight import SingleFlight
from tinkex._runtime.task import Coroutine, Sleep
from tinkex.config import ClientConfig
from tinkex.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    NotFoundError,
    RequestFailedError,
    TinkexError,
    clean_text,
)

if TYPE_CHECKING:
    from tinkex.types import ServerCapabilities

T = TypeVar("T")
logger = logging.getLogger("tinkex")


RegisteredModel = tuple[str, str | None]
"""What the server gives for a model: the id to sample with, and perhaps the name of its tokenizer."""


class Session:
    """Session with the server: created on first use, kept alive, finished once, by the process that created it."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._sampling_numbers = itertools.count()
        self._lock = new_lock()  # guards _asked_capabilities and _begun
        self._asked_capabilities = False
        self.flags: ServerFlags = ServerFlags(api)
        self.session_id: str | None = None  # None until created
        self.created_here: bool = False
        self.started: SingleFlight = SingleFlight(api.scheduler, self._start)
        self._begun = SingleFlight(api.scheduler, self._begin)
        self.heartbeats: Heartbeats = Heartbeats(api, self.started, self._renew)
        self.context_lengths: dict[str, int] = {}  # of models, as last told; 0 where that is not said

    @property
    def over(self) -> str | None:
        """Why the server no longer takes this session, in words; None where it does, or has not said otherwise."""
        finished, forgotten = self.heartbeats.finished, self.heartbeats.forgotten
        ours = finished | forgotten if self.session_id is None else {self.session_id}  # without one: those adopted
        if finished & ours:
            return "the server has ended the session: make a new client"
        if forgotten & ours:
            return "the server has forgotten the session, perhaps in a restart: another begins in its place"
        return None

    def begun(self) -> Coroutine[str]:
        """The id of the session, which begins now if there is none, or if the server has forgotten the last."""
        with self._lock:
            if self._begun.value in self.heartbeats.forgotten:
                self._begun = SingleFlight(self._api.scheduler, self._begin)
        return self._begun()

    def _renew(self, session_id: str) -> Coroutine[bool]:
        if session_id != self.session_id:
            return False
        yield from self.begun()
        return True

    def create_sampling_session(self, base_model: str | None, model_path: str | None) -> Coroutine[RegisteredModel]:
        """Register a model with the session, or with a new one where that is forgotten."""
        session_id = yield from self.begun()
        try:
            return (yield from self._register(session_id, base_model, model_path))
        except NotFoundError as error:  # the model, or the session?
            if _wire.says_unknown(error.message, session_id):
                self.heartbeats.forget(session_id)
            else:
                yield from self.heartbeats.beat(session_id, self._api.clock.monotonic())
            if session_id not in self.heartbeats.forgotten:
                raise
        session_id = yield from self.begun()
        return (yield from self._register(session_id, base_model, model_path))

    def _register(self, session_id: str, base_model: str | None, model_path: str | None) -> Coroutine[RegisteredModel]:
        fields = {
            "session_id": session_id,
            "sampling_session_seq_id": next(self._sampling_numbers),
            "base_model": base_model,
            "model_path": model_path,
            "type": "create_sampling_session",
        }
        config = self._api.config.current
        answer = yield from self._api.ask(CREATE_SAMPLING_SESSION, _present(fields), config)
        if "sampling_session_id" not in answer and "request_id" in answer:
            answer = yield from self._retrieve(str(answer["request_id"]), config)
        made = _id_in(answer, "sampling_session_id", "create_sampling_session")
        return made, _wire.identifier(answer.get("tokenizer_id"))

    def describe_sampler(self, sampling_session_id: str) -> Coroutine[dict[str, Any]]:
        """What the server knows about a sampling session: base_model, perhaps model_path."""
        yield from self.started()
        endpoint = Endpoint(f"samplers/{quote(sampling_session_id, safe='')}", method="GET")
        return (yield from self._api.ask(endpoint, {}, self._api.config.current))

    def finish(self, reason: str, detail: str | None, seconds: float) -> Coroutine[None]:
        """Finish the session on the server, if it was begun here; failures do not matter any more."""
        if not self.created_here or self.session_id is None or self.session_id in self.heartbeats.forgotten:
            return
        yield from self.heartbeats.stop(seconds)
        body = _wire.encode_json({"reason": {"type": reason}, "detail": detail})
        endpoint = Endpoint(f"sessions/{quote(self.session_id, safe='')}/finish")
        try:
            yield from self._api.call(endpoint, body, self._api.config.current, seconds=seconds)
        except TinkexError as error:
            logger.debug("The session could not be finished: %s", error)

    def _start(self) -> Coroutine[None]:
        yield from self.flags.start()
        if self.flags.current.pjwt_auth_enabled:
            self._api.scheduler.start(self._api.keep_token_fresh, Future())
        self._api.scheduler.start(self.flags.keep_fresh, Future())

    def _begin(self) -> Coroutine[str]:
        yield from self.started()
        old = self.session_id
        if old is None or old in self.heartbeats.forgotten:
            config = self._api.config.current
            fields = {
                "tags": list(config.tags) or ["tinkex-python"],
                "user_metadata": dict(config.user_metadata),
                "sdk_version": PROTOCOL_VERSION,
                "project_id": config.project_id,
                "display_name": config.display_name,
                "type": "create_session",
            }
            answer = yield from self._api.ask(CREATE_SESSION, _present(fields), config)
            self.session_id = _id_in(answer, "session_id", "create_session")
            self.created_here = True
            self.heartbeats.heard_at = self._api.clock.monotonic()
            self._log_messages(answer)
        assert self.session_id is not None
        self.heartbeats.keep_alive(self.session_id, instead_of=old)
        return self.session_id

    def _retrieve(self, request_id: str, config: ClientConfig) -> Coroutine[dict[str, Any]]:
        """Poll for an answer that a server gives as a future where it could have given it at once."""
        body = _wire.encode_json({"request_id": request_id})
        budget = RetryBudget(config.retry, self._api.clock)
        while True:
            asked_at = self._api.clock.monotonic()
            outcome = yield from self._poll(body, config, budget)
            if isinstance(outcome, _wire.Failed):
                words = self._api.masked(outcome.message)
                raise RequestFailedError(
                    f"The server could not create the sampling session: {words}", request_id, outcome.category
                )
            if isinstance(outcome, _wire.Completed) and isinstance(outcome.value, dict):
                return outcome.value
            yield Sleep(asked_at + config.min_poll_interval)

    def _poll(self, body: bytes, config: ClientConfig, budget: RetryBudget) -> Coroutine[_wire.Outcome]:
        """One poll for such an answer; after a failure, once that has been sat out, it is still pending."""
        clock, endpoint = self._api.clock, Endpoint(RETRIEVE_FUTURE.path)
        asked_at = clock.monotonic()
        outcome: _wire.Outcome = _wire.Pending()
        try:
            response = yield from self._api.call(
                endpoint, body, config, seconds=config.poll_timeout, fresh=budget.doubts > 0
            )
            if response.status != 408:
                if not 200 <= response.status < 300:
                    raise self._api.refusal(response).error
                outcome = _wire.outcome_of(self._api.read(response, decode_object, response))
        except APIResponseError as error:
            yield Sleep(clock.monotonic() + budget.doubt(error))
            return outcome
        except (APIConnectionError, APIStatusError) as error:
            if not self._api.is_cut(error, asked_at):
                yield Sleep(clock.monotonic() + budget.delay(error, attempt=False))
                return outcome
        budget.recovered()
        return outcome

    def _log_messages(self, answer: Mapping[str, Any]) -> None:
        levels = {"info_message": logging.INFO, "warning_message": logging.WARNING, "error_message": logging.ERROR}
        for name, level in levels.items():
            if isinstance(answer.get(name), str) and answer[name]:
                logger.log(level, "The server says: %s", clean_text(self._api.masked(answer[name]), 500))

    def fetch_capabilities(self) -> Coroutine[ServerCapabilities]:
        """Ask what the server offers."""
        return _wire.decode_capabilities((yield from self._ask_capabilities()))

    def _ask_capabilities(self) -> Coroutine[dict[str, Any]]:
        yield from self.started()
        self._asked_capabilities = True
        answer = yield from self._api.ask(CAPABILITIES, {}, self._api.config.current)
        self.context_lengths = _wire.decode_context_lengths(answer)
        return answer

    def learn_capabilities(self) -> None:
        """Fetch the capabilities in the background, once; many servers have none, and a failure does not matter."""
        with self._lock:
            start, self._asked_capabilities = not self._asked_capabilities, True
        if start:
            self._api.scheduler.start(self._ask_capabilities, Future())


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _id_in(answer: Mapping[str, Any], name: str, asked: str) -> str:
    found = _wire.identifier(answer.get(name))
    if found is None:
        raise APIResponseError(f"The server's answer to {asked} has no {name}.")
    return found
