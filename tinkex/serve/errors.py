"""Errors of the gateway: what a request that fails is answered with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from tinkex.errors import (
    APITimeoutError,
    AuthenticationError,
    BillingError,
    ClientClosedError,
    CredentialError,
    ForkedFutureError,
    MissingExtraError,
    MissingFeatureError,
    NotFoundError,
    PermissionDeniedError,
    QueueFullError,
    RateLimitError,
    SampleTimeoutError,
    TinkexError,
    is_user_error,
)
from tinkex.tokenizers import ChatTemplateError, TokenizerError

_SOON: Final = 1.0  # seconds to wait where nothing is known
_NO_RETRY: Final = {"x-should-retry": "false"}  # OpenAI's clients ask again after a 5xx unless told so
_NAMED: Final = re.compile(r"[a-z][a-z_]*")
_OF_A_PROMPT: Final = frozenset({"tools", "continue_final_message", "add_generation_prompt"})
_TOO_LONG: Final = re.compile(r"context[_ ](length|window|size)|max\w*[_ ]model[_ ]len", re.IGNORECASE)


@frozen
class GatewayError(Exception):
    """An error that the gateway answers with: status, message and the other fields of OpenAI's error object."""

    status: int
    message: str
    param: str | None = None
    """The field of the request that is wrong; None where it is none of them."""
    code: str | None = None
    headers: Mapping[str, str] = {}

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> dict[str, Any]:
        """The answer as JSON has it."""
        kind = "server_error" if self.status >= 500 else _KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


_KINDS: Final = {
    401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error",
}  # fmt: skip


def gateway_error(error: BaseException) -> GatewayError:
    """Return what to answer where a sample, or something before it, has failed.

    4xx is for what asking again cannot mend: clients repeat a 5xx, some of them for ever, and each repetition may be
    billed. 429 and 503 come with Retry-After; what tinkex has repeated already comes with ``x-should-retry: false``.
    """
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, RateLimitError | QueueFullError | ClientClosedError | ForkedFutureError):
        seconds = getattr(error, "retry_after", None) or _SOON
        soon = {"Retry-After": str(max(1, math.ceil(seconds)))}
        if isinstance(error, RateLimitError):
            return GatewayError(429, error.message, None, "rate_limit_exceeded", soon)
        return GatewayError(503, error.message, None, "overloaded", soon)
    if isinstance(error, ChatTemplateError):
        named = _first_word(error.message)
        return GatewayError(400, error.message, named if named in _OF_A_PROMPT else "messages")
    if isinstance(error, TinkexError):
        status, code = _status_and_code(error)
        return GatewayError(status, str(error), None, code, _NO_RETRY)
    if isinstance(error, ValueError | TypeError):
        return GatewayError(400, str(error), _first_word(str(error)))
    return GatewayError(500, f"The gateway failed: {type(error).__name__}.", None, "internal_error", _NO_RETRY)


def _status_and_code(error: TinkexError) -> tuple[int, str | None]:
    """4xx for what stays until the request, an account or the installation is changed; else what tinkex gave up on."""
    if isinstance(error, SampleTimeoutError | APITimeoutError):
        return 504, "timeout"
    if isinstance(error, AuthenticationError | CredentialError):
        return 401, "upstream_key_refused"
    if isinstance(error, BillingError):
        return 402, "billing"
    if isinstance(error, PermissionDeniedError):
        return 403, "upstream_forbidden"
    if isinstance(error, NotFoundError):
        return 404, "not_found"
    if isinstance(error, MissingFeatureError | MissingExtraError | TokenizerError):
        return 400, "not_available"
    if is_user_error(error):
        return 400, "context_length_exceeded" if _TOO_LONG.search(error.message) else "upstream_refused"
    return 502, "upstream_error"


def _first_word(message: str) -> str | None:
    """Return the field that a message begins with, as messages of tinkex do."""
    found = _NAMED.match(message)
    return found[0] if found else None
