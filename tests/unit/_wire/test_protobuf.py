from __future__ import annotations

import math
import struct
import tracemalloc

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from tinkex._wire import protobuf
from tinkex._wire.protobuf import decode_protobuf
from tinkex.types import PromptAltTokens, SampledSequence, SampleResponse, TensorData

FIELD = descriptor_pb2.FieldDescriptorProto
SCHEMA = {
    "SparseCsr": "bytes values=1; bytes crow_indices=2; bytes col_indices=3",
    "Tensor": "bytes dense=1; SparseCsr sparse_csr=2; enum dtype=3; int64s shape=4",
    "PromptAltTokens": "Tensor tokens=1; Tensor logprobs=2",
    "TopkLogprobs": "bytes token_ids=1; bytes logprobs=2; uint32 k=3; uint32 length=4",
    "SampledSequence": "enum stop_reason=1; bytes tokens=2; bytes? logprobs=3; TopkLogprobs topk_sampled_logprobs=4",
    "SampleResponse": "SampledSequence* sequences=1; bytes? prompt_logprobs=2; TopkLogprobs topk_prompt_logprobs=3; "
    "int32 prompt_cache_hit_tokens=4; Tensor target_prompt_logprobs=5; PromptAltTokens prompt_alt_tokens=6",
}
KINDS = {
    "bytes": FIELD.TYPE_BYTES,
    "enum": FIELD.TYPE_INT32,  # open enums and int32 are the same on the wire
    "int32": FIELD.TYPE_INT32,
    "int64s": FIELD.TYPE_INT64,
    "uint32": FIELD.TYPE_UINT32,
}


def add_field(message, text):
    """Adds a field, given as it stands in the schema above, to a message type."""
    kind, _, rest = text.strip().partition(" ")
    name, number = rest.split("=")
    field = message.field.add(name=name, number=int(number), label=FIELD.LABEL_OPTIONAL)
    bare = kind.rstrip("?*")
    if bare in KINDS:
        field.type = KINDS[bare]
    else:
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".tinker_public.{bare}"
    if kind == "int64s" or kind.endswith("*"):
        field.label = FIELD.LABEL_REPEATED
    if kind.endswith("?"):
        field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def compiled():
    """Builds the messages with Google's library from the protocol's own description."""
    file = descriptor_pb2.FileDescriptorProto(name="tinker_public.proto", package="tinker_public", syntax="proto3")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for text in fields.split(";"):
            add_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"tinker_public.{name}") for name in SCHEMA}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


MESSAGES = compiled()
DTYPES = {1: "f", 2: "q", 3: "i"}


def pack(format, values):
    """Packs numbers, little-endian."""
    return struct.pack(f"<{len(values)}{format}", *values)


def message(name, **fields):
    """Makes one of Google's messages."""
    return MESSAGES[name](**fields)


def topk_message(rows, k):
    """Makes a top-k table of rows, padded to k cells."""
    cells = [cell for row in rows for cell in [*(row or []), *[(0, -99999.0)] * (k - len(row or []))]]
    return message(
        "TopkLogprobs",
        token_ids=pack("i", [cell[0] for cell in cells]),
        logprobs=pack("f", [cell[1] for cell in cells]),
        k=k,
        length=len(rows),
    )


def tensor_message(tensor, dtype):
    """Makes a tensor, dense or sparse."""
    data = pack(DTYPES[dtype], tensor.data)
    if tensor.sparse_crow_indices is None:
        return message("Tensor", dense=data, dtype=dtype, shape=tensor.shape)
    crow, col = pack("q", tensor.sparse_crow_indices), pack("q", tensor.sparse_col_indices)
    sparse = message("SparseCsr", values=data, crow_indices=crow, col_indices=col)
    return message("Tensor", sparse_csr=sparse, dtype=dtype, shape=tensor.shape)


def response_message(response, k=4):
    """Makes a whole response."""
    out = message("SampleResponse", prompt_cache_hit_tokens=response.prompt_cache_hit_tokens)
    for sequence in response.sequences:
        added = out.sequences.add(stop_reason=int(sequence.stop_reason == "length"), tokens=pack("i", sequence.tokens))
        if sequence.logprobs is not None:
            added.logprobs = pack("f", sequence.logprobs)
        if sequence.topk_logprobs is not None:
            added.topk_sampled_logprobs.CopyFrom(topk_message(sequence.topk_logprobs, k))
    if response.prompt_logprobs is not None:
        out.prompt_logprobs = pack("f", [math.nan if each is None else each for each in response.prompt_logprobs])
    if response.topk_prompt_logprobs is not None:
        out.topk_prompt_logprobs.CopyFrom(topk_message(response.topk_prompt_logprobs, k))
    if response.target_prompt_logprobs is not None:
        out.target_prompt_logprobs.CopyFrom(tensor_message(response.target_prompt_logprobs, 1))
    if response.prompt_alt_tokens is not None:
        out.prompt_alt_tokens.tokens.CopyFrom(tensor_message(response.prompt_alt_tokens.tokens, 3))
        out.prompt_alt_tokens.logprobs.CopyFrom(tensor_message(response.prompt_alt_tokens.logprobs, 1))
    return out


IDS = st.integers(0, 2**31 - 1)
LOGPROBS = st.floats(-50, 0, width=32)
CELLS = st.tuples(st.integers(1, 99), LOGPROBS)


def rows(**size):
    """Draws the rows of a top-k table."""
    return st.lists(st.none() | st.lists(CELLS, min_size=1, max_size=4), **size)


@st.composite
def sequences(draw):
    """Draws a sequence whose columns are as long as its tokens."""
    tokens = draw(st.lists(IDS, max_size=5))
    same = {"min_size": len(tokens), "max_size": len(tokens)}
    topk = draw(st.none() | rows(**same)) if tokens else None
    logprobs = draw(st.none() | st.lists(LOGPROBS, **same))
    return SampledSequence(tokens, logprobs, topk, draw(st.sampled_from(["stop", "length"])))


@st.composite
def tensors(draw, dtype, values):
    """Draws a dense tensor of two dimensions."""
    rows, columns = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    dense = st.lists(values, min_size=rows * columns, max_size=rows * columns)
    return TensorData(draw(dense), dtype, (rows, columns))


SPARSE = st.lists(LOGPROBS, min_size=2, max_size=2).map(
    lambda data: TensorData(data, "float32", (2, 5), [0, 0, 2], [1, 4])
)
RESPONSES = st.builds(
    SampleResponse,
    st.lists(sequences(), max_size=3),
    prompt_logprobs=st.none() | st.lists(st.none() | LOGPROBS, max_size=5),
    topk_prompt_logprobs=st.none() | rows(min_size=1, max_size=3),
    target_prompt_logprobs=st.none() | tensors("float32", LOGPROBS) | SPARSE,
    prompt_alt_tokens=st.none() | st.builds(PromptAltTokens, tensors("int64", IDS), tensors("float32", LOGPROBS)),
    prompt_cache_hit_tokens=st.integers(0, 2**31 - 1),
)


@given(RESPONSES)
def test_googles_encoding_is_read(response):
    """What Google's library encodes is decoded to an equal response, and equals its JSON form."""
    decoded = decode_protobuf(response_message(response).SerializeToString())
    assert decoded == response == SampleResponse.from_dict(decoded.to_dict())


@given(RESPONSES, st.data())
def test_torn_and_altered_messages(response, data):
    """A message cut short or with altered bytes decodes to something or is a ValueError or TypeError."""
    body = bytearray(response_message(response).SerializeToString())
    for _ in range(data.draw(st.integers(0, 3))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    survive(bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(st.binary(max_size=60))
def test_any_bytes(body):
    """Whatever comes decodes to something or is a ValueError or TypeError."""
    survive(body)


def survive(body):
    """Decodes a body; if that succeeds, Google's library must read it too."""
    try:
        response = decode_protobuf(body)
    except (ValueError, TypeError):
        return
    assert response == SampleResponse.from_dict(response.to_dict())
    message("SampleResponse").ParseFromString(body)


@pytest.mark.parametrize("token", [-1, -(2**31)])
def test_a_negative_token(token):
    """It is refused, as in JSON: among the tokens and in top-k rows."""
    sampled = message("SampledSequence", tokens=pack("i", [5, token]))
    scored = topk_message([[(5, -1.0)], [(token, -1.0)]], 1)
    for whole in ({"sequences": [sampled]}, {"topk_prompt_logprobs": scored}):
        with pytest.raises(ValueError, match="below 0"):
            decode_protobuf(message("SampleResponse", **whole).SerializeToString())


def test_known_bytes():
    """The protocol's own example reads as it says."""
    body = bytes.fromhex("0a0e08011204050000001a04000000bf12080000c07f000080bf2003")
    expected = SampleResponse(
        [SampledSequence([5], [-0.5], stop_reason="length")], prompt_logprobs=[None, -1.0], prompt_cache_hit_tokens=3
    )
    assert decode_protobuf(body) == expected


def test_presence():
    """An absent column is None, a present empty one is empty, and an empty message is a response without sequences."""
    empty = message("SampleResponse", prompt_logprobs=b"")
    empty.sequences.add(logprobs=b"")
    decoded = decode_protobuf(empty.SerializeToString())
    assert (decoded.prompt_logprobs, decoded.sequences[0].logprobs) == ([], [])
    assert decode_protobuf(b"").prompt_logprobs is None
    assert decode_protobuf(b"\x0a\x00").sequences[0].logprobs is None


@pytest.mark.parametrize(("k", "length"), [(0, 5), (5, 0), (0, 0)])
def test_empty_tables_are_absent(k, length):
    """A top-k table without rows or columns counts as none."""
    body = message("SampleResponse", topk_prompt_logprobs=message("TopkLogprobs", k=k, length=length))
    assert decode_protobuf(body.SerializeToString()).topk_prompt_logprobs is None


def tensor_of(**fields):
    """Decodes a tensor from the fields of its message."""
    body = message("SampleResponse", target_prompt_logprobs=message("Tensor", **fields)).SerializeToString()
    return decode_protobuf(body).target_prompt_logprobs


def test_bfloat16_is_the_upper_half_of_a_float():
    """bfloat16 numbers keep their values."""
    tensor = tensor_of(dense=struct.pack("<3H", 0xBFC0, 0xC000, 0x3E80), dtype=4, shape=[3])
    assert (tensor.data, tensor.dtype) == ([-1.5, -2.0, 0.25], "float32")
    assert tensor.to_numpy().tolist() == [-1.5, -2.0, 0.25]


def test_integer_tensors_are_int64():
    """Both integer widths decode to int64, negative numbers included."""
    assert tensor_of(dense=pack("i", [-1, 5]), dtype=3, shape=[1, 2]) == TensorData([-1, 5], "int64", (1, 2))
    assert tensor_of(dense=pack("q", [-1, 2**40]), dtype=2, shape=[2]).to_numpy().tolist() == [-1, 2**40]
    assert tensor_of(dense=pack("i", [-1]), dtype=3).to_numpy().dtype == "int64"


def test_shapes_packed_or_not():
    """A shape may come packed or as single numbers."""
    tensor = b"\x0a\x08" + pack("i", [1, 2]) + b"\x18\x03" + b"\x20\x01\x20\x02"
    body = b"\x2a" + bytes([len(tensor)]) + tensor
    assert decode_protobuf(body).target_prompt_logprobs.shape == (1, 2)


def test_unknown_fields_are_skipped():
    """Fields of later versions, and known numbers with another wire type, change nothing."""
    extra = b"\x78\x96\x01" + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x7a\x02ab" + b"\x08\x05" + b"\x82\x7d\x00"
    known = bytes.fromhex("2003")
    assert decode_protobuf(extra + known) == decode_protobuf(known)


def test_unknown_stop_reason_is_kept():
    """A stop reason of a later version costs nobody the sample."""
    body = message("SampleResponse")
    body.sequences.add(stop_reason=7)
    assert decode_protobuf(body.SerializeToString()).sequences[0].stop_reason == "unknown_7"


HUGE = b"\xff\xff\xff\xff\x0f"  # 2**32 - 1


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of 2**63 - 1
        b"\x0a\x05ab",
        b"\x1a\x0c\x18" + HUGE + b"\x20" + HUGE,  # 2**64 top-k cells
        b"\x2a\x0e\x18\x01\x22\x0a\xff\xff\xff\xff\x7f\xff\xff\xff\xff\x7f",  # a tensor of 2**70 numbers
        b"\x2a\x02\x18\x09",  # an unknown dtype
        b"\x2a\x13\x18\x01" + b"\x20\x01" * 17,
        b"\x2a\x14\x18\x01\x22\x12" + b"\x01" * 17,
        b"\x12\x03abc",
        b"\x2a\x06\x18\x04\x0a\x01a",
        b"\x2a\x04\x18\x01\x12\x00",
        b"\x32\x00",
        b"\x0a\x0a\x12\x04\x01\x00\x00\x00\x1a\x02\x00\x00",
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # -1 cache hits
        b"\x08" + b"\xff" * 11,
        b"\x08",
        b"\x00\x00",
        b"\x0b",
        b"\x0d\x00",
        b"\x09\x00",
        b"\x80",
    ],
)
def test_contradictions_cost_no_memory(body):
    """Lengths, sizes and shapes that the bytes cannot hold are refused before anything is made of them."""
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, TypeError)):
            decode_protobuf(body)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_too_many_sequences(monkeypatch):
    """Two bytes make a sequence, so their number is bounded, far above what is asked for."""
    assert protobuf._MOST_SEQUENCES == 2**17
    monkeypatch.setattr(protobuf, "_MOST_SEQUENCES", 100)
    assert len(decode_protobuf(b"\x0a\x00" * 100).sequences) == 100
    with pytest.raises(ValueError, match="100 sequences"):
        decode_protobuf(b"\x0a\x00" * 101)
