"""Protocol conformance checker: finds violations in the traffic of a client."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from tinkex._server.bodies import PARAMS_FIELDS
from tinkex._server.retention import ENTRY
from tinkex._server.service import digest
from tinkex._server.state import CLONE_BLOCK
from tinkex._validation.field_docs import with_field_docs
from tinkex.testing._journal import RecordedRequest, request_bytes
from tinkex.testing._rules.checks import DEFAULTS, FIELDS, Found, header_faults, nulls

_TOLERANCE = 0.1
_QUICK_POLL = 1.0
# What the checks, written for bodies of the right shape, run into with any other.
_MALFORMED = (TypeError, ValueError, AttributeError, KeyError, ArithmeticError, RecursionError)
_LONGEST = 500  # characters of an id or a message


@with_field_docs
@frozen
class Violation:
    """Violation of a protocol rule by a client.

    `rule` is a short stable name, `message` says what happened.
    """

    rule: str
    message: str
    request: RecordedRequest = field(repr=False)
    """The request that broke the rule."""


@define(eq=False)
class _PolledRequest:
    """State of the polls of one request."""

    again_at: float = 0.0
    metadata_seen: bool = False
    cancelled: bool = False


@define(eq=False)
class _SessionPoller:
    """State of the session poller of one clone."""

    cursor: int = 0
    issued: int = 0


@define(eq=False)
class Rules:
    """Stateful conformance checker over requests and answers; runs on the server's event loop.

    `min_poll_interval` is the least time in seconds from one poll of a request to the next when the
    first was answered "pending" in less than a second. Beyond `max_bytes`, further violations are not kept, and what is
    known of the oldest requests is forgotten: rules that need it are then not checked.
    """

    max_bytes: int
    min_poll_interval: float = 0.25
    violations: list[Violation] = field(factory=list)
    _seq_ids: dict[tuple[str, int], bytes] = field(factory=dict)
    _promised: dict[str, tuple[str, int]] = field(factory=dict)
    _polls: dict[str, _PolledRequest] = field(factory=dict)
    _pollers: dict[tuple[str, int], _SessionPoller] = field(factory=dict)
    _finished: dict[str, None] = field(factory=dict)
    _gate: float = 0.0
    _violation_bytes: int = 0
    _forgot: bool = False

    def check(self, request: RecordedRequest) -> None:
        """Check a request before it is served."""
        try:
            for rule, message in self._broken(request):
                self._add(rule, message, request)
        except _MALFORMED as error:
            self._add("malformed", f"The body makes no sense: {error!r}", request)
        self._trim()

    def clear(self) -> None:
        """Forget the violations."""
        self.violations.clear()
        self._violation_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """The estimated bytes of all that is kept."""
        return self._violation_bytes + ENTRY * sum(map(len, self._memories))

    @property
    def _memories(self) -> tuple[dict[Any, Any], ...]:
        return self._seq_ids, self._promised, self._polls, self._pollers, self._finished

    def _add(self, rule: str, message: str, request: RecordedRequest) -> None:
        size = ENTRY + request_bytes(request)
        if self._violation_bytes + size <= self.max_bytes // 2:
            self._violation_bytes += size
            self.violations.append(Violation(rule, message[:_LONGEST], request))

    def _trim(self) -> None:
        most = self.max_bytes // 2 // ENTRY // len(self._memories)
        for memory in self._memories:
            while len(memory) > most:
                del memory[next(iter(memory))]
                self._forgot = True

    def answered(
        self, request: RecordedRequest, status: int, headers: Mapping[str, str], body: object, now: float
    ) -> None:
        """Update the state from an answer."""
        learn: Callable[..., None] | None = getattr(self, f"_answered_{request.endpoint}", None)
        if learn is not None:
            with contextlib.suppress(*_MALFORMED):
                learn(request, status, headers, _object(body), now)

    def _broken(self, request: RecordedRequest) -> Found:
        yield from header_faults(request)
        try:
            body = request.json
        except ValueError:
            yield "json", "The body is not JSON."
            return
        if request.method == "GET":
            return
        if not isinstance(body, dict):
            yield "json", "The body is not a JSON object."
            return
        yield from nulls(body, request.endpoint)
        for name in sorted(set(body) - FIELDS.get(request.endpoint, frozenset(body))):
            yield "unknown_field", f"{request.endpoint} has no field {name}."
        check: Callable[..., Found] | None = getattr(self, f"_check_{request.endpoint}", None)
        if check is not None:
            yield from check(request, body)

    def _check_asample(self, request: RecordedRequest, body: dict[str, Any]) -> Found:
        if request.at < self._gate - _TOLERANCE:
            yield "backoff", f"Sent {self._gate - request.at:.2f} s before Retry-After was over."
        if "X-Tinker-Sampling-Backpressure" not in request.headers:
            yield "header", "asample lacks X-Tinker-Sampling-Backpressure."
        for name, value in DEFAULTS.items():
            if name in body and body[name] == value:
                yield "default_field", f"{name} is sent though it has its default."
        params = body.get("sampling_params") or {}
        for name in sorted(set(params) - PARAMS_FIELDS):
            yield "unknown_field", f"sampling_params has no field {name}."
        if isinstance(params.get("stop"), str):
            yield "stop", "stop is a string: some servers take lists only."
        seq_id, name = body.get("seq_id"), _name(body.get("sampling_session_id"))
        if not isinstance(seq_id, int):
            yield "seq_id", "asample lacks seq_id."
        elif self._seq_ids.setdefault((name, seq_id), digest(body)) != digest(body):
            yield "seq_id_reuse", f"seq_id {seq_id} was used for another request."

    def _answered_asample(
        self, request: RecordedRequest, status: int, headers: Mapping[str, str], answer: dict[str, Any], now: float
    ) -> None:
        if status == 429 and "Retry-After" in headers:
            self._gate = max(self._gate, now + _seconds(headers["Retry-After"]))
        body = request.json
        if "request_id" in answer and isinstance(body.get("seq_id"), int):
            target = (_name(body.get("sampling_session_id")), body["seq_id"])
            self._promised[_name(answer["request_id"])] = target

    def _check_retrieve_future(self, request: RecordedRequest, body: dict[str, Any]) -> Found:
        request_id = _name(body.get("request_id"))
        poll = self._polls.setdefault(request_id, _PolledRequest())
        if poll.cancelled:
            yield "cancelled", f"Request {request_id} is polled though it was cancelled."
        if request.at < poll.again_at - 0.02:
            early = poll.again_at - request.at
            yield "poll_interval", f"Request {request_id} is polled {early:.3f} s too early."
        if poll.metadata_seen and body.get("allow_metadata_only"):
            yield "metadata", f"The size of request {request_id} is asked for twice."

    def _answered_retrieve_future(
        self, request: RecordedRequest, status: int, headers: Mapping[str, str], answer: dict[str, Any], now: float
    ) -> None:
        request_id = _name((request.json or {}).get("request_id"))
        poll = self._polls.setdefault(request_id, _PolledRequest())
        poll.again_at = 0.0
        pending = status == 408 or answer.get("type") == "try_again" or answer.get("status") == "pending"
        if pending and now - request.at < _QUICK_POLL:
            poll.again_at = request.at + self.min_poll_interval
        poll.metadata_seen = answer.get("status") == "complete_metadata"
        if status == 410:
            target = self._promised.get(request_id)
            if target is not None:
                self._seq_ids[target] = b"expired"

    def _check_retrieve_futures(self, request: RecordedRequest, body: dict[str, Any]) -> Found:
        poller = self._poller(body)
        cursor = body.get("prev_cursor")
        if not isinstance(cursor, int) or not (self._forgot or poller.cursor <= cursor <= poller.issued):
            known = f"between {poller.cursor} and {poller.issued}"
            yield "cursor", f"prev_cursor is {cursor}, which is not {known}."
        else:
            poller.cursor = cursor
        acks = body.get("retrieved_request_ids", [])
        if acks != sorted(acks):
            yield "acks", "retrieved_request_ids is not sorted."
        for request_id in acks:
            target = self._promised.get(_name(request_id))
            if self._forgot and target is None:
                continue
            if target is None or request_id not in self._polls:
                yield "acks", f"Request {request_id} is acknowledged but was never fetched."
            elif (target[0], target[1] // CLONE_BLOCK) != _target(body):
                yield "acks", f"Request {request_id} belongs to another clone."

    def _answered_retrieve_futures(
        self, request: RecordedRequest, status: int, headers: Mapping[str, str], answer: dict[str, Any], now: float
    ) -> None:
        if isinstance(cursor := answer.get("cursor"), int):
            self._poller(request.json).issued = cursor

    def _poller(self, body: dict[str, Any]) -> _SessionPoller:
        return self._pollers.setdefault(_target(body), _SessionPoller())

    def _check_cancel_future(self, request: RecordedRequest, body: dict[str, Any]) -> Found:
        request_id = _name(body.get("request_id"))
        self._polls.setdefault(request_id, _PolledRequest()).cancelled = True
        if request_id not in self._promised and not self._forgot:
            yield "cancel", f"Request {request_id} is cancelled but was never promised."

    def _check_finish(self, request: RecordedRequest, body: dict[str, Any]) -> Found:
        session_id = request.path.split("/")[-2]
        if session_id in self._finished:
            yield "finish", f"Session {session_id} is finished twice."
        self._finished[session_id] = None

    def _check_session_heartbeat(self, request: RecordedRequest, body: dict[str, Any]) -> Found:
        if body.get("session_id") in self._finished:
            yield "heartbeat", "A finished session is kept alive."

    def _check_telemetry(self, request: RecordedRequest, body: dict[str, Any]) -> Found:
        events = body.get("events") or []
        if not 1 <= len(events) <= 100:
            yield "telemetry", f"A batch has {len(events)} events, not 1 to 100."
        if request.key and len(request.key) >= 8 and request.key in request.body.decode():
            yield "secret", "The key is in the body."


def _object(body: object) -> dict[str, Any]:
    try:
        value = json.loads(body) if isinstance(body, bytes) else None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _target(body: dict[str, Any]) -> tuple[str, int]:
    target = body.get("target") or {}
    return _name(target.get("sampling_session_id")), int(target.get("cloned_sampler_id", 0))


def _name(value: object) -> str:
    return str(value)[:_LONGEST]


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
