from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._wire import (
    Completed,
    Failed,
    MetadataOnly,
    Pending,
    SubmitAnswer,
    decode_answer,
    decode_promise,
    outcome_of,
)
from tinkex.errors import APIResponseError
from tinkex.types import SampledSequence, SampleResponse

RESULT = {"sequences": [{"tokens": [5], "logprobs": [-0.5], "stop_reason": "length"}], "prompt_logprobs": [None, -1.0]}
RESPONSE = SampleResponse([SampledSequence([5], [-0.5], stop_reason="length")], prompt_logprobs=[None, -1.0])
PROTOBUF = bytes.fromhex("0a0e08011204050000001a04000000bf12080000c07f000080bf")


def answered(value):
    """Decodes a value sent as JSON."""
    return decode_answer("application/json", json.dumps(value).encode())


@pytest.mark.parametrize("kind", ["application/x-protobuf", "Application/X-Protobuf; charset=binary"])
def test_protobuf_by_content_type(kind):
    """The content type says that a body is protobuf, in any case and with parameters."""
    assert decode_answer(kind, PROTOBUF) == RESPONSE


@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_json_otherwise(kind):
    """Anything else is JSON, and both forms give the same response."""
    assert decode_answer(kind, json.dumps(RESULT).encode()) == RESPONSE


@pytest.mark.parametrize(
    "value",
    [RESULT, {"type": "sample", **RESULT}, {"status": "completed", "result": RESULT}, {**RESULT, "error": None}],
)
def test_results(value):
    """A result may be named, wrapped or have a null error."""
    assert answered(value) == RESPONSE


@pytest.mark.parametrize(
    ("value", "pending"),
    [
        ({"type": "try_again"}, Pending()),
        ({"status": "pending", "request_id": "7"}, Pending()),
        (
            {
                "type": "try_again",
                "queue_state": "paused_capacity",
                "queue_state_reason": "full",
                "retry_after_ms": 250,
            },
            Pending("paused_capacity", "full", 0.25),
        ),
        ({"type": "try_again", "queue_state": 5, "queue_state_reason": [], "retry_after_ms": "soon"}, Pending()),
        ({"type": "try_again", "retry_after_ms": -1}, Pending()),
        ({"type": "try_again", "retry_after_ms": math.inf}, Pending()),
        ({"type": "try_again", "error": "busy"}, Pending()),
    ],
)
def test_pending(value, pending):
    """Not ready yet is told in several ways; what makes no sense in it is left out."""
    assert answered(value) == pending


@pytest.mark.parametrize(
    ("value", "failed"),
    [
        ({"error": "bad prompt", "category": "user"}, Failed("bad prompt", "user")),
        ({"error": "bad prompt", "category": "User"}, Failed("bad prompt", "user")),
        ({"type": "request_failed", "error": "no", "category": "user_error"}, Failed("no", "user")),
        ({"error": "boom", "category": "SERVER_ERROR"}, Failed("boom", "server")),
        ({"error": "boom"}, Failed("boom", "unknown")),
        ({"error": "boom", "category": 5}, Failed("boom", "unknown")),
        ({"error": {"message": "boom", "category": "server"}}, Failed("boom", "server")),
        ({"status": "failed", "error": {"message": "boom", "category": "user"}}, Failed("boom", "user")),
        ({"type": "RequestFailedResponse", "error_message": "boom"}, Failed("boom", "unknown")),
        ({"status": "failed"}, Failed("The server gave no reason.", "unknown")),
        ({"error": True}, Failed("The server gave no reason.", "unknown")),
        ({"error": "\x00\x1b"}, Failed("The server gave no reason.", "unknown")),
    ],
)
def test_failed(value, failed):
    """A failure keeps the server's words; its category is read by prefix, in any case."""
    assert answered(value) == failed


def test_metadata_only():
    """A result may be announced with its size first."""
    assert answered({"status": "complete_metadata", "response_payload_size": 10}) == MetadataOnly(10)


@pytest.mark.parametrize("size", [None, -1, "10", 1.5, True])
def test_unusable_size(size):
    """A size must be a whole number of bytes."""
    with pytest.raises(APIResponseError, match="size"):
        answered({"status": "complete_metadata", "response_payload_size": size})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b'{"sequences":5}',
        b'{"sequences":[5]}',
        b'{"sequences":[{"tokens":[1.5]}]}',
        b'{"sequences":[{"tokens":[true]}]}',
        b'{"sequences":[{"tokens":[1],"logprobs":["a"]}]}',
        b'{"sequences":[{"tokens":[1],"logprobs":[1,2]}]}',
        b'{"sequences":[{"tokens":[1],"logprobs":[1e999,{}]}]}',
        b'{"sequences":[],"prompt_logprobs":{"a":1}}',
        b'{"sequences":[],"topk_prompt_logprobs":[[[1]]]}',
        b'{"sequences":[],"target_prompt_logprobs":{"data":[1],"dtype":"float32","shape":[99999999999,9]}}',
        b'{"status":"completed","result":null}',
        b"[" * 5000,
        b'{"sequences":[{"tokens":' + b"[" * 500 + b"]" * 500 + b"}]}",
        b"9" * 5000,
        b"\xff\xfe\x00",
    ],
)
def test_garbage(body):
    """What is no answer is an APIResponseError that shows how it begins."""
    with pytest.raises(APIResponseError) as caught:
        decode_answer("application/json", body)
    assert len(str(caught.value)) < 600


def test_garbage_in_protobuf():
    """Bytes that are no message are an APIResponseError."""
    with pytest.raises(APIResponseError, match="protobuf"):
        decode_answer("application/x-protobuf", b"\xff")


WORDS = st.sampled_from(
    [
        "type",
        "status",
        "error",
        "category",
        "result",
        "sequences",
        "tokens",
        "logprobs",
        "try_again",
        "pending",
        "completed",
    ]
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
)


@given(ODD)
def test_any_json(value):
    """Whatever JSON comes is an answer or an APIResponseError, for retrieve_future and for asample."""
    body = json.dumps(value).encode()
    for decode in (lambda: decode_answer("", body), lambda: decode_promise(body)):
        with suppress(APIResponseError):
            assert decode() is not None


@pytest.mark.parametrize(
    ("value", "promise"),
    [
        ({"request_id": "7"}, SubmitAnswer("7")),
        ({"request_id": 7, "future_id": "8", "status": "pending"}, SubmitAnswer("7")),
        ({"future_id": "8", "status": "pending"}, SubmitAnswer("8")),
        ({"request_id": "7", "sample_sequence_ids": ["a", "b"]}, SubmitAnswer("7", ("a", "b"))),
        ({"request_id": "7", "sample_sequence_ids": []}, SubmitAnswer("7", ())),
        ({"request_id": "7", "sample_sequence_ids": ["a", None]}, SubmitAnswer("7")),
        ({"request_id": "7", "sample_sequence_ids": "ab"}, SubmitAnswer("7")),
        (RESULT, SubmitAnswer(None, None, RESPONSE)),
        ({**RESULT, "request_id": "7"}, SubmitAnswer(None, None, RESPONSE)),
        ({"error": "no", "category": "user"}, SubmitAnswer(None, None, Failed("no", "user"))),
    ],
)
def test_promises(value, promise):
    """A submission gives a request id, with or without sequence ids, or the result itself."""
    assert decode_promise(json.dumps(value).encode()) == promise


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"request_id":""}', b'{"request_id":true}', b"\x0a\x00"])
def test_no_promise(body):
    """An answer of asample that promises nothing is an APIResponseError."""
    with pytest.raises(APIResponseError):
        decode_promise(body)


def test_other_work():
    """A future of anything else than a sample is told apart the same way, and its value is left as it is."""
    assert outcome_of({"sampling_session_id": "s"}) == Completed({"sampling_session_id": "s"})
    assert outcome_of({"status": "completed", "result": {"x": 1}}) == Completed({"x": 1})
    assert outcome_of({"type": "try_again"}) == Pending()
    assert outcome_of([1]) == Completed([1])
