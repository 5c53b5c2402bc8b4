"""HTTP status errors: one class for each status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinkex.errors._api import TRY_AGAIN, APIError
from tinkex.errors._text import bounded_body, clean_text, known_facts


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
        self.retryable: bool = status in (408, 409, 410, 425, 429) or status >= 500
        if not self.hint:
            self.hint = TRY_AGAIN if self.retryable else "Unchanged, the request would be refused again."

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
    *,
    hint: str | None = None,
) -> APIStatusError:
    """Build the error of the class that fits *status*; *message* is what the server said, in its words.

    *hint* is what the caller can do, where that is not what the class says.

    >>> status_error(404, "no model 'llama'")
    NotFoundError("The server answered 404 Not Found: no model 'llama'.
    Check the name, and that base_url leads to the right server.")
    """
    kind = _STATUS_CLASSES.get(status, InternalServerError if status >= 500 else APIStatusError)
    from http.client import responses  # only when it is needed: it is slow to import

    phrase = responses.get(status, "")
    words = message or (body if isinstance(body, str) else "")
    answered = f"The server answered {status} {phrase}".rstrip()
    text = f"{answered}: {clean_text(words, 1000)}".rstrip(" .:") + f". {kind.hint if hint is None else hint}"
    error = kind(text.rstrip(), status, body, request_id, retry_after, phase, may_have_run)
    error.hint = error.hint if hint is None else hint
    return error
