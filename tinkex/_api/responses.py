"""Interpretation of responses: their JSON object, their error, the pause they ask for, Retry-After."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinkex import _wire
from tinkex._api import limits
from tinkex._concurrency.clock import Clock
from tinkex._transport.http11 import Response
from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    RateLimitError,
    clean_text,
    status_error,
)
from tinkex.queue_state import QueueState

__all__ = [
    "BILLING_PAUSE",
    "Refusal",
    "RequestedPause",
    "Response",
    "decode_object",
    "ends_long_poll",
    "is_edge_rejection",
    "read_refusal",
    "requested_pause",
    "retry_after",
]

BILLING_PAUSE = limits.BILLING_PAUSE.floor
_HELD = 0.2  # seconds; what fails sooner was not held
_HELD_LONG = 3.0  # what fails later was, whatever the rest of the server does
_TIMEOUTS = frozenset({408, 502, 504, 524})
_NO_SLOT = (
    "No wait helps: what it counts is held by clients that have been made, also in other processes. Go on with one of"
    " those (handle() passes it on), or have whoever runs the server free some."
)
_FORGOTTEN = {
    "submitting": (
        "The server no longer knows the sampling session, or its weights, perhaps after a restart: make a new sampling"
        " client."
    ),
    "waiting": "The server no longer knows the request, perhaps after a restart: what it had computed is lost.",
}
_CAUSES = {QueueState.PAUSED_RATE_LIMIT: "rate_limit", QueueState.PAUSED_CAPACITY: "capacity"}
_SMALL_REQUEST = 131_072  # estimated bytes up to which a 429 without Retry-After means one second, above it five


class Refusal:
    """An answer that is no success: the error it stands for, and what its body says."""

    __slots__ = ("body", "error")

    def __init__(self, error: APIError, body: _wire.ErrorBody) -> None:
        self.error = error
        self.body = body

    @property
    def is_rate_limit(self) -> bool:
        """Whether it came too soon, by its status or by its words: nothing has run."""
        return getattr(self.error, "status", None) == 429 or _wire.says_rate_limited(self.body.message)

    @property
    def is_unknown_id(self) -> bool:
        """Whether the API does not know an id in the request: a 404, and not for want of such a path."""
        return _is_unknown_id(getattr(self.error, "status", None), self.body)


class RequestedPause:
    """The pause that a 429 or a 402 asks for."""

    __slots__ = ("cause", "queue_reason", "reason", "seconds", "state")

    def __init__(
        self, seconds: float, state: QueueState, reason: str | None, queue_reason: str | None, cause: str
    ) -> None:
        self.seconds = seconds
        self.state = state
        self.reason = reason  # in the server's words
        self.queue_reason = queue_reason  # the part of it that observers are told
        self.cause = cause  # in a word of ours: "rate_limit", "capacity", "billing" or "unknown"


def read_refusal(
    response: Response, clock: Clock, *, request_id: str | None = None, phase: str | None = None
) -> Refusal:
    """Decode an answer other than a 2xx, once."""
    error_body = _wire.decode_error_body(response.headers.get("content-type", ""), response.body)
    if is_edge_rejection(response):
        return Refusal(
            APIConnectionError(
                "A proxy in front of the server refused the request with an empty 400. Nothing was done; try again.",
                request_id,
                phase,
            ),
            error_body,
        )
    message = error_body.message or _wire.clean_words(response.body[:2000].decode("utf-8", "replace"), 300)
    if 300 <= response.status < 400:
        where = clean_text(response.headers.get("location", "nowhere"), 200)
        message = f"a redirect to {where}, which is not followed; check base_url"
    wait = retry_after(response.headers, clock)
    body = error_body.value if error_body.is_json else message or None
    is_final = response.status == 429 and wait is None and phase is None and _wire.says_slots_full(error_body.message)
    comes_too_soon = response.status not in (429, *range(500, 600)) and _wire.says_rate_limited(error_body.message)
    hint = _NO_SLOT if is_final else RateLimitError.hint if comes_too_soon else None
    if _is_unknown_id(response.status, error_body):
        hint = _FORGOTTEN.get(phase or "")
    error = status_error(response.status, message, body, request_id, wait, phase, hint=hint)
    should_retry = response.headers.get("x-should-retry")
    if should_retry in ("true", "false") or is_final or comes_too_soon:
        error.should_retry = error.retryable = should_retry != "false" and not is_final
    return Refusal(error, error_body)


def _is_unknown_id(status: int | None, body: _wire.ErrorBody) -> bool:
    return status == 404 and body.is_json and not _wire.says_no_route(body.message)


def requested_pause(refusal: Refusal, size: int) -> RequestedPause:
    """The pause that the answer to a submission of `size` estimated bytes asks for."""
    error, error_body = refusal.error, refusal.body
    reason = error_body.reason or error_body.message
    asked = getattr(error, "retry_after", None) or 0.0
    if getattr(error, "status", None) != 402:
        state = QueueState.parse(error_body.queue_state) if error_body.queue_state else QueueState.PAUSED_RATE_LIMIT
        seconds = limits.SUBMIT_PAUSE.apply(asked or (1.0 if size <= _SMALL_REQUEST else 5.0))
        return RequestedPause(seconds, state, reason, error_body.reason, _CAUSES.get(state, "unknown"))
    return RequestedPause(limits.BILLING_PAUSE.apply(asked), QueueState.UNKNOWN, reason, reason, "billing")


def is_edge_rejection(response: Response) -> bool:
    """Whether it is a 400 without a body: that comes from a proxy at the edge, not from the API."""
    return response.status == 400 and not response.body


def ends_long_poll(error: APIError, held: float, is_alive: bool) -> bool:
    """Whether a poll that was held for `held` seconds ended on the way, by a timeout of ours or of a gateway.

    That says "not yet", as a 408 does: gateways cut what they hold with 502, 504, 524, or by closing the connection.
    `is_alive` says that other requests are answered: without that, what was held for a moment only is a failure.
    """
    if isinstance(error, APITimeoutError):
        return True
    if held < (_HELD if is_alive else _HELD_LONG):
        return False
    lost = isinstance(error, APIConnectionError) and error.may_have_run
    return lost or (isinstance(error, APIStatusError) and error.status in _TIMEOUTS)


def decode_object(response: Response) -> dict[str, Any]:
    """The JSON object that an answer must be; raises APIResponseError."""
    try:
        decoded = _wire.decode_json(response.body)
    except ValueError as error:
        raise APIResponseError(
            f"The server answered {response.status} with something other than JSON: {error}"
        ) from None
    if not isinstance(decoded, dict):
        raise APIResponseError(f"The server answered {response.status} with JSON that is not an object.")
    return decoded


def retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    """Seconds the server asks for: `retry-after-ms`, or `Retry-After` as seconds or as a date; None if it does not."""
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif "retry-after" in headers:
            text = headers["retry-after"]
            seconds = float(text) if text[:1].isdigit() or text[:1] == "." else _timestamp(text) - clock.wall()
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return limits.RETRY_AFTER.apply(seconds) if seconds > 0 else None


def _timestamp(date: str) -> float:
    import email.utils  # servers that write dates are rare, and it is slow to import

    return email.utils.parsedate_to_datetime(date).timestamp()
