"""The client above its transport, without threads or sockets: a test sees each request and answers it by hand."""

from __future__ import annotations

import json
import types
from collections import deque

from stepping import Steps

from tinkex import ClientConfig, RetryConfig, SamplingParams
from tinkex._api.auth import Auth
from tinkex._api.client import Api
from tinkex._api.flags import Flags
from tinkex._api.session import Session
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._runtime.reactor import TIMED_OUT
from tinkex._sampling._sample.observed import ObservedFuture
from tinkex._sampling.context import SamplingContext
from tinkex._sampling.observers import ObserverNotifier
from tinkex._sampling.sample import Sample
from tinkex._sampling.session import SamplingSession
from tinkex._sampling.submission import submit
from tinkex._transport.http11 import Response
from tinkex.errors import APITimeoutError
from tinkex.future import SampleFuture
from tinkex.instrumentation import SampleStarted
from tinkex.types import SampleRequest

KEY = "tml-test-key-0123456789"
PARAMS = SamplingParams(max_tokens=4)
STEADY = RetryConfig(max_attempts=5, max_elapsed=60.0, base_delay=1.0, max_delay=1.0, jitter=0.0)
DONE = {"sequences": [{"tokens": [1, 2, 3, 4], "logprobs": [-1.0, -1.0, -1.0, -1.0], "stop_reason": "length"}]}
METADATA = {"status": "complete_metadata", "response_payload_size": 300_000}


class Exchange:
    """One request and the wait for its answer: what the task that sent it yields."""

    def __init__(self, request_line, fields, body, until, *, high_priority, fresh):
        self.high_priority, self.fresh = high_priority, fresh
        self.endpoint = request_line.split()[1].removeprefix("/api/v1/")
        self.fields = fields
        self.json = json.loads(body) if body else None
        self.until = until
        self._task = self._wait_id = None

    def subscribe(self, task, wait_id):
        """Wait for `StepTransport.answer`."""
        self._task, self._wait_id = task, wait_id

    def end(self, outcome):
        """End the wait; whether it was still on."""
        return self._task.resume(self._wait_id, outcome)


class StepTransport:
    """Keeps what is sent, until the test answers."""

    lost_at = float("-inf")
    dialer = types.SimpleNamespace(target=str, proxy_headers=(), authorization=None, proxy=None)

    def __init__(self, clock):
        self.pool = self
        self.kept_closed = 0
        self.sent = []
        self.open = deque()
        self._clock = clock

    def close_kept(self):
        """Count."""
        self.kept_closed += 1

    def exchange(self, head, own, body, *, seconds, max_body, pace, high_priority, fresh=False):
        """The same as the real one's: the answer, or an error."""
        line, *fields = (head + own).decode().splitlines()
        fields = dict(field.split(": ", 1) for field in fields)
        until = self._clock.monotonic() + seconds
        exchange = Exchange(line, fields, body, until, high_priority=high_priority, fresh=fresh)
        self.sent.append(exchange)
        self.open.append(exchange)
        try:
            outcome = yield exchange
        finally:
            if exchange in self.open:  # cancelled, or out of time
                self.open.remove(exchange)
        if outcome is TIMED_OUT:
            raise APITimeoutError("The server gave no answer in time.", may_have_run=True)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class AtOnce:
    """Threads that run what they are given on the caller's."""

    def submit(self, call):
        """Run it now."""
        call()


class Client:
    """One service and a sampling session of it, whose server is the test."""

    def __init__(self, *, flags=None, clone=False, **settings):
        self.steps = Steps()
        self.clock = self.steps.clock
        self.transport = StepTransport(self.clock)
        self.config = ClientConfig(api_key=KEY, base_url="http://test.local", **{"retry": STEADY, **settings})
        cell = SnapshotCell(self.config)
        auth = Auth(self.steps.scheduler, AtOnce(), self.clock, cell)
        self.api = Api(self.transport, auth, self.steps.scheduler, self.clock, cell)
        self.flags = SnapshotCell(Flags(**(flags or {})))
        self.states, self.reported = [], []
        observer = types.SimpleNamespace(on_queue_state_change=self.states.append)
        notifier = ObserverNotifier([observer], AtOnce(), self.clock)
        self.context = SamplingContext(self.api, self.flags, notifier, self.reported.append)
        self.session = SamplingSession(
            self.context,
            Session(self.api),
            "session:sampler:0",
            original=not clone,
            record_stability_info=False,
            model=("any/model", None),
        )

    def sample(self, prompt=(1, 2, 3), *, timeout=1000.0, instrumentations=(), **options):
        """Begin a sample, and let it go as far as it does without an answer; its future."""
        request = SampleRequest(list(prompt), PARAMS, **options)
        future, finish = SampleFuture(None), None
        if instrumentations:
            future = ObservedFuture(None, self.clock)
            finish = future.keeping(None)
            future.begin(instrumentations, SampleStarted(request, "any/model", None, self.config.base_url, "s", self))
        sample = Sample(self.session, request, self.config, future, self.config.retry, (), None)
        submit(sample, finish, timeout, "raise")
        self.steps.run()
        return future

    @property
    def open(self):
        """The endpoints of the requests that wait for an answer, the oldest first."""
        return [exchange.endpoint for exchange in self.transport.open]

    def sent(self, endpoint):
        """The bodies of what was sent to an endpoint."""
        return [exchange.json for exchange in self.transport.sent if exchange.endpoint == endpoint]

    def answer(self, body=None, status=200, *, reused=False, **headers):
        """Answer the oldest request, perhaps over a connection used before, and let what comes of it happen."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        response = Response(status, {"content-type": "application/json", **fields}, data)
        response.reused = reused
        self.end(response)

    def end(self, outcome):
        """End the oldest request with an answer or an error."""
        exchange = self.transport.open.popleft()
        assert exchange.end(outcome)
        self.steps.run()

    def promise(self, request_id="r-1"):
        """Accept a submission."""
        self.answer({"request_id": request_id})

    def advance(self, seconds):
        """Let time pass."""
        self.steps.advance(seconds)

    def taken(self):
        """What the samples hold: places in flight, submissions and their bytes, bytes of results."""
        admission = self.context.admission
        return admission.in_flight, admission._submitting, admission._bytes, self.context.response_bytes.out
