"""What the tests of sampling share: a quick client of a fake server, and time that a test moves by hand."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import wait

from resting import rest

from tinkex import ClientConfig, RetryConfig, SamplingParams, ServiceClient
from tinkex._concurrency.clock import SYSTEM_CLOCK

KEY = "tml-test-key-0123456789"
MODEL = "fake/model"
PROMPT = [11, 12, 13]
PARAMS = SamplingParams(max_tokens=4)
_MOMENT = 0.001
QUICK = RetryConfig(max_attempts=5, max_elapsed=60.0, base_delay=0.01, max_delay=0.05)


def quick_config(**settings):
    """Settings under which nothing takes long."""
    quick = {"telemetry": False, "retry": QUICK, "trust_env": False, "workers": 2, "min_poll_interval": 0.02}
    return ClientConfig(**{**quick, **settings})


def make_service(server, *, api_key=KEY, observers=(), clock=SYSTEM_CLOCK, **settings):
    """A service of a fake server, to be closed by the caller."""
    config = quick_config(**settings)
    return ServiceClient(base_url=server.url, api_key=api_key, config=config, observers=observers, _clock=clock)


@contextlib.contextmanager
def sampling(server, *, sampling_session_id=None, **settings):
    """A sampling client of a fake server, with its service as `.service`, closed at the end without ceremony."""
    service = make_service(server, **settings)
    try:
        yield _Client(service, sampling_session_id)
    finally:
        service.close(timeout=0.0, cancel_pending=True)


class _Client:
    """A sampling client together with its service."""

    def __init__(self, service, sampling_session_id):
        self.service = service
        model = None if sampling_session_id else MODEL
        self.client = service.create_sampling_client(base_model=model, sampling_session_id=sampling_session_id)

    def __getattr__(self, name):
        return getattr(self.client, name)


def advance_until(clock, condition, *, step=0.5, most=10_000):
    """Move the clock on in steps until the condition holds; before each step all threads do what they can by then."""
    for _ in range(most):
        rest()
        if condition():
            return
        clock.advance(step)
    raise AssertionError(f"not true within {most * step:g} s of the clock's time")


def result_of(future, clock, *, step=0.5):
    """The result of a future that waits for the clock."""
    advance_until(clock, future.done, step=step)
    return future.result()


def until(condition, seconds=10.0):
    """Wait in real time for something that other threads are about to do."""
    for _ in range(int(seconds / _MOMENT)):
        if condition():
            return
        _moment()
    raise AssertionError(f"not true within {seconds:g} s")


def _moment():
    threading.Event().wait(_MOMENT)


class Collector:
    """An observer that keeps what it is told, and lets a test wait for it."""

    def __init__(self):
        self.events = []
        self._changed = threading.Condition()

    def on_queue_state_change(self, event):
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, count, seconds=10.0):
        """The events, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= count, seconds), self.events
            return list(self.events)


def all_done(futures, seconds=20.0):
    """Wait for all of them; fail if one does not end."""
    assert not wait(futures, seconds).not_done
