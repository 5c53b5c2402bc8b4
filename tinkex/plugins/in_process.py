"""The gateway inside this process: chats and completions in OpenAI's form, without HTTP."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from tinkex.serve.dialect.chat import ChatFields, complete_chat
from tinkex.serve.dialect.completions import CompletionFields, complete_text
from tinkex.serve.dialect.fields import BodyFields
from tinkex.serve.models import ModelRegistry, ModelVocabulary, ServedModel
from tinkex.service_client import ServiceClient

T = TypeVar("T")
_CLOSE_SECONDS: Final = 1.0


class InProcessGateway:
    """What `tinkex.serve.Gateway` answers, for programs in the same process. Safe to share between threads.

    Request bodies and answers are those of the gateway. Each call returns a future at once: it raises `GatewayError`,
    `TinkexError` or ValueError, and cancelling it cancels the sample. No thread is held while the server thinks.

    Args:
        service: Where it samples; it stays open when the gateway is closed.
        tokenizer: The tokenizer of all models: a name, a path or an object. None: each model's own.
    """

    def __init__(self, service: ServiceClient, *, tokenizer: object = None) -> None:
        self.service = service
        self._registry = ModelRegistry(service, {}, tokenizer)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tinkex-plugin", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def open(self, model: str | None) -> Future[ServedModel]:
        """Open a model by any name that the gateway takes; None: the only one that the server has."""
        return self._begin(self._registry.get(model))

    def vocabulary(self, model: str | None) -> Future[ModelVocabulary]:
        """Return the vocabulary of a model, and what is made of it."""
        return self._begin(self._vocabulary(model))

    def models(self) -> Future[list[dict[str, Any]]]:
        """List the models as ``/v1/models`` does."""
        return self._begin(self._registry.entries())

    def chat(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Future[dict[str, Any]]:
        """Answer the body of a request for ``/v1/chat/completions``; `timeout` is the sample's deadline in seconds."""
        return self._begin(self._chat(body, timeout))

    def complete(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Future[dict[str, Any]]:
        """Answer the body of a request for ``/v1/completions``; `timeout` is the sample's deadline in seconds."""
        return self._begin(self._complete(body, timeout))

    def close(self) -> None:
        """Cancel what is under way, and end. Idempotent."""
        atexit.unregister(self.close)
        with contextlib.suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("The gateway is closed, or was made before a fork: make a new one.")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _vocabulary(self, model: str | None) -> ModelVocabulary:
        return await (await self._registry.get(model)).vocabulary()

    async def _chat(self, body: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
        asked = ChatFields.read(BodyFields(body))
        return await complete_chat(await self._registry.get(asked.sampling.model), asked, 0, seconds)

    async def _complete(self, body: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
        asked = CompletionFields.read(BodyFields(body))
        return await complete_text(await self._registry.get(asked.sampling.model), asked, seconds)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()


_lock = threading.Lock()  # guards _shared
_shared: dict[tuple[object, ...], InProcessGateway] = {}


def shared_gateway(
    *, base_url: str | None = None, api_key: str | None = None, tokenizer: str | None = None
) -> InProcessGateway:
    """Return the gateway of this process for a server, a key and a tokenizer; None: as `ServiceClient` takes them.

    Raises:
        TypeError, ValueError: A setting is wrong; the text names it.
    """
    key = (os.getpid(), base_url, api_key, tokenizer)
    with _lock:
        if key not in _shared:
            service = ServiceClient(base_url=base_url, api_key=api_key)
            _shared[key] = InProcessGateway(service, tokenizer=tokenizer)
        return _shared[key]


def wait_for(future: Future[T]) -> T:
    """Return a future's result; Ctrl-C while it is waited for cancels it."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
