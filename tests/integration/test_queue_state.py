from __future__ import annotations

import threading

from tinkex.queue_state import (
    QueueState,
    QueueStateChanged,
    QueueStateLogger,
)
from tinkex.testing import ManualClock

RATE = QueueState.PAUSED_RATE_LIMIT


def test_many_threads_one_warning(caplog):
    """Threads that tell of the same pause at once produce one warning, and no event is lost."""
    observer = QueueStateLogger(interval=1e9, clock=ManualClock(1000.0))
    start = threading.Barrier(8)

    def work():
        start.wait(10)
        for _ in range(200):
            observer.on_queue_state_change(QueueStateChanged(RATE, None, "s"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(caplog.records) == 1
    assert observer._sessions["s"].unsaid == 8 * 200 - 1
