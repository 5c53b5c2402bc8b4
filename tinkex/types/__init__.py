"""Data types of prompts, parameters, requests and results: immutable, checked when they are made."""

from __future__ import annotations

import sys

from tinkex.types import records
from tinkex.types._forms import columns
from tinkex.types.chunks import Chunk, DmelChunk, EncodedTextChunk
from tinkex.types.images import ImageAssetPointerChunk, ImageChunk, ImageFormat
from tinkex.types.model_input import ModelInput
from tinkex.types.params import SamplingParams
from tinkex.types.records import (
    Checkpoint,
    Health,
    SamplerInfo,
    ServerCapabilities,
    ServiceStats,
    SessionInfo,
    SupportedModel,
    TrainingRun,
    WeightsInfo,
)
from tinkex.types.request import SampleRequest
from tinkex.types.response import PromptAltTokens, SampleResponse, Timing, Usage
from tinkex.types.sequence import SampledSequence, StopReason
from tinkex.types.tensor import TensorData, TensorDtype
from tinkex.types.topk import TopkLogprobs

ModelInputChunk = Chunk  # the official SDK's name for it

__all__ = [
    "Checkpoint",
    "Chunk",
    "DmelChunk",
    "EncodedTextChunk",
    "Health",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "ImageFormat",
    "ModelInput",
    "ModelInputChunk",
    "PromptAltTokens",
    "SampleRequest",
    "SampleResponse",
    "SampledSequence",
    "SamplerInfo",
    "SamplingParams",
    "ServerCapabilities",
    "ServiceStats",
    "SessionInfo",
    "StopReason",
    "SupportedModel",
    "TensorData",
    "TensorDtype",
    "Timing",
    "TopkLogprobs",
    "TrainingRun",
    "Usage",
    "WeightsInfo",
]

for _name, _module in {"_column": columns, "service": records}.items():  # where pickles made before a move look
    sys.modules[f"{__name__}.{_name}"] = _module
