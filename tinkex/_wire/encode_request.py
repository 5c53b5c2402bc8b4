"""Encode a sample request as the JSON body of asample."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from typing import Any, assert_never

from tinkex._wire.json_bytes import encode_ints, encode_json
from tinkex.types import (
    Chunk,
    DmelChunk,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    SampleRequest,
    SamplingParams,
    TensorData,
)

_BYTES_PER_TOKEN = 10


def encode_sample(
    request: SampleRequest, *, sampling_session_id: str, seq_id: int, record_stability_info: bool = False
) -> bytes:
    """Return the request as JSON, with only those fields that differ from the protocol's defaults."""
    parts = [
        b'{"sampling_session_id":%b,"seq_id":%d,"prompt":{"chunks":[' % (encode_json(sampling_session_id), seq_id),
        b",".join([_chunk(chunk) for chunk in request.prompt.chunks]),
        b']},"sampling_params":',
        _params(request.sampling_params),
    ]
    if request.num_samples != 1:
        parts.append(b',"num_samples":%d' % request.num_samples)
    if options := _options(request):
        parts.append(b",%b" % encode_json(options)[1:-1])
    if request.target_prompt_logprobs is not None:
        parts.append(b',"target_prompt_logprobs":%b' % _targets(request.target_prompt_logprobs))
    if record_stability_info:
        parts.append(b',"record_stability_info":true')
    return b"".join([*parts, b"}"])


def _options(request: SampleRequest) -> dict[str, Any]:
    values = {
        "prompt_logprobs": request.include_prompt_logprobs,
        "topk_prompt_logprobs": request.topk_prompt_logprobs,
        "topk_sample_logprobs": request.topk_sample_logprobs,
        "prompt_alt_tokens_k": request.prompt_alt_tokens_k,
        "prompt_logprobs_last_n": request.prompt_logprobs_last_n,
    }
    return {name: value for name, value in values.items() if value}


def _params(params: SamplingParams) -> bytes:
    encoded = params._encoded  # noqa: SLF001 - the place kept for this
    if encoded is None:
        encoded = encode_json(_params_object(params))
        object.__setattr__(params, "_encoded", encoded)
    return encoded


def _params_object(params: SamplingParams) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    if params.max_tokens is not None:
        plain["max_tokens"] = params.max_tokens
    if params.seed is not None:
        plain["seed"] = params.seed
    if params.stop is not None:
        # Some servers take only lists.
        plain["stop"] = [params.stop] if isinstance(params.stop, str) else params.stop
    if params.temperature != 1:
        plain["temperature"] = params.temperature
    if params.top_k != -1:
        plain["top_k"] = params.top_k
    if params.top_p != 1:
        plain["top_p"] = params.top_p
    return plain


def _chunk(chunk: Chunk) -> bytes:
    match chunk:
        case EncodedTextChunk():
            return _text_chunk(chunk)
        case ImageChunk():
            return _image_chunk(chunk, b'"data":"%b"' % b2a_base64(chunk.data, newline=False))
        case ImageAssetPointerChunk():
            return _image_chunk(chunk, b'"location":%b' % encode_json(chunk.location))
        case DmelChunk():
            return b'{"type":"dmel","dmel":"%b"}' % b2a_base64(chunk.dmel, newline=False)
        case _:
            assert_never(chunk)


def _text_chunk(chunk: EncodedTextChunk) -> bytes:
    encoded = chunk._encoded  # noqa: SLF001 - the place kept for this
    if encoded is None:
        encoded = b'{"type":"encoded_text","tokens":%b}' % encode_ints(chunk.tokens)
        object.__setattr__(chunk, "_encoded", encoded)
    return encoded


def _image_chunk(chunk: ImageChunk | ImageAssetPointerChunk, source: bytes) -> bytes:
    expected = b"" if chunk.expected_tokens is None else b',"expected_tokens":%d' % chunk.expected_tokens
    return b'{"type":"%b",%b,"format":"%b"%b}' % (chunk.type.encode(), source, chunk.format.encode(), expected)


def _targets(targets: TensorData) -> bytes:
    columns: dict[str, Sequence[Any]] = {"data": targets.data, "shape": targets.shape}
    if targets.sparse_crow_indices is not None and targets.sparse_col_indices is not None:
        columns["sparse_crow_indices"] = targets.sparse_crow_indices
        columns["sparse_col_indices"] = targets.sparse_col_indices
    lists = [b'"%b":%b' % (name.encode(), encode_ints(values)) for name, values in columns.items()]
    return b'{"dtype":"int64",%b}' % b",".join(lists)


def estimate_bytes(prompt: ModelInput) -> int:
    """Return about how many bytes a prompt takes on the wire, without encoding it."""
    total = 0
    for chunk in prompt.chunks:  # on the caller's thread: a call and a match for each text take twice as long
        if isinstance(chunk, EncodedTextChunk):
            total += _BYTES_PER_TOKEN * len(chunk.tokens)
        else:
            total += _media_bytes(chunk)
    return total


def _media_bytes(chunk: ImageChunk | ImageAssetPointerChunk | DmelChunk) -> int:
    match chunk:
        case ImageChunk():
            return len(chunk.data)
        case ImageAssetPointerChunk():
            return len(chunk.location)
        case DmelChunk():
            return len(chunk.dmel)
        case _:
            assert_never(chunk)
