"""A synchronous, thread-pool client for the sampling side of the Tinker API.

>>> import tinkex
>>> tinkex.SamplingParams(max_tokens=16).temperature
1.0

Each name is loaded with the first use of it, so that `import tinkex` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinkex._identity import __version__

if TYPE_CHECKING:
    from tinkex import chat as chat
    from tinkex import credentials as credentials
    from tinkex import errors as errors
    from tinkex import instrumentation as instrumentation
    from tinkex import tokenizers as tokenizers
    from tinkex import types as types
    from tinkex.config import ClientConfig, RetryConfig
    from tinkex.errors import (
        APIConnectionError,
        APIError,
        APIResponseError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        BillingError,
        ClientClosedError,
        ConflictError,
        CredentialError,
        ForkedFutureError,
        InternalServerError,
        MissingExtraError,
        MissingFeatureError,
        NotFoundError,
        NoThreadsError,
        PermissionDeniedError,
        QueueFullError,
        RateLimitError,
        RequestFailedError,
        SampleTimeoutError,
        TinkexError,
        UnprocessableEntityError,
    )
    from tinkex.future import SampleFuture
    from tinkex.listing import Listing
    from tinkex.queue_state import QueueState, QueueStateChanged, QueueStateLogger, QueueStateObserver
    from tinkex.sampling_client import SamplingClient
    from tinkex.service_client import ServiceClient
    from tinkex.telemetry import Telemetry
    from tinkex.text import ChatResponse, SampledAnswer, SampledText, ScoredText, ScoreResponse, TextResponse
    from tinkex.tokenizers import get_tokenizer
    from tinkex.types import (
        Checkpoint,
        DmelChunk,
        EncodedTextChunk,
        Health,
        ImageAssetPointerChunk,
        ImageChunk,
        ModelInput,
        PromptAltTokens,
        SampledSequence,
        SampleRequest,
        SampleResponse,
        SamplerInfo,
        SamplingParams,
        ServerCapabilities,
        ServiceStats,
        SessionInfo,
        SupportedModel,
        TensorData,
        Timing,
        TopkLogprobs,
        TrainingRun,
        Usage,
        WeightsInfo,
    )

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BillingError",
    "ChatResponse",
    "Checkpoint",
    "ClientClosedError",
    "ClientConfig",
    "ConflictError",
    "CredentialError",
    "DmelChunk",
    "EncodedTextChunk",
    "ForkedFutureError",
    "Health",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "InternalServerError",
    "Listing",
    "MissingExtraError",
    "MissingFeatureError",
    "ModelInput",
    "NoThreadsError",
    "NotFoundError",
    "PermissionDeniedError",
    "PromptAltTokens",
    "QueueFullError",
    "QueueState",
    "QueueStateChanged",
    "QueueStateLogger",
    "QueueStateObserver",
    "RateLimitError",
    "RequestFailedError",
    "RetryConfig",
    "SampleFuture",
    "SampleRequest",
    "SampleResponse",
    "SampleTimeoutError",
    "SampledAnswer",
    "SampledSequence",
    "SampledText",
    "SamplerInfo",
    "SamplingClient",
    "SamplingParams",
    "ScoreResponse",
    "ScoredText",
    "ServerCapabilities",
    "ServiceClient",
    "ServiceStats",
    "SessionInfo",
    "SupportedModel",
    "Telemetry",
    "TensorData",
    "TextResponse",
    "Timing",
    "TinkexError",
    "TopkLogprobs",
    "TrainingRun",
    "UnprocessableEntityError",
    "Usage",
    "WeightsInfo",
    "__version__",
    "get_tokenizer",
]

_MODULES = {  # where a name comes from that is neither an error nor one of the types
    "ClientConfig": "config",
    "Listing": "listing",
    "QueueState": "queue_state",
    "QueueStateChanged": "queue_state",
    "QueueStateLogger": "queue_state",
    "QueueStateObserver": "queue_state",
    "RetryConfig": "config",
    "SampleFuture": "future",
    "SamplingClient": "sampling_client",
    "ServiceClient": "service_client",
    "Telemetry": "telemetry",
    **dict.fromkeys(
        ("ChatResponse", "SampledAnswer", "SampledText", "ScoreResponse", "ScoredText", "TextResponse"), "text"
    ),
    "get_tokenizer": "tokenizers",
}

_SUBMODULES = {
    *("bulk", "chat", "check", "credentials", "errors", "instrumentation", "local", "report", "tokenizers"),
    *("types", "web"),
}

if not TYPE_CHECKING:  # a checker would take any name for one that exists

    def __getattr__(name: str) -> Any:
        if name in __all__:
            home = _MODULES.get(name) or ("errors" if name.endswith("Error") else "types")
            value = getattr(importlib.import_module(f"tinkex.{home}"), name)
        elif name in {*_SUBMODULES, *_MODULES.values()}:
            value = importlib.import_module(f"tinkex.{name}")
        else:
            raise AttributeError(f"module 'tinkex' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES})
