"""Protobuf decoder of results: structure checked at once, lists made on first use.

The messages are those of `tinker_public`. A field is known by its key, number and wire type together, so that a known
number with another wire type is skipped like any unknown field, as the protobuf rules have it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinkex.types import PromptAltTokens, SampledSequence, SampleResponse, TensorData, TensorDtype, TopkLogprobs
from tinkex.types._forms.columns import Column, Numbers, OptionalColumn, little_endian

_MOST_SEQUENCES = 2**17
_MOST_DIMENSIONS = 16

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LEAST_KEY, _GREATEST_KEY = 1 << 3, 2**32 - 1
_UINT64 = 2**64 - 1

_STOP_REASONS = {0: "stop", 1: "length"}

_FLOAT32, _INT64, _INT32, _BFLOAT16 = 1, 2, 3, 4
_FORMATS: dict[int, tuple[str, TensorDtype]] = {
    _FLOAT32: ("f", "float32"),
    _INT64: ("q", "int64"),
    _INT32: ("i", "int64"),
    _BFLOAT16: ("f", "float32"),
}


def decode_protobuf(body: bytes | bytearray) -> SampleResponse:
    """Return the result in a `SampleResponse` message; it keeps *body* alive.

    Raises:
        ValueError: It is not such a message, or its parts do not fit together.
    """
    sequences: list[SampledSequence] = []
    prompt_logprobs = topk = target = alternatives = None
    cache_hits = 0
    whole = memoryview(body).toreadonly()
    for key, value, part in _fields(whole):
        if key == 1 << 3 | _BYTES:
            if len(sequences) >= _MOST_SEQUENCES:
                raise ValueError(f"more than {_MOST_SEQUENCES} sequences")
            sequences.append(_sequence(part))
        elif key == 2 << 3 | _BYTES:
            prompt_logprobs = OptionalColumn(little_endian(part, "f"))
        elif key == 3 << 3 | _BYTES:
            topk = _topk(part)
        elif key == 4 << 3 | _VARINT:
            cache_hits = value
        elif key == 5 << 3 | _BYTES:
            target = _tensor(part)
        elif key == 6 << 3 | _BYTES:
            alternatives = _alternatives(part)
    return SampleResponse(sequences, prompt_logprobs, topk, target, alternatives, cache_hits)


def _sequence(message: memoryview) -> SampledSequence:
    stop_reason = 0
    tokens = message[:0]
    logprobs = topk = None
    for key, value, part in _fields(message):
        if key == 1 << 3 | _VARINT:
            stop_reason = value
        elif key == 2 << 3 | _BYTES:
            tokens = part
        elif key == 3 << 3 | _BYTES:
            logprobs = Column(little_endian(part, "f"))
        elif key == 4 << 3 | _BYTES:
            topk = _topk(part)
    reason = _STOP_REASONS.get(stop_reason) or f"unknown_{stop_reason}"
    return SampledSequence(Column(_token_ids(tokens)), logprobs, topk, reason)


def _topk(message: memoryview) -> TopkLogprobs | None:
    ids = logprobs = message[:0]
    k = length = 0
    for key, value, part in _fields(message):
        if key == 1 << 3 | _BYTES:
            ids = part
        elif key == 2 << 3 | _BYTES:
            logprobs = part
        elif key == 3 << 3 | _VARINT:
            k = value
        elif key == 4 << 3 | _VARINT:
            length = value
    if not k or not length:
        return None
    if not len(ids) == len(logprobs) == 4 * k * length:
        raise ValueError(f"{len(ids)} and {len(logprobs)} bytes of top-k cells do not make {length} rows of {k}")
    return TopkLogprobs.from_columns(_token_ids(ids), little_endian(logprobs, "f"), k)


def _token_ids(raw: memoryview) -> Numbers:
    if not bytes(raw)[3::4].isascii():  # the sign is the highest bit of every fourth byte
        raise ValueError("a token id below 0")
    return little_endian(raw, "i")


def _alternatives(message: memoryview) -> PromptAltTokens:
    tokens = logprobs = None
    for key, _, part in _fields(message):
        if key == 1 << 3 | _BYTES:
            tokens = _tensor(part)
        elif key == 2 << 3 | _BYTES:
            logprobs = _tensor(part)
    if tokens is None or logprobs is None:
        raise ValueError("prompt_alt_tokens lacks its tokens or its logprobs")
    return PromptAltTokens(tokens, logprobs)


def _tensor(message: memoryview) -> TensorData:
    dense = message[:0]
    sparse = None
    dtype = 0
    shape: list[int] = []
    for key, value, part in _fields(message):
        if key == 1 << 3 | _BYTES:
            dense, sparse = part, None
        elif key == 2 << 3 | _BYTES:
            sparse = part
        elif key == 3 << 3 | _VARINT:
            dtype = value
        elif key == 4 << 3 | _VARINT:
            shape.append(value)
        elif key == 4 << 3 | _BYTES:
            shape += _packed(part)
        if len(shape) > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor of more than {_MOST_DIMENSIONS} dimensions")
    if sparse is not None:
        return _sparse(sparse, dtype, shape)
    return TensorData(*_numbers(dense, dtype), shape or None)


def _sparse(message: memoryview, dtype: int, shape: list[int]) -> TensorData:
    values = crow = col = message[:0]
    for key, _, part in _fields(message):
        if key == 1 << 3 | _BYTES:
            values = part
        elif key == 2 << 3 | _BYTES:
            crow = part
        elif key == 3 << 3 | _BYTES:
            col = part
    rows, columns = little_endian(crow, "q").tolist(), little_endian(col, "q").tolist()
    return TensorData(*_numbers(values, dtype), shape, rows, columns)


def _numbers(raw: memoryview, dtype: int) -> tuple[Column, TensorDtype]:
    if dtype not in _FORMATS:
        raise ValueError(f"a tensor of the unknown dtype {dtype}")
    format, name = _FORMATS[dtype]  # noqa: A001 - as memoryview names it
    return Column(_widened(raw) if dtype == _BFLOAT16 else little_endian(raw, format)), name


def _widened(raw: memoryview) -> Numbers:
    """Make float32 of bfloat16, which is its upper half."""
    if len(raw) % 2:
        raise ValueError(f"{len(raw)} bytes are not a whole number of bfloat16")
    wide = bytearray(2 * len(raw))
    wide[2::4] = raw[0::2]
    wide[3::4] = raw[1::2]
    return little_endian(memoryview(bytes(wide)), "f")


def _packed(message: memoryview) -> list[int]:
    numbers: list[int] = []
    at = 0
    while at < len(message) and len(numbers) <= _MOST_DIMENSIONS:
        number, at = _varint(message, at)
        numbers.append(number)
    return numbers


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield each field's key, number (of a varint) and bytes (of anything with a length)."""
    at, end = 0, len(message)
    nothing = message[:0]
    while at < end:
        key = message[at]
        if key < 0x80:  # nearly all keys are of one byte, and a call costs more than the rest
            at += 1
        else:
            key, at = _varint(message, at)
        kind = key & 7
        if not _LEAST_KEY <= key <= _GREATEST_KEY:
            raise ValueError(f"a field with the impossible key {key}")
        if kind == _VARINT:
            number, at = _varint(message, at)
            yield key, number, nothing
        elif kind == _BYTES:
            size, at = _varint(message, at)
            start, at = at, at + size
            if at > end:
                raise ValueError(f"a field of {size} bytes where {end - start} are left")
            yield key, 0, message[start:at]
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
            if at > end:
                raise ValueError("a number ends too early")
        else:
            raise ValueError(f"a field of the unknown wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    try:
        byte: int = message[at]
        if byte < 0x80:
            return byte, at + 1
        for shift in range(0, 70, 7):
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & _UINT64, at
    except IndexError:
        raise ValueError("a number ends too early") from None
    raise ValueError("a number of more than 64 bits")
