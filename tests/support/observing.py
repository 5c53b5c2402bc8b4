"""An instrumentation that keeps all it is told."""

from __future__ import annotations

from tinkex.instrumentation import SampleObserver


class Notes(SampleObserver):
    """What one sample's observer was told; `future` is set where it matters what the future was like by then."""

    future = None

    def __init__(self, start, headers):
        self.start, self.headers = start, headers
        self.retries, self.states, self.ends, self.done_then = [], [], [], []

    def retrying(self, event):
        """Keep it."""
        self.retries.append(event)

    def queue_changed(self, state, reason):
        """Keep it."""
        self.states.append((state, reason))

    def ended(self, end):
        """Keep it, and whether the future could be seen to have ended."""
        self.ends.append(end)
        self.done_then.append(self.future and self.future.done())


class Recorder:
    """An instrumentation of all samples."""

    def __init__(self, **headers):
        self.samples = []
        self.headers = headers

    def begin(self, start):
        """Observe it."""
        self.samples.append(Notes(start, self.headers))
        return self.samples[-1]

    @property
    def outcomes(self):
        """How the samples ended, in the order in which they began."""
        return [end.outcome for notes in self.samples for end in notes.ends]
