"""Engine interfaces of the server: what computes a sample, and the error it may raise."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tinkex.types import SampleRequest, SampleResponse, SupportedModel


class EngineError(Exception):
    """Failure of one sample, raised by an engine.

    `status` is the HTTP status for servers that report failures as one, `category` is "user" when
    the request was at fault and "server" when the engine was.
    """

    def __init__(self, message: str, status: int = 400, category: str = "user") -> None:
        super().__init__(message, status, category)
        self.message = message
        self.status = status
        self.category = category

    def __str__(self) -> str:
        return self.message


class BlockingEngine(Protocol):
    """Blocking engine: called on a thread of the server's pool, once a sample."""

    @property
    def models(self) -> Sequence[SupportedModel]:
        """The supported models; the first is the default."""

    def sample(self, request: SampleRequest, *, model: str, cancelled: threading.Event) -> SampleResponse:
        """Answer one sample; stop early, with any error, once *cancelled* is set."""


@runtime_checkable
class AsyncEngine(Protocol):
    """Asynchronous engine: runs on the server's event loop, for engines that mostly wait.

    Thousands of samples can wait at once without a thread each. Cancelling a sample cancels the
    coroutine.
    """

    @property
    def models(self) -> Sequence[SupportedModel]:
        """The supported models; the first is the default."""

    async def sample_async(self, request: SampleRequest, *, model: str, weights: str | None) -> SampleResponse:
        """Answer one sample of a base model, or of the saved weights that stand under that path."""
