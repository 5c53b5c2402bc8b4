"""Limits of the numbers that a server sends: each has a floor and a ceiling, whatever the server says.

A number of the server's is a wish. Below its floor the client would hammer the server, above its ceiling it would wait
for longer than anything that waits for it. The table in `docs/errors.rst` has all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 24 * 3600.0


class Limit:
    """The least and the most that a number of the server's may be."""

    __slots__ = ("ceiling", "floor")

    def __init__(self, floor: float, ceiling: float) -> None:
        self.floor = floor
        self.ceiling = ceiling

    def apply(self, number: float) -> float:
        """`number`, or the limit that it passes; NaN is below every floor. Whole numbers may be of any length."""
        return min(self.ceiling, max(self.floor, number))


RETRY_AFTER = Limit(0.0, _DAY)
"""Seconds of a Retry-After, as errors tell them."""
SUBMIT_PAUSE = Limit(0.0, 5 * _MINUTE)
"""Seconds that a 429 to a submission pauses the service for; `Admission.pause` has its floor, which grows."""
BILLING_PAUSE = Limit(5.0, 5 * _MINUTE)
"""Seconds that a 402 to a submission pauses the service for."""
RETRY_PAUSE = Limit(0.0, _MINUTE)
"""Seconds until anything else is asked again: what is ready by then should be fetched."""
TOKEN_LIFE = Limit(10.0, 30 * _DAY)
"""Seconds that a token is good for."""
CLIENT_COUNTER = Limit(1, 9 * 10**9)
"""The number of a clone, which a thousand million times as many sequence numbers follow: signed 64 bits hold them."""

FLAGS: Mapping[str, Limit] = {
    "sample_dispatch_bytes_semaphore_size": Limit(1, 2**40),
    "inflight_response_bytes_semaphore_size": Limit(1, 2**40),
    "billing_exception_max_pause_duration_sec": Limit(0, _DAY),
    "sample_max_concurrent_requests": Limit(0, 10**6),
    "refresh_interval_sec": Limit(10, _HOUR),
    "sample_cancel_max_batch_size": Limit(1, 256),
}
"""The server's flags that are numbers."""
