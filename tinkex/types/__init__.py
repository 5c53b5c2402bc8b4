"""Data types of prompts, parameters, requests and results: immutable, checked when they are made."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from tinkex.types._forms import columns
from tinkex.types.chunks import Chunk, DmelChunk, EncodedTextChunk
from tinkex.types.images import ImageAssetPointerChunk, ImageChunk, ImageFormat
from tinkex.types.model_input import ModelInput
from tinkex.types.params import SamplingParams
from tinkex.types.request import SampleRequest
from tinkex.types.response import PromptAltTokens, SampleResponse, Timing, Usage
from tinkex.types.sequence import SampledSequence, StopReason
from tinkex.types.tensor import TensorData, TensorDtype
from tinkex.types.topk import TopkLogprobs

if TYPE_CHECKING:
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


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Load a record with its first use: no sample needs one."""
        if name not in __all__ and name != "records":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        records = importlib.import_module(f"{__name__}.records")
        return records if name == "records" else getattr(records, name)


class _MovedModule(types.ModuleType):
    """Records under the name of the module that they were in before."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("tinkex.types.records"), name)


sys.modules[f"{__name__}._column"] = columns  # where pickles made before a move look
sys.modules[f"{__name__}.service"] = _MovedModule(f"{__name__}.service")


def __dir__() -> list[str]:
    return sorted(__all__)
