"""What a sample's trouble means: how long a pause is, what an error should tell, what a log record carries."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinkex import _wire
from tinkex._transport.http11 import Response
from tinkex.errors import APIError, APIStatusError
from tinkex.future import SampleFuture
from tinkex.queue_state import QueueState

BILLING_PAUSE = 5.0
_SMALL_REQUEST = 131_072  # estimated bytes up to which a 429 without Retry-After means one second, above it five


class Pause(NamedTuple):
    """What a 429 or a 402 asks for."""

    seconds: float
    state: QueueState
    reason: str | None  # in the server's words
    told: str | None  # the part of it that observers are told


def pause_of(failure: APIStatusError, response: Response, size: int) -> Pause:
    """The pause that the answer to a submission of `size` bytes asks for."""
    words = _wire.decode_error_body(response.headers.get("content-type", ""), response.body)
    reason = words.reason or words.message
    if failure.status != 429:
        return Pause(max(failure.retry_after or 0.0, BILLING_PAUSE), QueueState.UNKNOWN, reason, reason)
    seconds = failure.retry_after or (1.0 if size <= _SMALL_REQUEST else 5.0)
    state = QueueState.parse(words.queue_state) if words.queue_state else QueueState.PAUSED_RATE_LIMIT
    return Pause(seconds, state, reason, words.reason)


def complete(error: APIError, future: SampleFuture[Any], *, risked: bool) -> None:
    """Add to an error what only the sample knows."""
    error.request_id = error.request_id or future.request_id
    error.phase = error.phase or future.phase
    error.may_have_run = error.may_have_run or risked or future.request_id is not None
