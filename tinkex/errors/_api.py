"""The root of all errors, and those of the server and of the way to it."""

from __future__ import annotations

import copyreg
from collections.abc import Iterator
from typing import Any

from tinkex._validation.public_names import with_public_names
from tinkex.errors._text import clean_text, known_category, sample_facts

TRY_AGAIN = "Try again after a while."


@with_public_names
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
        return f"{self._words()} ({facts})" if facts else self._words()

    def __reduce__(self) -> tuple[Any, ...]:
        # Past __init__: signatures differ, and every attribute travels in the state.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def _words(self) -> str:
        return self.message

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
    hint: str = ""
    """What the caller can do, as a sentence."""

    def __init__(
        self, message: str, request_id: str | None = None, phase: str | None = None, may_have_run: bool = False
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.phase = phase
        self.may_have_run = may_have_run

    def _words(self) -> str:
        if self.hint in self.message:
            return self.message
        stop = "" if self.message.endswith((".", "!", "?")) else "."
        return f"{self.message}{stop} {self.hint}"

    def _facts(self) -> Iterator[str]:
        yield from sample_facts(self.request_id, self.phase, self.may_have_run)


class APIConnectionError(APIError):
    """The server could not be reached, or the connection to it was lost: refused, DNS, TLS, reset."""

    retryable = True
    hint = "Try again after a while; if it goes on, look at the network and the server."


class APITimeoutError(APIConnectionError):
    """The server was reached and gave no answer within the HTTP timeout."""

    hint = "Try again after a while, or allow more time: request_timeout, poll_timeout, timeout."


class APIResponseError(APIError):
    """The server's answer cannot be read: truncated, larger than allowed, or not what the protocol says."""

    hint = "Whether a repetition helps, whoever runs the server can tell; it may be billed again."
    response: Any = None
    """The `SampleResponse` as the server sent it, where it could be read and is not what was asked for; else None."""


class MissingFeatureError(APIError):
    """The server left out something that was asked for, such as log-probabilities: it does not know how."""

    response: Any = None
    """The `SampleResponse` as the server sent it; None where the server was asked for something else than a sample."""


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
        self.retryable: bool = self.category == "server"
        if self.category != "unknown":
            self.hint = TRY_AGAIN if self.retryable else "Correct the request."

    def _facts(self) -> Iterator[str]:
        yield f"category {self.category}"
        yield from super()._facts()
