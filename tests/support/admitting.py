"""Samples whose submission and end a test decides, to try the admission with."""

from __future__ import annotations

from functools import partial

from stepping import Gate, Steps

from tinkex._runtime.task import ScheduledTask
from tinkex._sampling.admission import Admission, ClientQueue, ReacquirePermit
from tinkex.future import ClientFuture


class Samples:
    """Samples of a few clients that are submitted, wait for an answer, and end when the test says so."""

    def __init__(self, in_flight=10_000, queued=100_000, size=10 * 2**20):
        self.steps = Steps()
        self.limits = [in_flight, queued, size]
        self.admission = Admission(self.steps.scheduler, self.steps.clock, lambda: tuple(self.limits))
        self.queues = [ClientQueue() for _ in range(3)]
        self.begun = []
        self.submitting, self.answering = {}, {}

    def offer(self, name, queue=0, size=1, on_full="raise", until=float("inf")):
        """Ask for a sample; its future."""
        future = ClientFuture(None)
        task = ScheduledTask(self.steps.scheduler, partial(self.coroutine, name, size), future, self.admission.dropped)
        future._on_cancel(task)
        try:
            self.admission.reserve(task, on_full, until)
            self.admission.offer(self.queues[queue], task, size)
        except BaseException:
            task.cancel()
            raise
        return future

    def coroutine(self, name, size, permit):
        self.begun.append(name)
        try:
            while True:
                gate = self.submitting[name] = Gate()
                try:
                    accepted = yield gate
                finally:
                    permit.release()
                    permit.release()  # once is enough
                    del self.submitting[name]
                if accepted:
                    break
                permit = yield ReacquirePermit(self.admission, size)
            gate = self.answering[name] = Gate()
            try:
                return (yield gate)
            finally:
                del self.answering[name]
        finally:
            self.admission.ended()

    def submit(self, name, *, accepted=True):
        """End a submission."""
        self.submitting[name].open(accepted)
        self.steps.run()

    def answer(self, name):
        """End a sample."""
        self.answering[name].open(name)
        self.steps.run()

    def finish(self):
        """Let everything end that can."""
        for _ in range(10_000):
            self.steps.run()
            if self.submitting:
                self.submit(next(iter(self.submitting)))
            elif self.answering:
                self.answer(next(iter(self.answering)))
            else:
                return
        raise AssertionError("it never ends")
