"""What of tinkex reads bytes from a server, each part as one function that any bytes may be given to.

A target fails by an exception that is not one of tinkex's own, or by an assertion about what it read. Its first byte
chooses among the forms that its input can have, so that each is found quickly.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from tinkex._api.flags import Flags
from tinkex._sampling.session_poller import _completion
from tinkex._server.protobuf import encode_response
from tinkex._service.handle import Handle
from tinkex._transport.http11 import ResponseReader
from tinkex._transport.response_head import HTTPFormatError
from tinkex._wire.capabilities import decode_capabilities
from tinkex._wire.check_response import finish_response
from tinkex._wire.decode_response import Pending, decode_answer, decode_promise
from tinkex._wire.error_message import decode_error_body
from tinkex._wire.json_bytes import decode_json
from tinkex.credentials import parse_claims
from tinkex.errors import TinkexError
from tinkex.types import (
    DmelChunk,
    ImageChunk,
    ModelInput,
    PromptAltTokens,
    SampledSequence,
    SampleRequest,
    SampleResponse,
    SamplingParams,
    TensorData,
    TopkLogprobs,
)

MOST_BODY = 1 << 20
PROMPT = ModelInput.from_ints([5, 6, 7])
PARAMS = SamplingParams(max_tokens=4)
SPARSE = [0, 1, 2], [0, 2]  # row pointers and columns
REQUESTS = [
    SampleRequest(PROMPT, PARAMS),
    SampleRequest(PROMPT, PARAMS, num_samples=2, topk_sample_logprobs=2),
    SampleRequest(PROMPT, PARAMS, include_prompt_logprobs=True, topk_prompt_logprobs=2),
    SampleRequest(PROMPT, PARAMS, target_prompt_logprobs=TensorData([1, 2], "int64", (2, 1))),
    SampleRequest(PROMPT, PARAMS, target_prompt_logprobs=TensorData([1, 2], "int64", (2, 9), *SPARSE)),
    SampleRequest(PROMPT, PARAMS, prompt_alt_tokens_k=2),
]
ROWS = TopkLogprobs([None, [(1, -0.5), (2, -1.5)], [(3, -0.25)]])
ALTERNATIVES = PromptAltTokens(TensorData([1, 2, 3, 4], "int64", (2, 2)), TensorData([-1.0] * 4, "float32", (2, 2)))
RESPONSES = [
    SampleResponse([SampledSequence([1, 2, 3], [-0.5, -1.0, -2.0], stop_reason="length")]),
    SampleResponse([SampledSequence([1], [-0.5], TopkLogprobs([[(1, -0.5), (2, -3.0)]]))] * 2),
    SampleResponse([SampledSequence([1, 2])], [None, -1.0, -2.0], ROWS, prompt_cache_hit_tokens=3),
    SampleResponse([SampledSequence([])], target_prompt_logprobs=TensorData([-1.0, -2.0], "float32", (2, 1))),
    SampleResponse([SampledSequence([1])], target_prompt_logprobs=TensorData([-1.0, -2.0], "float32", (2, 9), *SPARSE)),
    SampleResponse([SampledSequence([1])], prompt_alt_tokens=ALTERNATIVES),
]
PLAIN: list[Any] = [
    *({"type": "sample", **response.to_dict()} for response in RESPONSES),
    {"request_id": "r1", "sample_sequence_ids": ["a", "b"]},
    {"type": "try_again", "queue_state": "paused_capacity", "queue_state_reason": "busy", "retry_after_ms": 100},
    {"status": "complete_metadata", "response_payload_size": 100},
    {"error": "it failed", "category": "server"},
    {"detail": [{"loc": ["body", "prompt"], "msg": "wrong", "type": "value_error"}]},
    {"request_id": "r", "state": "finished", "response_payload_uncompressed_size": 12},
    {"supported_models": [{"model_name": "m", "max_context_length": 4096}, "n"]},
    {"sample_cancel_enabled": True, "refresh_interval_sec": 30.5, "sample_max_concurrent_requests": 4},
]
ODDITIES = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *(
        "",
        "a",
        "\x1b[31m",
        "\ud800",
        "1",
        "completed",
        "x" * 5000,
        [],
        {},
        [[]],
        [None],
        [1, "a"],
        {"a": None},
        [0.5] * 3,
    ),
    [[[[[[[[]]]]]]]],
]
DMEL = bytes.fromhex("0a0404000000120210081a0400000000")


class Target(NamedTuple):
    """One reader of a server's bytes, and good inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: list[bytes]


def read_everything(response: SampleResponse) -> None:
    """Make every list that a user can ask for, and see that they fit together."""
    for sequence in response.sequences:
        assert sequence.logprobs is None or len(sequence.logprobs) == len(sequence.tokens)
        assert sequence.topk_logprobs is None or len(list(sequence.topk_logprobs)) == len(sequence.topk_logprobs)
        assert all(type(token) is int for token in sequence.tokens)
    alternatives = response.prompt_alt_tokens
    tensors = [response.target_prompt_logprobs, *((alternatives.tokens, alternatives.logprobs) if alternatives else ())]
    for tensor in tensors:
        if tensor is not None:
            tensor.tolist()
            tensor.to_numpy()
    list(response.prompt_logprobs or ()), list(response.topk_prompt_logprobs or ())
    copied = pickle.loads(pickle.dumps(response))
    assert repr(copied.to_dict()) == repr(response.to_dict())  # as text, where NaN is like NaN


def answer(content_type: str, data: bytes) -> None:
    """Read a result as a sample does: decode, compare with the request, use."""
    request = REQUESTS[data[0] % len(REQUESTS)] if data else REQUESTS[0]
    with suppress(TinkexError):
        read = decode_answer(content_type, data[1:])
        if isinstance(read, Pending):
            assert read.retry_after is None or 0 <= read.retry_after < float("inf")
        if isinstance(read, SampleResponse):
            read_everything(finish_response(read, request, request_id="r"))


def json_answer(data: bytes) -> None:
    """A result in JSON, as the bytes stand."""
    answer("application/json", data)


def json_nodes(data: bytes) -> None:
    """A good JSON answer, any node of which may be another thing: the bytes choose which, and what."""
    kind, plain = next(iter(data), 0), copy.deepcopy(PLAIN)
    root = {"": plain[kind % len(plain)]}
    for place, value in zip(data[1::2], data[2::2], strict=False):
        holders = list(_holders(root))
        holder, key = holders[place % len(holders)]
        holder[key] = copy.deepcopy(ODDITIES[value % len(ODDITIES)])
    text = bytes([kind]) + json.dumps(root[""]).encode()
    json_answer(text)
    promise(text[1:])
    session_answers(text[1:])
    error_body(b"\0" + text[1:])


def _holders(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a tree of JSON: what holds it, and by which key."""
    for key, child in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(child, dict | list):
            yield from _holders(child)


def protobuf_answer(data: bytes) -> None:
    """A result in protobuf."""
    answer("application/x-protobuf", data)


def promise(data: bytes) -> None:
    """What asample answers."""
    with suppress(TinkexError):
        read = decode_promise(data)
        assert (read.request_id is None) != (read.answer is None)


def error_body(data: bytes) -> None:
    """The body of an error: never raises, and gives clean, short words."""
    content_type = ("application/json", "text/html", "text/plain", "")[data[0] % 4] if data else ""
    words = decode_error_body(content_type, data[1:]).message or ""
    assert len(words) <= 2000
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in words.replace("\n", " "))


def session_answers(data: bytes) -> None:
    """The JSON of flags, capabilities, completions, and tokens."""
    with suppress(ValueError):
        value = decode_json(data)
        with suppress(TinkexError):
            decode_capabilities(value)
        with suppress(TinkexError):
            _completion(value)
        if isinstance(value, dict):
            Flags().updated(value)


def http(data: bytes) -> None:
    """An HTTP answer in pieces: the same in one piece as in many, and never more than the limit."""
    step = 1 + (data[0] if data else 0)
    ends = [_read(data[1:], step), _read(data[1:], len(data) or 1)]
    assert ends[0] == ends[1], ends


def _read(data: bytes, step: int) -> object:
    reader = ResponseReader(MOST_BODY)
    try:
        for at in range(0, len(data), step):
            if reader.feed(data[at : at + step]):
                break
        else:
            if not reader.end():
                return "unfinished"
    except HTTPFormatError:
        return "refused"
    response = reader.response()
    assert len(response.body) <= MOST_BODY
    return response.status, response.headers, response.body


def chunks(data: bytes) -> None:
    """Pictures, audio and tensors that come from somewhere else."""
    for make in (ImageChunk.from_bytes, lambda raw: DmelChunk(raw).length):
        with suppress(ValueError):
            make(data)
    with suppress(ValueError):
        plain = decode_json(data)
        with suppress(ValueError, TypeError):
            TensorData.from_dict(plain)


def handles(data: bytes) -> None:
    """A handle or a token that somebody hands over."""
    text = data.decode("latin-1")
    with suppress(ValueError):
        handle = Handle.decode(text)
        assert Handle.decode(handle.encode()) == handle
    parse_claims(text)


def _http_seeds() -> list[bytes]:
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    gzipped = bytes.fromhex("1f8b08000000000002ffab562a4a2d2c4d2d2e89cf4c51b2524a52aa0500f1d1f5b911000000")
    return [
        b"\0" + ok + b"Content-Length: 2\r\n\r\n{}",
        b"\3" + ok + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nTrailer: 1\r\n\r\n",
        b"\7" + ok + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzipped) + gzipped,
        b"\1HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n<title>no</title>",
        b"\1HTTP/1.0 204 No Content\r\n\r\n",
    ]


TARGETS = {
    "json": Target(json_answer, [bytes([at]) + json.dumps(each).encode() for at, each in enumerate(PLAIN)]),
    "json_nodes": Target(json_nodes, [bytes([at, 3, 5]) for at in range(len(PLAIN))]),
    "protobuf": Target(protobuf_answer, [bytes([at]) + encode_response(each) for at, each in enumerate(RESPONSES)]),
    "promise": Target(promise, [b'{"request_id":"r1","sample_sequence_ids":["a"]}', b'{"type":"try_again"}']),
    "error_body": Target(
        error_body, [b'\0{"detail":[{"loc":["a"],"msg":"m"}]}', b"\1<html><title>502 &lt;b&gt;</title>"]
    ),
    "session_answers": Target(session_answers, [json.dumps(plain).encode() for plain in PLAIN[-3:]]),
    "http": Target(http, _http_seeds()),
    "chunks": Target(
        chunks,
        [
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\10\2\0\0\0",
            b"\xff\xd8\xff\xe0\0\x10JFIF\0",
            DMEL,
            json.dumps(RESPONSES[4].to_dict()["target_prompt_logprobs"]).encode(),
        ],
    ),
    "handles": Target(
        handles,
        [
            Handle("https://example.com", "session", "sampling", "m").encode().encode(),
            b"eyJhbGciOiJub25lIn0.eyJleHAiOjEsInN1YiI6InUifQ.x",
        ],
    ),
}
