"""What comes out: results of tinkex as the official SDK's types, of whose arrays it makes lists on access."""

from __future__ import annotations

import uuid
from typing import Any

from tinkex.compat._sdk import official
from tinkex.types import (
    PromptAltTokens,
    SampledSequence,
    SampleResponse,
    ServerCapabilities,
    TensorData,
    TopkLogprobs,
)


def from_response(response: SampleResponse) -> Any:
    """The SDK's response of equal contents.

    The SDK's sequences always have an id. Where the server gave none, one is made, of the request's.
    """
    types = official().types
    request_id = response.request_id or uuid.uuid4().hex
    return types.SampleResponse(
        sequences=[_sequence(each, f"{request_id}:{index}") for index, each in enumerate(response.sequences)],
        prompt_logprobs_np=_own(response.prompt_logprobs_np),
        **_topk("topk_prompt_logprobs", response.topk_prompt_logprobs),
        target_prompt_logprobs=_tensor(response.target_prompt_logprobs),
        prompt_cache_hit_tokens=response.prompt_cache_hit_tokens,
        prompt_alt_tokens=_alternatives(response.prompt_alt_tokens),
    )


def from_capabilities(capabilities: ServerCapabilities) -> Any:
    """The SDK's list of what a server offers."""
    types = official().types
    names = types.SupportedModel.model_fields
    models = [{name: getattr(model, name, None) for name in names} for model in capabilities.supported_models]
    return types.GetServerCapabilitiesResponse(supported_models=models)


def _sequence(sequence: SampledSequence, made_id: str) -> Any:
    return official().SampledSequence(
        stop_reason=sequence.stop_reason,
        sequence_id=made_id if sequence.sequence_id is None else sequence.sequence_id,
        tokens_np=_own(sequence.tokens_np),
        logprobs_np=_own(sequence.logprobs_np),
        **_topk("topk_logprobs", sequence.topk_logprobs),
    )


def _own(array: Any) -> Any:
    """The array as one that may be written to, as all of the SDK's: torch warns of others."""
    return array if array is None or array.flags.writeable else array.copy()


def _topk(name: str, topk: TopkLogprobs | None) -> dict[str, Any]:
    """The fields of the SDK's class that hold it; of a matrix without columns the SDK would make no rows."""
    if topk is None:
        return {}
    if topk.k == 0:
        return {f"_{name}_list": topk.rows}
    matrices = official().types.topk_logprobs.TopkLogprobs(_own(topk.token_ids), _own(topk.logprobs))
    return {f"{name}_np": matrices}


def _tensor(tensor: TensorData | None) -> Any:
    if tensor is None:
        return None
    sparse = tensor.sparse_crow_indices is not None
    return official().TensorData(
        data=tensor.data if sparse else tensor.to_numpy(),
        dtype=tensor.dtype,
        shape=list(tensor.shape),
        sparse_crow_indices=_listed(tensor.sparse_crow_indices),
        sparse_col_indices=_listed(tensor.sparse_col_indices),
    )


def _listed(indices: tuple[int, ...] | None) -> list[int] | None:
    return None if indices is None else list(indices)


def _alternatives(drawn: PromptAltTokens | None) -> Any:
    if drawn is None:
        return None
    return official().types.PromptAltTokens(tokens=_tensor(drawn.tokens), logprobs=_tensor(drawn.logprobs))
