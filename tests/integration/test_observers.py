from __future__ import annotations

import queue
from functools import partial

from stepping import at_once

from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._sampling.observers import ObserverNotifier
from tinkex.queue_state import QueueState
from tinkex.testing import ManualClock

ACTIVE, LIMITED, FULL = QueueState.ACTIVE, QueueState.PAUSED_RATE_LIMIT, QueueState.PAUSED_CAPACITY


def test_one_at_a_time():
    """Words from many threads reach an observer one at a time, none twice, none lost, in the order of each session."""
    told, busy = queue.SimpleQueue(), []

    class Slow:
        def on_queue_state_change(self, event):
            busy.append(event)
            assert len(busy) == 1
            told.put((event.sampling_session_id, int(event.reason)))
            busy.pop()

    pool = ElasticPool(4, "test-elastic")
    announcer = ObserverNotifier([Slow()], pool, ManualClock())

    def speak(session):
        for number in range(100):
            announcer.notify(session, None, LIMITED, str(number), ())

    at_once(*(partial(speak, session) for session in "abc"))
    heard = [told.get(timeout=10) for _ in range(300)]
    assert all([number for name, number in heard if name == session] == list(range(100)) for session in "abc")
    pool.stop()
