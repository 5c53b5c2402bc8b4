"""Decode the responses of asample and retrieve_future: the result, pending or failed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tinkex._validation.fieldwise import Record
from tinkex._wire.error_message import category_of, clean, message_of
from tinkex._wire.json_bytes import decode_json
from tinkex._wire.protobuf import decode_protobuf
from tinkex.errors import APIResponseError, clean_text
from tinkex.types import SampleResponse

_EXCERPT = 200


class Pending(Record):
    """Pending: not ready, ask again. What the server did not say is None."""

    __slots__ = ("queue_state", "reason", "retry_after")

    def __init__(
        self, queue_state: str | None = None, reason: str | None = None, retry_after: float | None = None
    ) -> None:
        self.queue_state = queue_state  # the server's word for why, such as "paused_capacity"
        self.reason = reason  # its explanation for people
        self.retry_after = retry_after  # seconds to wait before asking again


class MetadataOnly(Record):
    """Metadata only: the result, of `size` bytes, is ready but was not sent; ask again with room for it."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


class Failed(Record):
    """Failed for good: the server ran the request."""

    __slots__ = ("category", "message")

    def __init__(self, message: str, category: str) -> None:
        self.message = message
        self.category = category  # "user", "server" or "unknown"


class Completed(Record):
    """Completed with a result of any kind, still as JSON: sampling is not the only work that servers put off."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


Answer = SampleResponse | Pending | MetadataOnly | Failed
Outcome = Completed | Pending | MetadataOnly | Failed


class SubmitAnswer(Record):
    """Response of asample: where to ask for the result, or the result itself."""

    __slots__ = ("answer", "request_id", "sequence_ids")

    def __init__(
        self,
        request_id: str | None,
        sequence_ids: tuple[str, ...] | None = None,
        answer: SampleResponse | Failed | None = None,
    ) -> None:
        self.request_id = request_id
        self.sequence_ids = sequence_ids  # of the sequences to come, in order; None if the server gives none
        self.answer = answer  # set, without a request id, if the server answered at once


def decode_answer(content_type: str, body: bytes | bytearray) -> Answer:
    """Read a 2xx answer of retrieve_future.

    Raises:
        APIResponseError: It is none of the known answers.
    """
    if "protobuf" not in content_type.lower():
        return _answer(_json(body), body)
    try:
        return decode_protobuf(body)
    except (ValueError, TypeError) as error:
        raise APIResponseError(f"The server's protobuf result cannot be read: {error}.") from error


def decode_promise(body: bytes | bytearray) -> SubmitAnswer:
    """Read a 2xx answer of asample.

    Raises:
        APIResponseError: It is neither a promise nor a result.
    """
    value = _json(body)
    if isinstance(value, Mapping):
        for key in ("request_id", "future_id"):
            if (request_id := identifier(value.get(key))) is not None and "sequences" not in value:
                return SubmitAnswer(request_id, _identifiers(value.get("sample_sequence_ids")))
    answer = _answer(value, body)
    if not isinstance(answer, SampleResponse | Failed):
        raise APIResponseError(
            f"The server's answer to asample has neither a request_id nor a result. {_excerpt(body)}"
        )
    return SubmitAnswer(None, None, answer)


def outcome_of(value: Any) -> Outcome:
    """Classify decoded JSON: is work that a server put off completed, pending or failed?

    Raises:
        APIResponseError: It announces a size that is none.
    """
    if not isinstance(value, Mapping):
        return Completed(value)
    status, kind = value.get("status"), value.get("type")
    if kind == "try_again" or (status == "pending" and "sequences" not in value):
        state, reason = value.get("queue_state"), value.get("queue_state_reason")
        return Pending(clean(state), clean(reason), _seconds(value.get("retry_after_ms")))
    if status == "complete_metadata":
        return MetadataOnly(_size(value.get("response_payload_size")))
    if value.get("error") or status == "failed" or kind in ("request_failed", "RequestFailedResponse"):
        return Failed(message_of(value) or "The server gave no reason.", category_of(value))
    if status == "completed" and "result" in value:
        return Completed(value["result"])
    return Completed(value)


def _answer(value: Any, body: bytes | bytearray) -> Answer:
    outcome = outcome_of(value)
    if not isinstance(outcome, Completed):
        return outcome
    try:
        return SampleResponse.from_dict(outcome.value)
    except (ValueError, TypeError) as error:
        raise APIResponseError(f"The server's result cannot be read: {error}. {_excerpt(body)}") from error


def _json(body: bytes | bytearray) -> Any:
    try:
        return decode_json(body)
    except ValueError as error:
        raise APIResponseError(f"The server's answer is not JSON. {_excerpt(body)}") from error


def _excerpt(body: bytes | bytearray) -> str:
    text = clean_text(body[:_EXCERPT].decode(errors="replace"))
    return f"It begins: {text}" if text else "It is empty."


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise APIResponseError("The server announced a result without a usable size.")
    return value


def _seconds(milliseconds: Any) -> float | None:
    if type(milliseconds) not in (int, float) or not 0 <= milliseconds < math.inf:
        return None
    return float(min(milliseconds, 1e12)) / 1000


def identifier(value: Any) -> str | None:
    """Read an id: text that is not empty, or a whole number; None for anything else."""
    if type(value) is int:
        return str(value) if abs(value) < 2**64 else None
    return value if isinstance(value, str) and value else None


def _identifiers(values: Any) -> tuple[str, ...] | None:
    if not isinstance(values, list):
        return None
    made = [identifier(value) for value in values]
    return tuple([value for value in made if value is not None]) if None not in made else None
