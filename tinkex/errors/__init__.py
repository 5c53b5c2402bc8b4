"""Exceptions: everything that tinkex raises, under one root.

Catch `TinkexError` for all of it, `APIError` for what the network or the server did, a leaf for what you can act on::

    TinkexError
    ├── APIError                     the server, or the way to it
    │   ├── APIConnectionError       no usable connection
    │   │   └── APITimeoutError      connected, but no answer in time
    │   ├── APIResponseError         an answer that cannot be read
    │   ├── APIStatusError           an answer that says no: one class a status
    │   ├── RequestFailedError       the server took the request and failed it
    │   └── MissingFeatureError      the server left out what was asked for
    ├── SampleTimeoutError           the deadline of a sample passed
    ├── QueueFullError               this client has too much queued already
    ├── CredentialError              there is no credential to send, or it cannot be used
    ├── MissingExtraError            what was asked for needs an extra that is not installed
    ├── NoThreadsError               this process runs no threads
    ├── ClientClosedError            the client was closed
    └── ForkedFutureError            the future belongs to the parent process

Wrong arguments are not here: they raise `ValueError` or `TypeError` where the call is made.
"""

from __future__ import annotations

from tinkex.errors._api import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APITimeoutError,
    MissingFeatureError,
    RequestFailedError,
    TinkexError,
)
from tinkex.errors._client import (
    ClientClosedError,
    CredentialError,
    ForkedFutureError,
    MissingExtraError,
    NoThreadsError,
    QueueFullError,
    SampleTimeoutError,
    extra,
)
from tinkex.errors._status import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    BillingError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
    status_error,
)
from tinkex.errors._text import clean_text

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BillingError",
    "ClientClosedError",
    "ConflictError",
    "CredentialError",
    "ForkedFutureError",
    "InternalServerError",
    "MissingExtraError",
    "MissingFeatureError",
    "NoThreadsError",
    "NotFoundError",
    "PermissionDeniedError",
    "QueueFullError",
    "RateLimitError",
    "RequestFailedError",
    "SampleTimeoutError",
    "TinkexError",
    "UnprocessableEntityError",
    "clean_text",
    "extra",
    "is_user_error",
    "status_error",
]

for _name in __all__:  # their public place: in tracebacks and pickles, wherever they are written down
    if _name.endswith("Error"):
        globals()[_name].__module__ = __name__


def is_user_error(error: BaseException) -> bool:
    """Tell whether *error* is the caller's to correct: sent again unchanged, it would fail again.

    True for a 4xx other than 408, 410, 425 and 429, for a failed request that the server blames on the user, and for a
    credential that cannot be used; not where the server's words are that it only came too soon.
    """
    if isinstance(error, APIStatusError):
        return 400 <= error.status < 500 and error.status not in (408, 410, 425, 429) and not error.should_retry
    if isinstance(error, RequestFailedError):
        return error.category == "user" and not error.retryable
    return isinstance(error, CredentialError)


def __dir__() -> list[str]:
    return sorted(__all__)
