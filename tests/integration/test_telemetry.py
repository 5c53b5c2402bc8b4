from __future__ import annotations

import threading

from tinkex.telemetry import Telemetry
from tinkex.testing import ManualClock


def make(**options):
    """Telemetry of a session, on a clock that stands still."""
    return Telemetry(**{"session_id": "s-1", "sdk_version": "1.2", "clock": ManualClock(100.0), **options})


def test_threads():
    """Events of many threads are all kept, each with its own number."""
    telemetry = make()
    start = threading.Barrier(8)

    def work():
        start.wait(10)
        for _ in range(100):
            telemetry.log("e")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    numbers = []
    while batch := telemetry.take_batch():
        numbers += [event["event_session_index"] for event in batch["events"]]
    assert numbers == list(range(800))
