"""Diagnostic steps of the API: authentication, client configuration, session, one token, heartbeat."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from tinkex import ServiceClient
from tinkex._api.endpoints import CLIENT_CONFIG, HEARTBEAT, Endpoint
from tinkex._identity import PROTOCOL_VERSION
from tinkex._runtime.task import Coroutine
from tinkex._service.lifecycle import ServiceLifecycle
from tinkex.cli.doctor.explain import comes_from_gateway, explained
from tinkex.cli.doctor.finding import Trouble
from tinkex.config import ClientConfig, RetryConfig
from tinkex.errors import APIStatusError, BillingError, TinkexError
from tinkex.types import SamplingParams, SupportedModel

T = TypeVar("T")
_NO_SUCH_ENDPOINT = (404, 405)
_ONE_TRY = RetryConfig(max_attempts=1)
_A_TOKEN = 1  # any that every model has


class Visit:
    """One diagnostic session with a server; each step leaves what the next one needs."""

    def __init__(
        self, make: Callable[[], ServiceClient], model: Mapping[str, str], seconds: float, patience: int
    ) -> None:
        self._make = make
        self._model = model
        self._seconds = seconds
        self._patience = patience * seconds
        self._refusal: TinkexError | None = None
        self._flags: dict[str, Any] | None = None
        self._models: tuple[SupportedModel, ...] = ()

    @functools.cached_property
    def _service(self) -> ServiceClient:
        return self._make()

    @property
    def _lifecycle(self) -> ServiceLifecycle:
        return self._service._lifecycle  # noqa: SLF001 - no other program takes the steps of a session one by one

    def close(self) -> None:
        """Finish the session, if one was begun."""
        if "_service" in self.__dict__:
            self._service.close(timeout=0.0, cancel_pending=True)

    def auth(self) -> str:
        """Send the key with the first requests, and see whether it is taken."""
        try:
            self._flags = self._ask(CLIENT_CONFIG, {"sdk_version": PROTOCOL_VERSION})
        except TinkexError as error:
            is_refused = isinstance(error, APIStatusError) and error.status in (401, 402, 403)
            if is_refused or comes_from_gateway(error):
                raise explained(error) from None
            self._refusal = error
            if not _is_absent(error):
                raise Trouble("cannot be told: see the next step", verdict="warning") from None
        self._run(self._lifecycle.start().session.started, "the start of a session")
        try:
            self._models = self._service.get_server_capabilities(timeout=self._seconds).supported_models
        except APIStatusError as error:
            if error.status in (401, 403) or isinstance(error, BillingError):
                raise explained(error) from None
            return "nothing was refused so far"
        except TinkexError as error:
            raise explained(error) from None
        token = " and exchanged for a token" if self._lifecycle.start().session.flags.current.pjwt_auth_enabled else ""
        key = (
            "the key is taken"
            if self._lifecycle.config.current.api_key
            else "nothing is asked for, or what is sent is taken"
        )
        return f"{key}{token}"

    def client_config(self) -> str:
        """Say what the server asks of its clients."""
        if self._refusal is not None and not _is_absent(self._refusal):
            raise explained(self._refusal)
        if self._flags is None:
            return "the server has none: defaults"
        shown = {name: value for name, value in self._flags.items() if isinstance(value, bool | int | float | str)}
        return json.dumps(shown, ensure_ascii=False)[:300] if shown else "empty: defaults"

    def session(self) -> str:
        """Begin a session."""
        return f"{self._run(self._lifecycle.start().session.begun, 'create_session')} begun"

    def sample(self) -> str:
        """Sample one token."""
        wanted: dict[str, Any] = {**self._model} or self._first_model()
        try:
            client = self._service.create_sampling_client(**wanted, timeout=self._patience)
            params = SamplingParams(max_tokens=1)
            response = client.sample([_A_TOKEN], params, timeout=self._patience).result()
        except TinkexError as error:
            raise explained(error) from None
        name = "+".join(wanted.values())
        timing = response.timing
        wait = f", {timing.wait:.2f} s of it waiting" if timing else ""
        return f"token {response.sequences[0].tokens[0]} from {name}{wait}" if response.sequences[0].tokens else name

    def _first_model(self) -> dict[str, str]:
        for model in self._models:
            if model.sampleable is not False:
                return {"base_model": model.model_name}
        cause, advice = "The server names no model to sample from.", "Name one: --base-model or --model-path."
        raise Trouble("nothing to sample from", cause, advice, "warning")

    def heartbeat(self) -> str:
        """Keep the session alive once, as a client does every ten seconds."""
        self._ask(HEARTBEAT, {"session_id": self._lifecycle.start().session.session_id, "type": "session_heartbeat"})
        return "the session is alive"

    def _ask(self, endpoint: Endpoint, fields: Mapping[str, Any]) -> dict[str, Any]:
        def coroutine() -> Coroutine[dict[str, Any]]:
            return (yield from self._lifecycle.start().api.ask(endpoint, fields, self._lifecycle.config.current))

        return self._lifecycle.run(coroutine, self._seconds, endpoint.path).result()

    def _run(self, coroutine: Any, what: str) -> Any:
        try:
            return self._lifecycle.run(coroutine, self._seconds, what).result()
        except TinkexError as error:
            raise explained(error) from None


def once(config: ClientConfig, seconds: float) -> ClientConfig:
    """The settings with which every request is made once, and has so many seconds."""
    return attrs.evolve(config, retry=_ONE_TRY, request_timeout=seconds, connect_timeout=seconds, telemetry=False)


def _is_absent(error: TinkexError) -> bool:
    return isinstance(error, APIStatusError) and error.status in _NO_SUCH_ENDPOINT
