"""Promise: an accepted submission, whose result comes later, at once, or never."""

from __future__ import annotations

from tinkex import _wire
from tinkex._api.responses import Refusal
from tinkex.errors import RateLimitError, RequestFailedError
from tinkex.types import SampleResponse

Polled = SampleResponse | _wire.MetadataOnly | _wire.Pending
"""Outcome of a poll that finds no failure."""


class Promise:
    """A submission that the server accepted; instants and durations in monotonic seconds."""

    __slots__ = ("inline", "made_at", "request_id", "roundtrip")

    def __init__(
        self, request_id: str, made_at: float, roundtrip: float, inline: SampleResponse | _wire.Failed | None
    ) -> None:
        self.request_id = request_id
        self.made_at = made_at
        self.roundtrip = roundtrip
        self.inline = inline  # some servers answer at once

    @property
    def has_guessable_id(self) -> bool:
        """Whether its id is a plain number: a server without a memory of it gives it to another request."""
        return self.request_id.isdecimal()

    def met_no_session(self, message: str, sampling_session_id: str, lost_at: float) -> bool:
        """Whether the sample was accepted, and then failed since the server does not know its sampling session.

        A poll does not name that: a server that does has the sample itself, and has not run it, unless it was found
        gone (`lost_at`) meanwhile.
        """
        return lost_at <= self.made_at and _wire.says_unknown(message, sampling_session_id)

    def poll_body(self, *, asks_size: bool) -> bytes:
        """The body of a poll; `asks_size` lets the server answer with the size of the result, where that is large."""
        asked = b',"allow_metadata_only":true' if asks_size else b""
        return b'{"request_id":%b%b}' % (_wire.encode_json(self.request_id), asked)

    def poll_headers(self, number: int) -> str:
        """The header lines of the poll of this number, from 1."""
        lines = f"X-Tinker-Request-Iteration: {number - 1}\r\n"
        if number == 1:
            lines += f"X-Tinker-Create-Promise-Roundtrip-Time: {self.roundtrip:.6f}\r\n"
        return lines


class Expired(Exception):  # noqa: N818 - control flow, not an error
    """Lost promise (410): the server has dropped it, and only a new submission helps."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class PutOff(Exception):  # noqa: N818 - control flow, not an error
    """Promise that came to nothing for a rate limit: nothing has run, and a new submission is due after a pause."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self.refusal = refusal


def result_of(answer: SampleResponse | _wire.Failed) -> SampleResponse:
    """The result in an answer; raises RequestFailedError or `PutOff` where the server failed the sample."""
    if not isinstance(answer, _wire.Failed):
        return answer
    error = RequestFailedError(f"The server failed the request: {answer.message}", category=answer.category)
    if not _wire.says_rate_limited(answer.message):
        raise error
    error.retryable, error.hint = True, RateLimitError.hint
    raise PutOff(Refusal(error, _wire.ErrorBody(answer.message)))
