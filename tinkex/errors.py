"""Everything tinkex raises, under one root.

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

import copyreg
from collections.abc import Iterator
from typing import Any

from tinkex._text import bounded_body, known_category, known_facts, sample_facts
from tinkex._text import clean_text as clean_text  # noqa: PLC0414 - offered here too


class TinkexError(Exception):
    """The root of every error that tinkex raises.

    All of them survive pickling with their attributes, have a text that is never empty, and hold no credential.
    """

    message: str
    """What happened and what can be done about it, in words; by default what the class says. `str()` adds the facts."""
    retryable: bool = False
    """Whether the same call could sensibly be made again, after a while and unchanged."""

    def __init__(self, message: str = "") -> None:
        kind = type(self)
        self.message = clean_text(message, 4000) or (kind.__doc__ or kind.__name__).partition("\n")[0]
        super().__init__(self.message)

    def __str__(self) -> str:
        facts = clean_text("; ".join(self._facts()))
        return f"{self.message} ({facts})" if facts else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Past __init__: signatures differ, and every attribute travels in the state.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def _facts(self) -> Iterator[str]:
        yield from ()


class APIError(TinkexError):
    """Something went wrong at the server or on the way to it."""

    request_id: str | None
    """The server's id of the request; None when there was none yet."""
    phase: str | None
    """Where the sample was: "queued", "submitting", "waiting", "fetching" or "retrying"; None outside a sample."""
    may_have_run: bool
    """True if the server may have done the work, and billed it, although no result came back."""

    def __init__(
        self, message: str, request_id: str | None = None, phase: str | None = None, may_have_run: bool = False
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.phase = phase
        self.may_have_run = may_have_run

    def _facts(self) -> Iterator[str]:
        yield from sample_facts(self.request_id, self.phase, self.may_have_run)


class APIConnectionError(APIError):
    """The server could not be reached, or the connection to it was lost: refused, DNS, TLS, reset."""

    retryable = True


class APITimeoutError(APIConnectionError):
    """The server was reached and gave no answer within the HTTP timeout."""


class APIResponseError(APIError):
    """The server's answer cannot be read: truncated, larger than allowed, or not what the protocol says."""


class MissingFeatureError(APIError):
    """The server left out something that was asked for, such as log-probabilities: it does not know how."""


class APIStatusError(APIError):
    """The server answered with an HTTP status that means no."""

    status: int
    """The HTTP status."""
    body: Any
    """The answer: decoded JSON or text; text of at most 2,000 characters if it was longer or held a credential."""
    retry_after: float | None
    """Seconds the server asked to be left alone for; None if it did not say."""
    should_retry: bool | None = None
    """The server's own word on whether to try again (`x-should-retry`); None if it gave none."""
    hint: str = ""
    """What the caller can do about this status, as a sentence."""

    def __init__(
        self,
        message: str,
        status: int,
        body: Any = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        phase: str | None = None,
        may_have_run: bool = False,
    ) -> None:
        super().__init__(message, request_id, phase, may_have_run)
        self.status = status
        self.body = bounded_body(body)
        self.retry_after = retry_after
        self.retryable = status in (408, 409, 410, 429) or status >= 500

    @property
    def status_code(self) -> int:
        """The HTTP status, under the name the official SDK gives it."""
        return self.status

    def _facts(self) -> Iterator[str]:
        yield from known_facts(("status {}", self.status), ("retry after {:g} s", self.retry_after))
        yield from super()._facts()


class BadRequestError(APIStatusError):
    """400: the server cannot make sense of the request."""

    hint = "Correct the request: unchanged, it would be refused again."


class AuthenticationError(APIStatusError):
    """401: the credential is missing, wrong or expired."""

    hint = "Check the API key: pass api_key or set TINKER_API_KEY."


class BillingError(APIStatusError):
    """402: the account cannot pay for the work."""

    hint = "Check the billing of the account, then try again."


class PermissionDeniedError(APIStatusError):
    """403: the credential is good, but not for this."""

    hint = "Check that this API key may use the model or session."


class NotFoundError(APIStatusError):
    """404: there is no such model, path, session or request."""

    hint = "Check the name, and that base_url leads to the right server."


class ConflictError(APIStatusError):
    """409: the request contradicts an earlier one."""

    hint = "Try again; if it happens again, make a new sampling client."


class UnprocessableEntityError(APIStatusError):
    """422: the request is well-formed, and a value in it is refused."""

    hint = "Correct the request: unchanged, it would be refused again."


class RateLimitError(APIStatusError):
    """429: too much was asked for at once; see `retry_after`."""

    hint = "Wait before the next request, or have fewer in flight."


class InternalServerError(APIStatusError):
    """5xx: the server, or a proxy in front of it, failed."""

    hint = "Try again after a while; the request itself may be fine."


_STATUS_CLASSES: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: BillingError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def status_error(
    status: int,
    message: str | None = None,
    body: Any = None,
    request_id: str | None = None,
    retry_after: float | None = None,
    phase: str | None = None,
    may_have_run: bool = False,
) -> APIStatusError:
    """Build the error of the class that fits *status*; *message* is what the server said, in its words.

    >>> status_error(404, "no model 'llama'")
    NotFoundError("The server answered 404 Not Found: no model 'llama'.
    Check the name, and that base_url leads to the right server.")
    """
    kind = _STATUS_CLASSES.get(status, InternalServerError if status >= 500 else APIStatusError)
    from http.client import responses  # only when it is needed: it is slow to import

    phrase = responses.get(status, "")
    words = message or (body if isinstance(body, str) else "")
    answered = f"The server answered {status} {phrase}".rstrip()
    text = f"{answered}: {clean_text(words, 1000)}".rstrip(" .:") + f". {kind.hint}"
    return kind(text.rstrip(), status, body, request_id, retry_after, phase, may_have_run)


class RequestFailedError(APIError):
    """The server accepted the request and then failed it."""

    category: str
    """Whose fault the server says it was: "user", "server" or "unknown"."""

    def __init__(
        self,
        message: str,
        request_id: str | None = None,
        category: str = "unknown",
        phase: str | None = None,
        may_have_run: bool = False,
    ) -> None:
        super().__init__(message, request_id, phase, may_have_run)
        self.category = known_category(category)
        self.retryable = self.category == "server"

    def _facts(self) -> Iterator[str]:
        yield f"category {self.category}"
        yield from super()._facts()


class SampleTimeoutError(TinkexError):
    """The deadline of a sample passed before its result came."""

    retryable = True
    phase: str | None
    """Where the sample was: "queued", "submitting", "waiting", "fetching" or "retrying"."""
    request_id: str | None
    """The server's id of the request; None if it never accepted one."""
    last_status: int | None
    """The last HTTP status received for this sample; None if none came."""
    attempts: int
    """How many times the sample was submitted."""
    queue_state: str | None
    """The server's last word on its queue, such as "paused_capacity"; None if it said nothing."""
    timeout: float | None
    """The deadline that passed, in seconds from the call."""
    may_have_run: bool
    """True if the server may have done the work, and billed it."""

    def __init__(
        self,
        message: str,
        phase: str | None = None,
        request_id: str | None = None,
        last_status: int | None = None,
        attempts: int = 0,
        queue_state: str | None = None,
        timeout: float | None = None,
        may_have_run: bool = False,
    ) -> None:
        super().__init__(message)
        self.phase = phase
        self.request_id = request_id
        self.last_status = last_status
        self.attempts = attempts
        self.queue_state = queue_state
        self.timeout = timeout
        self.may_have_run = may_have_run

    def _facts(self) -> Iterator[str]:
        yield from known_facts(("timeout {:g} s", self.timeout), ("attempts {}", self.attempts))
        yield from known_facts(("last status {}", self.last_status), ("queue state {}", self.queue_state))
        yield from sample_facts(self.request_id, self.phase, self.may_have_run)


class QueueFullError(TinkexError):
    """The queue of this client is full, and it was told to raise rather than to wait."""

    retryable = True
    retry_after: float
    """Seconds after which there is likely room again: good for a Retry-After header."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def _facts(self) -> Iterator[str]:
        yield f"retry after {self.retry_after:g} s"


class CredentialError(TinkexError, ValueError):
    """There is no credential for a server that needs one, or the one found cannot be used; nothing was sent."""


class MissingExtraError(TinkexError, ModuleNotFoundError):
    """What was asked for needs an extra that is not installed; the text says which, and how to install it."""


class NoThreadsError(TinkexError, RuntimeError):
    """This process runs no threads for tinkex to work on; nothing was sent."""


class ClientClosedError(TinkexError):
    """The client was closed before or during the call: make a new one."""


class ForkedFutureError(TinkexError):
    """The future was made before a fork and ends in the parent process only: sample again in this one."""


def is_user_error(error: BaseException) -> bool:
    """Tell whether *error* is the caller's to correct: sent again unchanged, it would fail again.

    True for a 4xx other than 408, 410 and 429, for a failed request that the server blames on the user, and for a
    credential that cannot be used.
    """
    if isinstance(error, APIStatusError):
        return 400 <= error.status < 500 and error.status not in (408, 410, 429)
    if isinstance(error, RequestFailedError):
        return error.category == "user"
    return isinstance(error, CredentialError)
