"""Service client with those of the official SDK's methods that sampling needs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import attrs

from tinkex import ClientConfig, ServiceClient
from tinkex._validation.public_names import with_public_names
from tinkex.compat._errors import official_errors
from tinkex.compat._future import CompatFuture
from tinkex.compat._requests import to_retry_config
from tinkex.compat._responses import from_capabilities
from tinkex.compat._sampling_client import CompatSamplingClient
from tinkex.compat._sdk import official


@with_public_names
class CompatServiceClient:
    """A service client of tinkex with the methods of the official SDK's `ServiceClient` that sampling needs.

    Training is not among them: use the SDK's own class for it, and `install`. Safe to share between threads.

    Args:
        user_metadata: JSON to file with the session.
        project_id: The project of the session.
        display_name: The session's name in lists.
        base_url: The server.
        api_key: The key.
        default_headers_overrides: Headers to send with every request.
        config: Further settings, which the SDK does not have.

    None means what it means to `tinkex.ServiceClient`.
    """

    def __init__(
        self,
        user_metadata: Mapping[str, str] | None = None,
        project_id: str | None = None,
        *,
        display_name: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        default_headers_overrides: Mapping[str, str] | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        official()
        if default_headers_overrides:
            config = attrs.evolve(config or ClientConfig(), default_headers=default_headers_overrides)
        with official_errors():
            self._service = ServiceClient(
                api_key=api_key, base_url=base_url, config=config, user_metadata=user_metadata, project_id=project_id,
                display_name=display_name,
            )  # fmt: skip

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
    ) -> CompatSamplingClient:
        """A client for saved weights, or a base model: await it, ask for its `result()`, or use it as it is."""
        with official_errors():
            creation = self._service.create_sampling_client_async(
                model_path=model_path, base_model=base_model, retry_config=to_retry_config(retry_config),
                record_stability_info=record_stability_info,
            )  # fmt: skip
        return CompatSamplingClient(creation)

    async def create_sampling_client_async(self, *args: Any, **options: Any) -> CompatSamplingClient:
        """The same as `await create_sampling_client(...)`."""
        return await self.create_sampling_client(*args, **options)

    def get_server_capabilities(self) -> Any:
        """What the server offers, as the SDK's `GetServerCapabilitiesResponse`; blocks."""
        with official_errors():
            return from_capabilities(self._service.get_server_capabilities())

    async def get_server_capabilities_async(self) -> Any:
        """The same in a coroutine; the loop goes on meanwhile."""
        import asyncio

        return await asyncio.to_thread(self.get_server_capabilities)

    def create_rest_client(self) -> Any:
        """The SDK's own `RestClient` of the same server and key."""
        config = self._service.config
        return official().RestClient(base_url=config.base_url, api_key=config.api_key)

    def close(self, status: str = "success", detail: str | None = None) -> CompatFuture[None]:
        """Close the client in the background; the future ends when that is done.

        With "success", samples under way have 30 seconds and fail then; with "errored" and "interrupted" they are
        cancelled. Samples that begin later raise.
        """
        ended: Future[None] = Future()

        def end() -> None:
            try:
                self._service.close(cancel_pending=status != "success", reason=status, detail=detail)
            except BaseException as error:  # noqa: BLE001 - it is for the caller, who may ask
                ended.set_exception(error)
            else:
                ended.set_result(None)

        threading.Thread(target=end, name="tinkex-compat-close", daemon=True).start()
        return CompatFuture(ended, lambda _: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._service.__exit__(kind, error, at)

    def __getattr__(self, name: str) -> Any:
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        if not name.startswith("_") and hasattr(official().ServiceClient, name):
            text = f"{name} is not for sampling: use tinker.ServiceClient, and sample with tinkex.compat.install()"
        raise AttributeError(text)
