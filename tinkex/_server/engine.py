"""What a server runs to answer a sample, and how that can fail."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tinkex.types import SampleRequest, SampleResponse, SupportedModel


class EngineError(Exception):
    """A sample the engine could not, or would not, serve.

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


class Engine(Protocol):
    """Computes answers on a thread of its own; one call a sample."""

    @property
    def models(self) -> Sequence[SupportedModel]:
        """The models it serves."""

    def sample(self, request: SampleRequest, *, model: str, cancelled: threading.Event) -> SampleResponse:
        """Answer one sample; stop early, with any error, once *cancelled* is set."""


@runtime_checkable
class AsyncEngine(Protocol):
    """Computes answers on the server's event loop: for engines that mostly wait.

    Thousands of samples can wait at once without a thread each. Cancelling a sample cancels the
    coroutine.
    """

    @property
    def models(self) -> Sequence[SupportedModel]:
        """The models it serves."""

    async def sample_async(self, request: SampleRequest, *, model: str) -> SampleResponse:
        """Answer one sample."""
