"""Server flags: what client/config and client/dynamic_config ask of clients."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tinkex import _wire
from tinkex._api import limits
from tinkex._api.client import Api
from tinkex._api.endpoints import CLIENT_CONFIG, DYNAMIC_CONFIG, Endpoint
from tinkex._api.responses import decode_object
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._identity import PROTOCOL_VERSION
from tinkex._runtime.task import Coroutine, Sleep
from tinkex.config import ClientConfig
from tinkex.errors import APIStatusError

logger = logging.getLogger("tinkex")

_TIMEOUT = 10.0
_LARGEST = 2**53  # of a number that a flag may have
_NO_SUCH_ENDPOINT = (404, 405)  # many servers have no flags


class Flags:
    """Server flags: what the server wants of its clients, from client/config and client/dynamic_config.

    A flag is its default, which the class has, until a server says otherwise.
    """

    pjwt_auth_enabled: bool = False
    credential_default_source: str = "api_key"
    sample_dispatch_bytes_semaphore_size: int = 10 * 2**20
    inflight_response_bytes_semaphore_size: int = 50 * 2**20
    billing_exception_max_pause_duration_sec: float = 3600.0
    sample_no_retries: bool = False
    sample_max_concurrent_requests: int = 0  # 0: the server named none
    sample_use_retrieve_futures: bool = False
    sample_join_sampling_session: bool = False
    refresh_interval_sec: float = 300.0
    sample_cancel_enabled: bool = False
    sample_cancel_max_batch_size: int = 64

    def __init__(self, **told: Any) -> None:
        vars(self).update(told)

    def updated(self, answer: Mapping[str, Any]) -> Flags:
        """These flags with what `answer` says, within limits; unknown names and values of another type are left out."""
        told = vars(self).copy()
        for name in Flags.__annotations__:
            value, default = answer.get(name), getattr(Flags, name)
            wanted: Any = (int, float) if isinstance(default, float) else type(default)
            if isinstance(value, wanted) and isinstance(value, bool) == isinstance(default, bool) and _sane(value):
                told[name] = limits.FLAGS[name].apply(value) if name in limits.FLAGS else value
        return Flags(**told)


class ServerFlags(SnapshotCell[Flags]):
    """Current server flags: read at start-up, refreshed while the service lives."""

    __slots__ = ("_api",)

    def __init__(self, api: Api) -> None:
        super().__init__(Flags())
        self._api = api

    def start(self) -> Coroutine[None]:
        """Read the flags for the first time, and set up the credential as they say."""
        config = self._api.config.current
        yield from self._read(CLIENT_CONFIG, config)
        flags = self.current
        self._api.auth.configure(
            exchanges=flags.pjwt_auth_enabled, command_required=flags.credential_default_source == "credential_cmd"
        )
        yield from self._read(DYNAMIC_CONFIG, config)

    def keep_fresh(self) -> Coroutine[None]:
        """Read the flags again and again; returns where the server has none."""
        api, body = self._api, _wire.encode_json({"sdk_version": PROTOCOL_VERSION})
        while True:
            yield Sleep(api.clock.monotonic() + self.current.refresh_interval_sec)
            try:
                response = yield from api.call(DYNAMIC_CONFIG, body, api.config.current, seconds=_TIMEOUT)
                if response.status in _NO_SUCH_ENDPOINT:
                    return
                if response.status < 300:
                    self._take(decode_object(response))
            except Exception as error:  # noqa: BLE001 - any error may be over at the next time
                words = api.masked(str(error))
                logger.debug("The server's flags could not be refreshed; the last ones stay: %s", words)

    def _read(self, endpoint: Endpoint, config: ClientConfig) -> Coroutine[None]:
        try:
            answer = yield from self._api.ask(endpoint, {"sdk_version": PROTOCOL_VERSION}, config)
        except APIStatusError as error:
            if error.status not in _NO_SUCH_ENDPOINT:
                raise
            return
        self._take(answer)

    def _take(self, answer: Mapping[str, Any]) -> None:
        self.update(lambda flags: flags.updated(answer))


def _sane(value: object) -> bool:
    return not isinstance(value, int | float) or 0 <= value <= _LARGEST
