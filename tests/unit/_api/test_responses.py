from __future__ import annotations

import json

from tinkex._api.responses import Response, read_refusal, requested_pause
from tinkex._wire import error_message
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
