"""Fake Tinker server for tests."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from attrs import evolve

from tinkex._server import EngineError, ServerOptions, make_app
from tinkex._server.service import SERVICE
from tinkex._validation.arguments import check_count, check_port, check_seconds
from tinkex._validation.public_names import with_public_names
from tinkex._validation.values import whole
from tinkex.testing._answers import default_answer
from tinkex.testing._engine import Answers, Latency, ScriptedEngine
from tinkex.testing._faults.planner import FaultPlanner, known_endpoint
from tinkex.testing._journal import Journal, RecordedRequest
from tinkex.testing._records import example_records
from tinkex.testing._rules.interceptor import make_interceptor
from tinkex.testing._rules.remote import control
from tinkex.testing._rules.rules import Rules, Violation
from tinkex.testing._server_thread import ServerThread
from tinkex.testing._tls import make_certificates
from tinkex.types import Checkpoint, SupportedModel, TrainingRun


@with_public_names
class FakeServer(FaultPlanner):
    """Scriptable Tinker server on the loopback interface, for tests.

    It speaks real HTTP, so the client under test is the real one. Answers are `default_answer` unless `answers` is set,
    and clients get a `ToyTokenizer`, without a network. All methods may be called from any thread while it runs. Use it
    as a context manager, or call `start` and `stop`.

    Args:
        like: The server to imitate: "tinker" (the hosted one), "tuft", "hatchery", "open_rl",
            "twinkle", "tinker_cloud", "skyrl", "skyrl_0.3".
        latency: How long each sample takes, in seconds, or a function of the sample and its index.
        answers: A text, with which every sequence is answered; several, which are given one after another, and then
            from the first again; or a function that takes a `SampleRequest` and returns a `SampleResponse`, a text, or
            a text for each sequence, or raises `EngineError`. A coroutine function runs on the event loop; a plain one
            on a thread, and may block. A mapping has one of these for each ``tinker://`` path and base model; weights
            that it does not name are answered as their base model is, and what it does not name either as ``"*"``.
            None: `default_answer`.
        models: The names that can be sampled from; None accepts every name.
        strict: Whether `violations` of the protocol are recorded.
        record: Whether `requests` are kept, as far as `max_bytes` goes; counts always are.
        tls: Whether to serve HTTPS, with a certificate of its own: see `ca_file`.
        client_certificate: Whether HTTPS clients must show one: see `client_file`.
        tls_version: The only TLS version spoken; None leaves the choice to the peers.
        host, port: Where to listen; port 0 picks a free one.
        options: Any field of `ServerOptions`, on top of *like*: `long_poll=0.1`, `jwt=True`. `tokenizer_id` is the
            tokenizer that clients get and that text is answered with: ``tinkex/toy`` (see `ToyTokenizer`) unless it is
            another one's name, or None for that of the model.

    Example::

        with FakeServer(latency=0.1) as server:
            server.fail_next("asample", status=429, headers={"Retry-After": "0.1"})
            service = tinkex.ServiceClient.direct(server.url)
            ...
            assert server.counts["asample"] == 2
    """

    def __init__(
        self,
        like: str = "tinker",
        *,
        latency: Latency = 0.0,
        answers: Answers | None = None,
        models: Sequence[str] | None = None,
        strict: bool = False,
        record: bool = True,
        tls: bool = False,
        client_certificate: bool = False,
        tls_version: ssl.TLSVersion | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        _control_key: str | None = None,
        **options: Any,
    ) -> None:
        names = ["fake/model"] if models is None else list(models)
        chosen = ServerOptions.like(like, any_model=models is None, **{"tokenizer_id": "tinkex/toy", **options})
        self._engine = ScriptedEngine(
            [SupportedModel(model_name=name, max_context_length=32_768) for name in names],
            default_answer if answers is None else answers,
            latency,
            chosen.tokenizer_id,
        )
        self._queue_state: tuple[str, str | None] = ("active", None)
        if "queue_state" not in options:
            chosen = evolve(chosen, queue_state=lambda: self._queue_state)
        self.options = chosen
        super().__init__()
        self._journal = Journal(chosen.max_bytes * 3 // 8 if record else 0)
        self._rules = Rules(chosen.max_bytes // 8) if strict else None
        interceptor = make_interceptor(
            self._journal, self._script, self._rules, lambda request: control(request, self, _control_key)
        )
        served = evolve(chosen, max_bytes=chosen.max_bytes // 2)
        self._app = make_app(self._engine, served, [interceptor], listens_on=host)
        state = self._app[SERVICE].state
        state.training_runs, state.checkpoints = example_records(names[0] if names else "fake/model")
        self._thread = ServerThread(self._app, self._connect_fault)
        self._certificates = None
        if tls:
            self._certificates = make_certificates(
                host, "localhost", require_client=client_certificate, version=tls_version
            )
        self._listener = socket.create_server((host, check_port(port)), backlog=4096)
        address = self._listener.getsockname()
        scheme = "https" if tls else "http"
        #: The base URL to give to a client.
        self.url: str = f"{scheme}://{address[0]}:{address[1]}{chosen.prefix}"

    def start(self) -> Self:
        """Begin to answer; returns at once when it runs already."""
        if not self._thread.running:
            context = None if self._certificates is None else self._certificates.context
            self._thread.start(self._listener, context)
        return self

    def stop(self) -> None:
        """Close every connection and the port. In a forked child it only lets go of the port."""
        if not self._thread.forked:
            self._thread.stop()
            if self._certificates is not None:
                self._certificates.directory.cleanup()
        self._listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ca_file(self) -> str:
        """The authority to verify this server by, as a PEM file; for `verify=`."""
        assert self._certificates is not None, "The server was made without tls=True."
        return self._certificates.ca_file

    @property
    def client_file(self) -> str:
        """A client certificate with its key, as a PEM file; for `cert=`."""
        assert self._certificates is not None, "The server was made without tls=True."
        return self._certificates.client_file

    # What has happened.

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, in the order of arrival; beyond `max_bytes`, the latest ones."""
        return self._journal.requests()

    def requests_to(self, endpoint: str) -> list[RecordedRequest]:
        """Every request so far to one endpoint."""
        return self._journal.requests(known_endpoint(endpoint))

    @property
    def counts(self) -> Counter[str]:
        """How many requests each endpoint has had."""
        return self._journal.counts()

    def wait_for(self, endpoint: str, count: int = 1, timeout: float = 10.0) -> None:
        """Block until an endpoint has had *count* requests.

        Raises:
            TimeoutError: It has not in *timeout* seconds.
        """
        check_count("count", count, 0)
        self._journal.wait(known_endpoint(endpoint), count, check_seconds("timeout", timeout, zero=True))

    @property
    def violations(self) -> list[Violation]:
        """What a strict server found wrong with its clients; empty when it is not strict."""
        return [] if self._rules is None else list(self._rules.violations)

    @property
    def connections(self) -> int:
        """How many connections have been accepted."""
        return self._thread.connections

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return self._thread.open_connections

    @property
    def running(self) -> int:
        """How many samples have been accepted and have not ended."""
        return self._app[SERVICE].state.running

    @property
    def cancelled(self) -> int:
        """How many samples were stopped before they had an answer."""
        return self._engine.cancelled

    def clear(self) -> None:
        """Forget requests, violations and planned faults."""
        self._journal.clear()
        self._script.clear()
        self._engine.failures.clear()
        if self._rules is not None:
            self._rules.clear()

    # What is to happen.

    @property
    def answers(self) -> Answers:
        """What it answers, or what computes that; set it to change that from now on."""
        return self._engine.answers

    @answers.setter
    def answers(self, answers: Answers) -> None:
        self._engine.answers = answers

    @property
    def training_runs(self) -> list[TrainingRun]:
        """What it tells of training runs, at first two examples; change the list to change that."""
        return self._app[SERVICE].state.training_runs

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """What it tells of checkpoints; those whose path begins with a run's id belong to that run."""
        return self._app[SERVICE].state.checkpoints

    @property
    def latency(self) -> Latency:
        """How long each sample takes; set it to change that from now on."""
        return self._engine.latency

    @latency.setter
    def latency(self, latency: Latency) -> None:
        self._engine.latency = latency

    def _connect_fault(self) -> str | None:
        fault = self._script.take(RecordedRequest("connect", "", "", {}, b""))
        return None if fault is None else fault.kind

    def fail_samples(self, message: str, category: str = "user", status: int = 400, times: int = 1) -> None:
        """Let the next samples, none that was accepted before, be accepted and then fail, in this server's dialect."""
        errors = [EngineError(message, status, category) for _ in range(whole("times", times, 0))]
        self._thread.call(lambda: self._engine.failures.extend(errors))

    def hold(self) -> None:
        """Keep samples from being answered until `release`."""
        self._engine.held = True

    def release(self, count: int | None = None) -> None:
        """Answer the *count* oldest samples held; None ends the hold."""
        if count is not None:
            check_count("count", count, 0)
        self._thread.call(lambda: self._engine.release(count))

    def set_queue_state(self, state: str = "active", reason: str | None = None) -> None:
        """Name the queue state in every pending answer from now on."""
        self._queue_state = (state, reason)

    def expire(self, request_id: str | None = None) -> None:
        """Let one promised result, or all so far, be gone: 410."""
        self._thread.call(lambda: self._app[SERVICE].state.expire(request_id))

    def revoke_tokens(self) -> None:
        """Refuse every token given so far: 401 with `invalid_token`."""
        self._thread.call(self._app[SERVICE].state.tokens.clear)
