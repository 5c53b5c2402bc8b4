from __future__ import annotations

import json

import pytest

from tinkex._api.responses import Response, read_refusal, requested_pause
from tinkex._api.retry import is_transient
from tinkex._wire import error_message
from tinkex.errors import is_user_error
from tinkex.queue_state import QueueState
from tinkex.testing import ManualClock

WORDS = {"detail": "slow down", "queue_state": "paused_rate_limit", "queue_state_reason": "limit of LoRA samples"}


def refused(status, body=b"", **headers):
    """The refusal that such an answer is read as."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_refusal(Response(status, {"content-type": "application/json", **fields}, body), ManualClock())


def test_the_body_of_a_refusal_is_decoded_once(monkeypatch):
    """The error, the pause it asks for and what observers are told come of one decoding of the body."""
    decoded = []

    def decode(body):
        decoded.append(body)
        return json.loads(body)

    monkeypatch.setattr(error_message, "decode_json", decode)
    refusal = refused(429, json.dumps(WORDS).encode(), retry_after="3")
    pause = requested_pause(refusal, size=10)
    assert (refusal.error.body, refusal.error.retry_after) == (WORDS, 3.0)
    assert (pause.seconds, pause.state) == (3.0, QueueState.PAUSED_RATE_LIMIT)
    assert pause.queue_reason == WORDS["queue_state_reason"]
    assert len(decoded) == 1


def test_a_pause_without_a_word_of_its_length():
    """A 429 without Retry-After means one second, five for a large request; a 402 at least five."""
    assert [requested_pause(refused(429), size).seconds for size in (131_072, 131_073)] == [1.0, 5.0]
    assert [requested_pause(refused(402, **wait), 1).seconds for wait in ({}, {"retry_after": "9"})] == [5.0, 9.0]


SLOTS = b'{"detail": "Max 5 concurrent sessions"}'


def test_slots_that_are_full():
    """A 429 for want of a slot is final and says what helps; with a Retry-After, or for a sample, it is not."""
    error = refused(429, SLOTS).error
    assert (error.should_retry, error.retryable, is_transient(error)) == (False, False, False)
    assert "No wait helps" in str(error)
    assert "Wait before" not in str(error)
    assert is_transient(refused(429, SLOTS, retry_after="3").error)
    for phase in ("submitting", "waiting"):
        assert is_transient(read_refusal(Response(429, {}, SLOTS), ManualClock(), phase=phase).error)


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_rate_limit_in_words(status):
    """A refusal that is a rate limit by its words is no error of the user, and may be sent again."""
    refusal = refused(status, b'{"detail": "Rate limit exceeded: 3/3 requests/s"}')
    assert refusal.is_rate_limit
    assert is_transient(refusal.error)
    assert not is_user_error(refusal.error)
    assert not refused(status, b'{"detail": "top_p is 2"}').is_rate_limit
    assert not is_transient(refused(status, b'{"detail": "Rate limited"}', x_should_retry="false").error)
