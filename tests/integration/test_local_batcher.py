from __future__ import annotations

import threading

import pytest

from tinkex.local.model.batcher import Batcher


class Slow:
    """Work whose first turn lasts until it is told to end."""

    def __init__(self):
        self.batches = []
        self.started, self.go_on = threading.Event(), threading.Event()

    def __call__(self, jobs):
        self.batches.append(list(jobs))
        self.started.set()
        assert self.go_on.wait(10)
        if "bad" in jobs:
            raise ValueError("bad job")
        return [job * 2 for job in jobs]


def outcomes(together, slow, first, others):
    """Let others ask while the first job is being done."""
    found = {}

    def ask(job):
        try:
            found[job] = together.do(job)
        except ValueError as error:
            found[job] = error

    threads = [threading.Thread(target=ask, args=[first])]
    threads[0].start()
    assert slow.started.wait(10)
    for count, job in enumerate(others, 1):
        threads.append(threading.Thread(target=ask, args=[job]))
        threads[-1].start()
        while len(together._queue) < count:
            pass
    slow.go_on.set()
    for thread in threads:
        thread.join(10)
    return found


def test_what_was_asked_meanwhile_is_done_together():
    """Jobs that come while another is being done make the next turn together, and each gets its own result."""
    slow = Slow()
    assert outcomes(Batcher(slow, most=16), slow, "a", "bcd") == {letter: letter * 2 for letter in "abcd"}
    assert slow.batches == [["a"], ["b", "c", "d"]]


def test_no_more_than_fit():
    """A turn takes as many jobs as it may, in the order in which they came."""
    slow = Slow()
    assert len(outcomes(Batcher(slow, most=2), slow, "a", "bcd")) == 4
    assert slow.batches == [["a"], ["b", "c"], ["d"]]


def test_a_failure_reaches_those_it_concerns():
    """Work that fails does so for the jobs of its turn, and for no other."""
    slow = Slow()
    found = outcomes(Batcher(slow, most=16), slow, "a", ["bad", "b"])
    assert found["a"] == "aa"
    assert found["bad"] is found["b"]
    with pytest.raises(ValueError, match="bad job"):
        raise found["b"]


def test_alone():
    """One thread does its own jobs, one after the other."""
    together = Batcher(lambda jobs: [job + 1 for job in jobs], most=16)
    assert [together.do(1), together.do(2)] == [2, 3]
