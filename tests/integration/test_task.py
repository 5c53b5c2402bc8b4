from __future__ import annotations

from concurrent.futures import wait
from functools import partial

import pytest
from stepping import Gate, Loan, at_once, real_jobs

from tinkex._runtime.task import ScheduledTask
from tinkex.future import ClientFuture


def take_two(gates):
    """A story of two waits."""
    for gate in gates:
        (yield gate).release()


def open_all(all_gates, futures, loans):
    """End every wait as soon as it begins."""
    for gates, future in zip(all_gates, futures, strict=True):
        for gate in gates:
            while not gate.waiting and not future.done():
                pass
            loan = Loan()
            if gate.waiting and gate.open(loan):
                loans.append(loan)


def cancel_every_other(futures):
    """Cancel half of them."""
    for future in futures[::2]:
        future.cancel()


@pytest.mark.slow
def test_races_between_threads():
    """A waker, a canceller and workers at once: every task ends once, every permit is released."""
    loans, ended = [], []
    all_gates = [[Gate(), Gate()] for _ in range(300)]
    futures = [ClientFuture(None) for _ in all_gates]
    with real_jobs(workers=3) as scheduler:
        for gates, future in zip(all_gates, futures, strict=True):
            task = ScheduledTask(scheduler, partial(take_two, gates), future)
            future._on_cancel(task)
            future.add_done_callback(ended.append)
            scheduler.launch(task)
        at_once(partial(open_all, all_gates, futures, loans), partial(cancel_every_other, futures))
        assert not wait(futures, 10).not_done
    assert len(ended) == len(futures)
    assert all(loan.returned == 1 for loan in loans)
