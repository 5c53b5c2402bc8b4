"""TinkexAPI: a model API of inspect-ai that samples through tinkex, in asyncio."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Final, TypeVar

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelCall,
    ModelOutput,
    RetryDecision,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from tinkex.errors import APIConnectionError, AuthenticationError, RateLimitError, TinkexError
from tinkex.plugins.in_process import InProcessGateway, shared_gateway
from tinkex.plugins.inspect_messages import model_output, request_body
from tinkex.serve.errors import GatewayError, gateway_error

T = TypeVar("T")
_MOST_CONNECTIONS: Final = 1000
_TOO_LONG: Final = "context_length_exceeded"


class TinkexAPI(ModelAPI):
    """Model API of inspect-ai: ``--model tinkex/NAME``, with any name that the gateway takes.

    Args:
        model_name: What to sample from: a base model, ``tinker://...``, or ``BASE;tinker://...``.
        base_url: The server; None: ``TINKER_BASE_URL``, or the official one.
        api_key: The key; None: where tinkex takes it from.
        config: How inspect-ai generates.
        tokenizer: ``-M tokenizer=...``: a name or a path; None: the model's own.

    Needs inspect-ai's asyncio backend, which it has by default.
    """

    def __init__(
        self, model_name: str, base_url: str | None = None, api_key: str | None = None,
        config: GenerateConfig | None = None, tokenizer: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model_name, base_url, api_key, ["TINKER_API_KEY"], config or GenerateConfig())
        self._tokenizer = tokenizer

    @property
    def _gateway(self) -> InProcessGateway:
        return shared_gateway(base_url=self.base_url, api_key=self.api_key, tokenizer=self._tokenizer)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput | tuple[ModelOutput | Exception, ModelCall]:
        """Sample the answer to a conversation.

        What does not fit into the model's context is an answer with the stop reason ``model_length``.
        """
        body = request_body(self.model_name, input, tools, tool_choice, config)
        try:
            opened = await _awaited(self._gateway.open(self.model_name))
            answer = await _awaited(self._gateway.chat(body))
        except (GatewayError, TinkexError) as error:
            found = gateway_error(error)
            if found.code != _TOO_LONG:
                raise
            output = ModelOutput.from_content(self.model_name, found.message, "model_length", found.message)
            return output, ModelCall.create(body, found.body)
        return model_output(answer, config, opened.max_context_length), ModelCall.create(body, answer)

    async def tokenize(self, text: str) -> list[int]:
        """Turn text into token ids, without special tokens."""
        vocabulary = await _awaited(self._gateway.vocabulary(self.model_name))
        return vocabulary.encode(text, add_special_tokens=False)

    async def count_text_tokens(self, text: str) -> int:
        """Count the tokens of a text, with the model's own tokenizer."""
        return len(await self.tokenize(text))

    def max_connections(self) -> int:
        """Return how many samples may be in flight, where inspect-ai does not adapt that itself."""
        return _MOST_CONNECTIONS

    def connection_key(self) -> str:
        """Return what connections are counted by: server, key and model."""
        return f"{self.base_url}:{self.initial_api_key}:{self.model_name}"

    def should_retry(self, ex: Exception) -> RetryDecision:
        """Tell whether the same call could be made again after a while.

        tinkex has tried again by itself for as long as it is configured to. What cannot be mended is not tried again:
        a request that is wrong, a key that is refused, a server that has never answered.
        """
        if not isinstance(ex, TinkexError) or not ex.retryable:
            return RetryDecision.no()
        if isinstance(ex, RateLimitError):
            return RetryDecision.rate_limit(ex.retry_after)
        if isinstance(ex, APIConnectionError) and self._gateway.service.stats().last_heartbeat is None:
            return RetryDecision.no()
        return RetryDecision.transient(getattr(ex, "retry_after", None))

    def is_auth_failure(self, ex: Exception) -> bool:
        """Tell whether the server refuses the key, so that inspect-ai asks its hooks for another."""
        return isinstance(ex, AuthenticationError)


async def _awaited(future: Future[T]) -> T:
    """Return a future's result; a cancel cancels it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError as error:
        future.cancel()
        raise RuntimeError("tinkex needs asyncio: unset INSPECT_ASYNC_BACKEND, or set it to asyncio") from error
    return await asyncio.wrap_future(future, loop=loop)
