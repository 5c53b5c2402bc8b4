"""A synchronous, thread-pool client for the sampling side of the Tinker API.

>>> import tinkex
>>> tinkex.SamplingParams(max_tokens=16).temperature
1.0
"""

from __future__ import annotations

import logging

from tinkex._version import __version__
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
    MissingFeatureError,
    NotFoundError,
    PermissionDeniedError,
    QueueFullError,
    RateLimitError,
    RequestFailedError,
    SampleTimeoutError,
    TinkexError,
    UnprocessableEntityError,
)
from tinkex.future import SampleFuture
from tinkex.queue_state import QueueState, QueueStateChanged, QueueStateLogger, QueueStateObserver
from tinkex.sampling_client import SamplingClient
from tinkex.service_client import ServiceClient
from tinkex.telemetry import Telemetry
from tinkex.tokenizers import get_tokenizer
from tinkex.types import (
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
    SamplingParams,
    ServerCapabilities,
    ServiceStats,
    SupportedModel,
    TensorData,
    Timing,
    TopkLogprobs,
    Usage,
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
    "MissingFeatureError",
    "ModelInput",
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
    "SampledSequence",
    "SamplingClient",
    "SamplingParams",
    "ServerCapabilities",
    "ServiceClient",
    "ServiceStats",
    "SupportedModel",
    "Telemetry",
    "TensorData",
    "Timing",
    "TinkexError",
    "TopkLogprobs",
    "UnprocessableEntityError",
    "Usage",
    "__version__",
    "get_tokenizer",
]

logging.getLogger("tinkex").addHandler(logging.NullHandler())
