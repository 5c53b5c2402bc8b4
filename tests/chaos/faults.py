"""Which request of a storm goes wrong, and how: the storm's seed and which request it is decide, not when it comes."""

from __future__ import annotations

import random
from collections import Counter

from tinkex._server.service import SERVICE
from tinkex.testing import FakeServer
from tinkex.testing._journal import RecordedRequest

RATE = 0.08
BODIES = ["reset", "close", "half", "gzip", "chunked", "interim", "stale"]
FAULTS = {
    "asample": [*BODIES, "reset_after", "drip", 429, 500, 503],
    "retrieve_future": [*BODIES, "late", 408, 410, 429, 500, 503],
    "retrieve_futures": [*BODIES, 400, 408, 429, 500, 503],
    "session_heartbeat": ["reset", "close", 503],
    "cancel_future": ["reset", "half", 500],
    "connect": ["reset", "close"],
}


class Storm:
    """The faults of one seed. The server asks it, in its one thread, about each request."""

    def __init__(self, server: FakeServer, seed: int) -> None:
        self._server, self._seed = server, seed
        self._times: Counter[str] = Counter()
        self._samples: dict[str, str] = {}  # by request id: the sampling session and seq_id
        self._last: tuple[RecordedRequest | None, str | int | None] = (None, None)
        self.faults: Counter[str] = Counter()
        for endpoint, kinds in FAULTS.items():
            for kind in kinds:
                self._plan(endpoint, kind)

    def _plan(self, endpoint: str, kind: str | int) -> None:
        options = {"times": None, "when": lambda request: self._verdict(request) == kind}
        if isinstance(kind, str):
            self._server.fault(endpoint, kind, **options)
        else:
            headers = {"Retry-After": "0.05"} if kind in (429, 503) else None
            self._server.fail_next(endpoint, status=kind, headers=headers, **options)

    def _verdict(self, request: RecordedRequest) -> str | int | None:
        if self._last[0] is not request:
            self._last = (request, self._judge(request))
        return self._last[1]

    def _judge(self, request: RecordedRequest) -> str | int | None:
        kinds = FAULTS.get(request.endpoint)
        if kinds is None:
            return None
        name = f"{request.endpoint} {self._which(request)}"
        self._times[name] += 1
        rng = random.Random(f"{self._seed} {name} {self._times[name]}")
        if rng.random() >= RATE:
            return None
        kind = rng.choice(kinds)
        self.faults[f"{request.endpoint} {kind}"] += 1
        return kind

    def _which(self, request: RecordedRequest) -> str:
        """The sample that a request is about, the same in every run; nothing where it is about none."""
        match request.endpoint:
            case "asample":
                return f"{request.json['sampling_session_id']} {request.json['seq_id']}"
            case "retrieve_future" | "cancel_future":
                return self._sample_of(str(request.json["request_id"]))
        return ""

    def _sample_of(self, request_id: str) -> str:
        if request_id not in self._samples:
            samplers = self._server._app[SERVICE].state.samplers.items()
            self._samples = {
                promised: f"{session} {seq_id}"
                for session, sampler in samplers
                for seq_id, (_, promised) in sampler.promises.items()
            }
        return self._samples.get(request_id, "")
