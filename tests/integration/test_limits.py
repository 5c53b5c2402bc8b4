from __future__ import annotations

import threading

from tinkex.bulk._limits import Gate, Limits
from tinkex.testing import ManualClock


def test_gate_close_wakes_who_waits():
    """Whoever waits at the gate is let go, not in, when it closes."""
    gate, answers = Gate(Limits(max_in_flight=1, adaptive=False), ManualClock(), threading.Event()), []
    assert gate.enter(1)
    waiting = threading.Thread(target=lambda: answers.append(gate.enter(1)))
    waiting.start()
    gate.close()
    waiting.join(10)
    assert answers == [False]
