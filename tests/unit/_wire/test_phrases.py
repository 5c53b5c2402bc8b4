from __future__ import annotations

import pytest

from tinkex._wire import says_no_route, says_rate_limited, says_session, says_slots_full


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Rate limit exceeded: RPS limit exceeded: 3/3.0 requests/s", True),
        ("Error: rate-limited, slow down", True),
        ("Too Many Requests", True),
        ("TPM limit of 1000 reached", True),
        ("The prompt 'Rate limit exceeded' was refused", False),
        ("corporate limits", False),
        (None, False),
    ],
)
def test_rate_limits(message, said):
    """A server's words are of a rate limit where they begin with one, and not where they quote one."""
    assert says_rate_limited(message) is said


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Max 5 concurrent sessions", True),
        ("Maximum number of sampling clients reached", True),
        ("You have too many open sessions", True),
        ("The session limit of this key is reached", True),
        ("No free slots", True),
        ("All slots are in use", True),
        ("Max 5 concurrent requests", False),
        ("Slow down", False),
        ("Session s-1 is busy", False),
        (None, False),
    ],
)
def test_slots(message, said):
    """What clients hold for as long as they live is told from what is free again in a moment."""
    assert says_slots_full(message) is said


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Sampling session x does not exist.", True),
        ("No such sampler", True),
        ("Cannot POST /api/v1/session_heartbeat", False),
        ("no such picture", False),
        (None, False),
    ],
)
def test_sessions(message, said):
    """What is said about a session is told from what is said about something else."""
    assert says_session(message) is said


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Not Found", True),
        ("404: Not Found", True),
        (None, True),
        ("Cannot POST /api/v1/session_heartbeat", True),
        ("no Route matched with those values", True),
        ("Session session-1 does not exist.", False),
        ("Session not found", False),
    ],
)
def test_routes(message, said):
    """A path that a server lacks is told from an id that it does not know."""
    assert says_no_route(message) is said
