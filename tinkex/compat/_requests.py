"""What goes in: the official SDK's prompts, parameters and tensors as those of tinkex."""

from __future__ import annotations

from typing import Any

from tinkex.compat._sdk import official
from tinkex.config import RetryConfig
from tinkex.types import (
    Chunk,
    DmelChunk,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    SamplingParams,
    TensorData,
)


def to_model_input(prompt: Any) -> Any:
    """The SDK's prompt as one of tinkex; anything else is left as it is, for tinkex to take or refuse."""
    return ModelInput(map(_chunk, prompt.chunks)) if isinstance(prompt, official().ModelInput) else prompt


def _chunk(chunk: Any) -> Chunk:
    if chunk.type == "encoded_text":
        return EncodedTextChunk(chunk.tokens)
    if chunk.type == "image":
        return ImageChunk(chunk.data, chunk.format, chunk.expected_tokens)
    if chunk.type == "image_asset_pointer":
        return ImageAssetPointerChunk(chunk.location, chunk.format, chunk.expected_tokens)
    if chunk.type == "dmel":
        return DmelChunk(chunk.dmel)
    raise TypeError(f"prompt has a chunk of the type {chunk.type!r}, which tinkex does not know")


def to_sampling_params(params: Any) -> Any:
    """The SDK's sampling parameters as those of tinkex; anything else is left as it is."""
    if not isinstance(params, official().SamplingParams):
        return params
    return SamplingParams(params.max_tokens, params.seed, params.stop, params.temperature, params.top_k, params.top_p)


def to_tensor(tensor: Any) -> Any:
    """The SDK's tensor as one of tinkex; None, and anything else, is left as it is."""
    if not isinstance(tensor, official().TensorData):
        return tensor
    return TensorData(
        tensor.data, tensor.dtype, tensor.shape, tensor.sparse_crow_indices, tensor.sparse_col_indices
    )  # fmt: skip


def to_retry_config(config: Any) -> RetryConfig | None:
    """The SDK's retry configuration as one of tinkex, which has no limits on connections and progress in it."""
    if config is None or isinstance(config, RetryConfig):
        return config
    if not config.enable_retry_logic:
        return RetryConfig(max_attempts=1)
    return RetryConfig(
        base_delay=config.retry_delay_base, max_delay=config.retry_delay_max, jitter=config.jitter_factor
    )
