"""Diagnosis of errors: the likely cause of one, and what to do next."""

from __future__ import annotations

from typing import Final

from tinkex.cli.doctor.finding import Trouble
from tinkex.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BillingError,
    CredentialError,
    InternalServerError,
    MissingFeatureError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestFailedError,
    SampleTimeoutError,
    TinkexError,
)

_BEHIND: Final = "Give --base-url the server that the gateway samples from; the gateway's own state is at its /health."
_KEYS: Final = "https://tinker.thinkingmachines.ai/keys"
_ADDRESS: Final = "Check --base-url with its path."
_NOT_POSTED: Final = (405, 501)  # of web servers that only have files
# The first kind that fits.
_REASONS: Final[tuple[tuple[type[TinkexError], str, str], ...]] = (
    (CredentialError, "There is no key that could be sent.", "Set TINKER_API_KEY."),
    (AuthenticationError, "The server does not know this key, or it was revoked.", f"Compare it with {_KEYS}"),
    (PermissionDeniedError, "The key is known, and not allowed to do this.", "Ask for access, or use another key."),
    (BillingError, "The account cannot pay.", "Check the billing of the account."),
    (NotFoundError, "The server does not know this.", "Check --base-url with its path, and the model: tinkex models"),
    (RateLimitError, "The account, or the server, has too much to do.", "Wait a while, and try again."),
    (InternalServerError, "The server, or a proxy in front of it, has a problem of its own.", "Try again later."),
    (APIStatusError, "The server refuses this request.", "Check that it is a Tinker server, of a recent version."),
    (APITimeoutError, "The server is reached and does not answer in time.", "Try again; --timeout gives it longer."),
    (APIConnectionError, "The connection was lost on the way.", "Try again; look at firewall and proxy if it stays."),
    (APIResponseError, "What answers there may be no Tinker server.", _ADDRESS),
    (RequestFailedError, "The server took the request and failed it.", "Try another model; tell whoever runs it."),
    (
        SampleTimeoutError,
        "The server has no room now, or is loading the model.",
        "Wait, or give it a longer --timeout.",
    ),
    (MissingFeatureError, "The server does not know how to do this.", "Check that it is of a recent version."),
    (TinkexError, "Something on this machine is in the way.", "See the message."),
)


def explained(error: TinkexError) -> Trouble:
    """Diagnose an error: its likely cause and the next step."""
    if comes_from_gateway(error):
        return Trouble(str(error), "A gateway answers there (tinkex serve), no Tinker server.", _BEHIND)
    if isinstance(error, APIStatusError) and error.status_code in _NOT_POSTED:
        return Trouble(str(error), "What answers there takes no such requests: it may be no Tinker server.", _ADDRESS)
    for kind, cause, advice in _REASONS:
        if isinstance(error, kind):
            return Trouble(str(error), cause, advice)
    raise error


def comes_from_gateway(error: TinkexError) -> bool:
    """Whether ``tinkex serve`` gave this answer, which is no Tinker server."""
    body = error.body if isinstance(error, APIStatusError) else None
    inner = body.get("error") if isinstance(body, dict) else None
    return isinstance(inner, dict) and inner.get("code") == "gateway"
