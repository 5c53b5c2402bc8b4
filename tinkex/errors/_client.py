"""Errors of the client itself: deadlines, full queues, closed clients, missing credentials, extras and threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tinkex.errors._api import TinkexError
from tinkex.errors._text import clean_text, known_facts, sample_facts


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
    last_failure: str | None
    """The last failure that the sample met, in words, the server's where it gave any; None if there was none."""

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
        last_failure: str | None = None,
    ) -> None:
        super().__init__(message)
        self.last_failure = None if last_failure is None else clean_text(last_failure, 500)
        self.phase = phase
        self.request_id = request_id
        self.last_status = last_status
        self.attempts = attempts
        self.queue_state = queue_state
        self.timeout = timeout
        self.may_have_run = may_have_run

    def _words(self) -> str:
        return (
            self.message if self.last_failure is None else f"{self.message} The last failure was: {self.last_failure}"
        )

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


@contextlib.contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Import inside this what only comes with the extra `name`; `what` needs it. Raises MissingExtraError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, MissingExtraError) or (error.name or "").partition(".")[0] == "tinkex":
            raise
        raise MissingExtraError(
            f"{what} needs {error.name}, which is not installed. Run: pip install 'tinkex[{name}]'"
        ) from error
