"""HTTP error responses of web applications in which tinkex raised; for any framework, and needing none."""

from __future__ import annotations

import math

from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APITimeoutError,
    BadRequestError,
    ClientClosedError,
    ForkedFutureError,
    InternalServerError,
    MissingFeatureError,
    QueueFullError,
    RateLimitError,
    RequestFailedError,
    SampleTimeoutError,
    TinkexError,
    UnprocessableEntityError,
)

_BUSY = (ClientClosedError, ForkedFutureError, QueueFullError, RateLimitError)
_LATE = (APITimeoutError, SampleTimeoutError)
_UPSTREAM = (APIConnectionError, APIResponseError, InternalServerError, MissingFeatureError, RequestFailedError)
_SOON = 1.0  # a Retry-After for what did not name one


def error_response(error: TinkexError) -> tuple[int, dict[str, str]]:
    """The HTTP status and headers with which a view answers `error`.

    400 is for what the visitor sent; 503, alone with a header, Retry-After in whole seconds, for "busy, try again"; 504
    for a deadline; 502 for a fault of the Tinker server or of the way to it; 500 for what the application's owner has
    to mend: a key, an account, the name of a model. Safe in any thread.

    >>> import tinkex
    >>> error_response(tinkex.QueueFullError("The queue is full.", retry_after=2.5))
    (503, {'Retry-After': '3'})
    >>> error_response(tinkex.AuthenticationError("The server answered 401.", 401))
    (500, {})
    """
    if isinstance(error, _BUSY):
        seconds = getattr(error, "retry_after", None) or _SOON
        return 503, {"Retry-After": str(max(1, math.ceil(seconds)))}
    if _blames_the_prompt(error):
        return 400, {}
    if isinstance(error, _LATE):
        return 504, {}
    return (502 if isinstance(error, _UPSTREAM) else 500), {}


def _blames_the_prompt(error: TinkexError) -> bool:
    """Whether the server refused the sample for its content; outside a sample nothing of the visitor's was sent."""
    refused = isinstance(error, BadRequestError | UnprocessableEntityError) or (
        isinstance(error, RequestFailedError) and error.category == "user" and not error.retryable
    )
    return refused and isinstance(error, APIError) and error.phase is not None
