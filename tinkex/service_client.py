"""Service client: the entry point, a connection to one Tinker server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs

from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock
from tinkex._runtime.task import Coroutine
from tinkex._service.handle import Handle, name_of_model
from tinkex._service.lifecycle import ServiceLifecycle, ServiceReference
from tinkex._service.listings import Reads
from tinkex._validation.arguments import check_flag, check_model, check_observer, check_timeout
from tinkex._validation.calls import explained
from tinkex._validation.values import shown
from tinkex.config import ClientConfig, RetryConfig, config_from_env, direct_config
from tinkex.credentials import check_credential
from tinkex.errors import extra
from tinkex.errors._frames import frameless
from tinkex.queue_state import QueueStateObserver
from tinkex.sampling_client import SamplingClient
from tinkex.telemetry import Telemetry

if TYPE_CHECKING:
    from tinkex.instrumentation import Instrumentation, InstrumentedService
    from tinkex.types import Health, ServerCapabilities, ServiceStats

_REASONS = ("success", "errored", "interrupted")  # as the protocol has them


class ServiceClient(Reads):
    """A connection to one Tinker server under one credential: hands out `SamplingClient`s. Safe to share.

    Nothing is sent before it is first used. Close it, or use it as a context manager: leaving the block waits for what
    is under way, or, when an exception leaves it, cancels.

    Args:
        api_key: The key. None: `TINKER_API_KEY`, `TINKER_CREDENTIAL_CMD` or the stored login; some servers need none.
        base_url: The server. None: `TINKER_BASE_URL`, or the official one.
        config: Further settings; arguments go before it, and it before the environment.
        user_metadata: JSON to file with the session.
        project_id: The project of the session. None: `TINKER_PROJECT_ID`, or none.
        display_name: The session's name in lists.
        observers: Told when the server pauses samples and goes on, besides the log.

    Raises:
        TypeError, ValueError: A setting is wrong; the text names it.
    """

    @frameless
    @explained(fields={"config=tinkex.ClientConfig(...)": attrs.fields_dict(ClientConfig)})
    def __init__(
        self, *, api_key: str | None = None, base_url: str | None = None, config: ClientConfig | None = None,
        user_metadata: Mapping[str, object] | None = None, project_id: str | None = None,
        display_name: str | None = None, observers: Iterable[QueueStateObserver] = (), _clock: Clock = SYSTEM_CLOCK,
        _settings: ClientConfig | None = None,
    ) -> None:  # fmt: skip
        settings = _settings or config_from_env(
            base=config, api_key=api_key, base_url=base_url, user_metadata=user_metadata, project_id=project_id,
            display_name=display_name,
        )  # fmt: skip
        if settings.api_key is not None:
            check_credential(settings.api_key, settings.base_url)
        if not isinstance(observers, Iterable):
            raise TypeError(f"observers must be a list of observers, not {shown(observers)}")
        given = tuple(observers)
        for observer in given:
            check_observer("observers", observer)
        self._lifecycle = ServiceLifecycle(settings, given, _clock)
        self._reference = ServiceReference(self._lifecycle, warn=True)

    @classmethod
    def direct(
        cls, base_url: str, *, config: ClientConfig | None = None, api_key: str = "tml-local",
        observers: Iterable[QueueStateObserver] = (),
    ) -> Self:  # fmt: skip
        """A client of a server that this program has started, such as a `LocalServer` or a `FakeServer`.

        It goes there directly. The environment's proxies, netrc entry, headers and key are for other servers and not
        used, nor are those of `config`; its other settings are.
        """
        return cls(observers=observers, _settings=direct_config(base_url, config, api_key))

    @classmethod
    def local(cls, *, config: ClientConfig | None = None, server: Any = None, **options: Any) -> Self:
        """A client of a small real model on this machine; needs the `local` extra, no key and no network.

        The first use fetches the model (98 MB). `options` are those of `tinkex.local.LocalServer`; instead, `server` is
        one that was made, and perhaps started, before. The model's server is a process of its own and ends with this
        client, which reaches it as `direct` does. `local_model` is the name to sample from.
        """
        with extra("local", "ServiceClient.local()"):
            from tinkex.local import LocalServer

            if server is not None and options:
                raise TypeError(f"server is made already: {', '.join(sorted(options))} cannot be changed")
            server = (server or LocalServer(**options)).start()
        try:
            client = cls(_settings=direct_config(server.url, config))
        except BaseException:
            server.close()
            raise
        client._reference.keeps = server
        return client

    @property
    def local_model(self) -> str:
        """The name of the model of a client made by `local()`."""
        if self._reference.keeps is None:
            raise ValueError("local_model is for clients made by ServiceClient.local()")
        return str(self._reference.keeps.base_model)

    @property
    def config(self) -> ClientConfig:
        """The current settings, immutable."""
        return self._lifecycle.config.current

    @frameless
    def reconfigure(self, **changes: Any) -> ClientConfig:
        """Change settings from now on, for example rotate `api_key`; returns the new ones.

        All of the changes are made, or, where one is wrong, none. Samples under way keep the settings they began with,
        except the key, which every request reads anew. Never waits for samples, nor they for it.
        """
        return self._lifecycle.reconfigure(changes)

    @explained()
    def create_sampling_client(
        self, *, base_model: str | None = None, model_path: str | None = None, sampling_session_id: str | None = None,
        retry_config: RetryConfig | None = None, record_stability_info: bool = False,
        queue_state_observer: QueueStateObserver | None = None, timeout: float | None = None,
    ) -> SamplingClient:  # fmt: skip
        """A client for one model; blocks for a request or a few.

        Args:
            base_model: The name of a base model, such as "Qwen/Qwen3-8B".
            model_path: Saved weights, as "tinker://...". With `base_model`, weights of that model: the server gets
                both, and is not asked for the model later.
            sampling_session_id: Attach to an existing sampling session instead.
            retry_config: How its samples retry. None: as the service is configured.
            record_stability_info: Ask the server to record what it needs to judge numerical stability.
            queue_state_observer: Told about the queue of its samples, besides the service's observers.
            timeout: Seconds to wait. None: the configured deadline.

        Raises:
            TypeError, ValueError: An argument is wrong, missing or one too many.
            APIError: The server could not be reached, or refused.
        """
        return self.create_sampling_client_async(
            base_model=base_model, model_path=model_path, sampling_session_id=sampling_session_id,
            retry_config=retry_config, record_stability_info=record_stability_info,
            queue_state_observer=queue_state_observer, timeout=timeout,
        ).result()  # fmt: skip

    @explained()
    def create_sampling_client_async(
        self, *, base_model: str | None = None, model_path: str | None = None, sampling_session_id: str | None = None,
        retry_config: RetryConfig | None = None, record_stability_info: bool = False,
        queue_state_observer: QueueStateObserver | None = None, timeout: float | None = None,
    ) -> Future[SamplingClient]:  # fmt: skip
        """The same as a future: returns at once; wrong arguments still raise here."""
        check_model(base_model, model_path, sampling_session_id)
        if self._reference.keeps is not None:
            self._check_local(base_model, model_path)
        if retry_config is not None and not isinstance(retry_config, RetryConfig):
            raise TypeError(f"retry_config must be a RetryConfig, not {type(retry_config).__name__}")
        check_flag("record_stability_info", record_stability_info)
        observers = () if queue_state_observer is None else (queue_state_observer,)
        for observer in observers:
            check_observer("queue_state_observer", observer)

        def coroutine() -> Coroutine[SamplingClient]:
            session = self._lifecycle.start().session
            found, original, tokenizer_id = sampling_session_id, sampling_session_id is None, None
            if found is None:
                found, tokenizer_id = yield from session.create_sampling_session(base_model, model_path)
                self._lifecycle.start().telemetry.begin()
                session.learn_capabilities()
            identity = Handle(
                self.config.base_url, found, session.session_id, base_model, record_stability_info, model_path,
                name_of_model(base_model, model_path) if original else None, tokenizer_id,
            )  # fmt: skip
            return SamplingClient(self._reference, identity, original=original, retry=retry_config, observers=observers)

        return self._lifecycle.run(coroutine, timeout, "create_sampling_client")

    def get_server_capabilities(self, *, timeout: float | None = None) -> ServerCapabilities:
        """What the server offers; blocks. Raises APIError where it does not say."""
        session = self._lifecycle.start().session
        capabilities: ServerCapabilities = self._lifecycle.run(
            session.fetch_capabilities, timeout, "get_server_capabilities"
        ).result()
        return capabilities

    def stats(self) -> ServiceStats:
        """Statistics of the service at this moment; never blocks."""
        return self._lifecycle.stats()

    def health(self) -> Health:
        """Health check: whether the client can be expected to work; never blocks and sends nothing."""
        return self._lifecycle.health()

    def install(self, instrumentation: Instrumentation) -> InstrumentedService:
        """Observe the samples that begin from now on; see `tinkex.instrumentation`. Returns what they are begun of."""
        import tinkex.instrumentation  # noqa: F401 - what samples need of it, here rather than with the first

        self._lifecycle.instrumentations.add(instrumentation)
        return self._lifecycle

    def uninstall(self, instrumentation: Instrumentation) -> None:
        """Observe no more samples; those under way are observed to their end."""
        self._lifecycle.instrumentations.remove(instrumentation)

    def get_telemetry(self) -> Telemetry | None:
        """The reporter to the server; None where telemetry is off, or before the session begins."""
        runtime = self._lifecycle.runtime
        return None if runtime is None else runtime.telemetry.telemetry

    def close(
        self, timeout: float = 30.0, cancel_pending: bool = False, *, reason: str = "success", detail: str | None = None
    ) -> None:
        """Close the client: samples under way have `timeout` seconds, the rest fail with ClientClosedError.

        With `cancel_pending` they are cancelled at once. The session is finished, threads and connections end.
        The server files the session under `reason`, "success", "errored" or "interrupted", with `detail` as its
        explanation. Idempotent.
        """
        seconds = 0.0 if timeout == 0 else check_timeout(timeout)
        if reason not in _REASONS:
            raise ValueError(f"reason must be one of {', '.join(_REASONS)}, not {reason!r}")
        self._end(seconds, cancel_pending=cancel_pending, reason=reason, detail=detail)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._end(float("inf"), cancel_pending=False, reason="success")
        else:
            reason = "errored" if isinstance(error, Exception) else "interrupted"
            self._end(0.0, cancel_pending=True, reason=reason, detail=type(error).__name__)

    def __repr__(self) -> str:
        return f"<ServiceClient of {self.config.base_url}{', closed' if self._lifecycle.closed else ''}>"

    def _check_local(self, base_model: str | None, model_path: str | None) -> None:
        """Refuse what the small model's server cannot have, with the name that it has."""
        if model_path is not None:
            raise ValueError("model_path is for servers that keep weights: a local one has its base_model alone")
        if base_model not in (None, self.local_model):
            raise ValueError(f"base_model must be {self.local_model!r} here, service.local_model, not {base_model!r}")

    def _end(self, timeout: float, *, cancel_pending: bool, reason: str, detail: str | None = None) -> None:
        try:
            self._lifecycle.close(timeout, cancel_pending=cancel_pending, reason=reason, detail=detail)
        finally:
            if self._reference.keeps is not None:
                self._reference.keeps.close()
