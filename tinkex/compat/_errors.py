"""Errors of tinkex as the official SDK's, which programs written for it catch."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from tinkex.compat._sdk import official
from tinkex.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    MissingFeatureError,
    RequestFailedError,
    SampleTimeoutError,
    TinkexError,
)

_TOO_LONG = "max_tokens is too large"  # what a sampling client says of a prompt that does not fit
_OVERFLOW = "Prompt length plus max_tokens exceeds the model's context window"  # the server's, which programs know


@contextlib.contextmanager
def official_errors() -> Iterator[None]:
    """Raise what tinkex raises in here as the SDK's errors, with tinkex's own as the cause.

    A ValueError is what the SDK would have sent, for the server to refuse.
    """
    try:
        yield
    except TinkexError as error:
        raise official_error(error) from error
    except ValueError as error:
        raise refusal(str(error)) from error


def official_error(error: TinkexError) -> Exception:
    """The SDK's error for one of tinkex: of the same kind, with its text."""
    sdk, text = official(), str(error)
    made: Exception
    if isinstance(error, APIStatusError):
        made = _status_error(error, text)
    elif isinstance(error, RequestFailedError):
        category = sdk.types.RequestErrorCategory(error.category)
        made = sdk.RequestFailedError(text, error.request_id or "", category)
    elif isinstance(error, APITimeoutError | SampleTimeoutError):
        made = timeout_error(text)
    elif isinstance(error, APIConnectionError):
        made = sdk.APIConnectionError(_request(), text)
    elif isinstance(error, APIResponseError | MissingFeatureError):
        made = sdk.APIResponseValidationError(_response(HTTPStatus.OK, None), None, text)
    else:
        made = sdk.TinkerError(text)
    return made


def refusal(text: str) -> Exception:
    """The error for arguments that the server would refuse: a `tinker.BadRequestError`, and a ValueError too."""
    if text.startswith(_TOO_LONG):
        text = f"{_OVERFLOW}: {text}"
    return _refusal_class()(text)  # type: ignore[no-any-return]


def timeout_error(text: str) -> Exception:
    """A `tinker.APITimeoutError` with a text of its own."""
    return _timeout_class()(text)  # type: ignore[no-any-return]


def _status_error(error: APIStatusError, text: str) -> Exception:
    headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:g}"}
    response = _response(error.status, error.body, headers)
    kind = getattr(official(), type(error).__name__)  # they have the same names
    made: Exception = kind(text, response=response, body=error.body)
    return made


def _request() -> Any:
    import httpx  # which the SDK has imported

    return httpx.Request("POST", "/api/v1/asample")


def _response(status: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    import httpx

    text = body if isinstance(body, str) else json.dumps(body)
    return httpx.Response(status, request=_request(), headers=headers, content=text.encode(errors="replace"))


@functools.cache
def _refusal_class() -> type[Any]:
    bad_request: Any = official().BadRequestError

    class UnsentRequestError(bad_request, ValueError):  # type: ignore[misc]
        """The request was refused before it was sent."""

        def __init__(self, text: str) -> None:
            body = {"error": text}
            bad_request.__init__(self, text, response=_response(HTTPStatus.BAD_REQUEST, body), body=body)

        def __reduce__(self) -> tuple[Any, ...]:
            return refusal, (self.message,)

    return UnsentRequestError


@functools.cache
def _timeout_class() -> type[Any]:
    timeout: Any = official().APITimeoutError

    class LateAnswerError(timeout):  # type: ignore[misc]
        """No answer came in time. The SDK's own class takes no text, and its pickles cannot be read."""

        def __init__(self, text: str) -> None:
            super().__init__(_request())
            self.args, self.message = (text,), text

        def __reduce__(self) -> tuple[Any, ...]:
            return timeout_error, (self.message,)

    return LateAnswerError
