"""Protobuf encoder for results (`tinker_public`); shares no code with the client's decoder."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable

from tinkex.types import PromptAltTokens, SampledSequence, SampleResponse, TensorData, TopkLogprobs

_DTYPES = {"float32": (1, "f"), "int64": (2, "q")}
_EMPTY_CELL = (0, -99999.0)


def encode_response(response: SampleResponse) -> bytes:
    """Encode one result as a `SampleResponse` message."""
    out = bytearray()
    for sequence in response.sequences:
        out += _blob(1, _sequence(sequence))
    if response.prompt_logprobs is not None:
        values = [math.nan if value is None else value for value in response.prompt_logprobs]
        out += _blob(2, _packed("f", values))
    if response.topk_prompt_logprobs is not None:
        out += _blob(3, _topk(response.topk_prompt_logprobs))
    if response.prompt_cache_hit_tokens:
        out += _number(4, response.prompt_cache_hit_tokens)
    if response.target_prompt_logprobs is not None:
        out += _blob(5, _tensor(response.target_prompt_logprobs))
    if response.prompt_alt_tokens is not None:
        out += _blob(6, _alternatives(response.prompt_alt_tokens))
    return bytes(out)


def _sequence(sequence: SampledSequence) -> bytes:
    out = _number(1, 1) if sequence.stop_reason == "length" else b""
    out += _blob(2, _packed("i", sequence.tokens))
    if sequence.logprobs is not None:
        out += _blob(3, _packed("f", sequence.logprobs))
    if sequence.topk_logprobs is not None:
        out += _blob(4, _topk(sequence.topk_logprobs))
    return out


def _topk(topk: TopkLogprobs) -> bytes:
    ids, logprobs = array("i"), array("f")
    for row in topk:
        cells = list(row or ())
        cells += [_EMPTY_CELL] * (topk.k - len(cells))
        ids.extend(token for token, _ in cells)
        logprobs.extend(logprob for _, logprob in cells)
    return _blob(1, _packed("i", ids)) + _blob(2, _packed("f", logprobs)) + _number(3, topk.k) + _number(4, topk.length)


def _alternatives(alternatives: PromptAltTokens) -> bytes:
    return _blob(1, _tensor(alternatives.tokens)) + _blob(2, _tensor(alternatives.logprobs))


def _tensor(tensor: TensorData) -> bytes:
    number, code = _DTYPES[tensor.dtype]
    values = _packed(code, tensor.data)
    if tensor.sparse_crow_indices is None or tensor.sparse_col_indices is None:
        encoding = _blob(1, values)
    else:
        rows = _packed("q", tensor.sparse_crow_indices)
        columns = _packed("q", tensor.sparse_col_indices)
        encoding = _blob(2, _blob(1, values) + _blob(2, rows) + _blob(3, columns))
    shape = b"".join(_varint(size) for size in tensor.shape or ())
    return encoding + _number(3, number) + _blob(4, shape)


def _packed(code: str, values: Iterable[float]) -> bytes:
    items = list(values)
    return struct.pack(f"<{len(items)}{code}", *items)


def _blob(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
