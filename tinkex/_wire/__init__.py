"""Wire format: requests to bytes, responses from bytes. Pure functions, no I/O."""

from __future__ import annotations

from tinkex._wire.capabilities import decode_capabilities, decode_context_lengths
from tinkex._wire.check_response import finish_response
from tinkex._wire.decode_response import (
    Answer,
    Completed,
    Failed,
    MetadataOnly,
    Outcome,
    Pending,
    SubmitAnswer,
    decode_answer,
    decode_promise,
    identifier,
    outcome_of,
)
from tinkex._wire.encode_request import encode_sample, estimate_bytes
from tinkex._wire.error_message import ErrorBody, clean_words, decode_error_body, message_of
from tinkex._wire.json_bytes import MOST_JSON_GROWTH, decode_json, encode_json, is_json_object, json_object_bytes
from tinkex._wire.phrases import says_no_route, says_rate_limited, says_session, says_slots_full, says_unknown

__all__ = [
    "MOST_JSON_GROWTH",
    "Answer",
    "Completed",
    "ErrorBody",
    "Failed",
    "MetadataOnly",
    "Outcome",
    "Pending",
    "SubmitAnswer",
    "clean_words",
    "decode_answer",
    "decode_capabilities",
    "decode_context_lengths",
    "decode_error_body",
    "decode_json",
    "decode_promise",
    "encode_json",
    "encode_sample",
    "estimate_bytes",
    "finish_response",
    "identifier",
    "is_json_object",
    "json_object_bytes",
    "message_of",
    "outcome_of",
    "says_no_route",
    "says_rate_limited",
    "says_session",
    "says_slots_full",
    "says_unknown",
]
