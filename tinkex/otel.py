"""OpenTelemetry: a span for each sample, and metrics, by the newest conventions for generative AI.

Needs the `otel` extra.

Off unless asked for::

    import tinkex.otel

    tinkex.otel.instrument()

The conventions are those of OpenTelemetry's own repository for them, which no package of Python has: their names are
written out here.
"""

from __future__ import annotations

import json
import weakref
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from tinkex import __version__
from tinkex.config import is_official
from tinkex.errors import extra
from tinkex.instrumentation import (
    SampleEnded,
    SampleObserver,
    SampleRetry,
    SampleStarted,
    error_type,
    fork_guard,
    install,
    uninstall,
)
from tinkex.queue_state import QueueState
from tinkex.service_client import ServiceClient
from tinkex.types import DmelChunk, EncodedTextChunk, ModelInput, SampleRequest, SampleResponse
from tinkex.types.sequence import TextDecoder

with extra("otel", "tinkex.otel"):
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode

PROVIDER: Final = "tinker"
OPERATION: Final = "text_completion"

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4**power for power in range(14))
_LARGEST: Final = 2**63 - 1  # of the whole numbers that an attribute can be
_MOST_TARGETS: Final = 256
_PORTS: Final = {"http": 80, "https": 443}


def instrument(
    service: ServiceClient | None = None,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    content: TextDecoder | None = None,
    propagate_to: bool | Iterable[str] | None = None,
) -> None:
    """Trace and measure the samples that begin from now on; called again, with these settings instead.

    Args:
        service: Only the samples of this service. None: those of all services of the process, also of children that are
            forked from it. Do one or the other: a sample that both are about has two spans.
        tracer_provider, meter_provider: Where spans and metrics go. None: OpenTelemetry's global ones, also where they
            are set later.
        content: A tokenizer to write prompts and answers into the spans with. None: no content leaves the process.
        propagate_to: Servers that are sent `traceparent`, and what else the global propagator writes, by their base
            URLs; True for every server, False for none. None: every server but the hosted one.

    Spans end on threads of the client, so use processors that do not block, such as `BatchSpanProcessor`.

    Raises:
        TypeError, ValueError: An argument is wrong; the text names it.
    """
    kinds = {
        "service": (service, ServiceClient),
        "tracer_provider": (tracer_provider, trace.TracerProvider),
        "meter_provider": (meter_provider, metrics.MeterProvider),
    }
    for name, (value, kind) in kinds.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
    if content is not None and not callable(getattr(content, "decode", None)):
        raise TypeError(f"content must be a tokenizer with decode, not {type(content).__name__}")
    made = _Instrumentation(
        trace.get_tracer("tinkex", __version__, tracer_provider),
        _Instruments(metrics.get_meter("tinkex", __version__, meter_provider)),
        content,
        propagate_to if propagate_to is None or isinstance(propagate_to, bool) else _origins(propagate_to),
    )
    uninstrument(service)
    _installed[service or _PROCESS] = made
    (install if service is None else service.install)(made)


def uninstrument(service: ServiceClient | None = None) -> None:
    """Undo `instrument`: samples that begin from now on are not traced; those under way are, to their end."""
    made = _installed.pop(service or _PROCESS, None)
    if made is not None:
        (uninstall if service is None else service.uninstall)(made)


class _Process:
    """What stands for the whole process among the services."""


_PROCESS: Final = _Process()
_installed: weakref.WeakKeyDictionary[ServiceClient | _Process, _Instrumentation] = weakref.WeakKeyDictionary()


class _Instruments:
    """Metric instruments, with the names, units and boundaries of the conventions."""

    def __init__(self, meter: metrics.Meter) -> None:
        prefix, token = "gen_ai.client.inference", "{token}"
        self.duration = meter.create_histogram(
            f"{prefix}.duration", "s", "Duration of a sample, from the call to its end.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self.input = meter.create_counter(f"{prefix}.usage.input_tokens", token, "Prompt tokens, cached ones included.")
        self.output = meter.create_counter(f"{prefix}.usage.output_tokens", token, "Sampled tokens.")
        self.cached = meter.create_counter(
            f"{prefix}.usage.cache_read.input_tokens", token, "Prompt tokens that the server had in its cache."
        )
        self.inputs = meter.create_histogram(
            f"{prefix}.operation.input_tokens", token, "Prompt tokens of a sample.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )  # fmt: skip
        self.outputs = meter.create_histogram(
            f"{prefix}.operation.output_tokens", token, "Sampled tokens of a sample.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )  # fmt: skip

    def record(self, target: _Target, prompt: ModelInput, end: SampleEnded) -> None:
        """Record the end of a sample."""
        response = end.response
        with fork_guard:
            if response is None or response.usage is None:
                self.duration.record(end.seconds, {**target.attributes, "error.type": end.error_type or "_OTHER"})
                self.input.add(0, target.unknown)
                self.output.add(0, target.unknown)
                return
            usage = response.usage
            only_text = all(isinstance(chunk, EncodedTextChunk) for chunk in prompt.chunks)
            self.duration.record(end.seconds, target.attributes)
            if prompt.known_length is None:
                self.input.add(0, target.unknown)
            else:
                self.inputs.record(usage.prompt_tokens, target.attributes)
                if only_text:
                    self.input.add(usage.prompt_tokens, target.text)
                else:
                    for modality, count in _modalities(prompt).items():
                        self.input.add(count, target.of(modality))
            self.output.add(usage.sampled_tokens, target.text)
            self.outputs.record(usage.sampled_tokens, target.attributes)
            if usage.prompt_cache_hit_tokens:
                self.cached.add(usage.prompt_cache_hit_tokens, target.text if only_text else target.unknown)


class _Target:
    """What a sample is asked of, a model of a server, as attributes."""

    def __init__(self, model: str | None, base_url: str, propagate_to: bool | frozenset[str] | None) -> None:
        url = urlsplit(base_url)
        self.name = OPERATION if model is None else f"{OPERATION} {model}"
        self.attributes: dict[str, Any] = {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.provider.name": PROVIDER,
            "server.address": url.hostname or "",
            "server.port": url.port or _PORTS.get(url.scheme, 443),
        }
        if model is not None:
            self.attributes["gen_ai.request.model"] = model
        self.text = self.of("text")
        self.unknown = self.of("unknown")
        if propagate_to is None:
            self.propagates = not is_official(base_url)
        else:
            self.propagates = propagate_to if isinstance(propagate_to, bool) else _origin(base_url) in propagate_to

    def of(self, modality: str) -> dict[str, Any]:
        """The attributes of tokens of a modality."""
        return {**self.attributes, "gen_ai.token.modality": modality}


class _Instrumentation:
    """Instrumentation by one tracer and one meter."""

    def __init__(
        self,
        tracer: trace.Tracer,
        instruments: _Instruments,
        content: TextDecoder | None,
        propagate_to: bool | frozenset[str] | None,
    ) -> None:
        self.instruments = instruments
        self.content = content
        self._tracer = tracer
        self._propagate_to = propagate_to
        self._targets: dict[tuple[str | None, str], _Target] = {}

    def begin(self, start: SampleStarted) -> SampleObserver:
        """Begin the span of a sample, in the context of the caller."""
        key = start.model, start.base_url
        target = self._targets.get(key)
        if target is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            self._targets[key] = target = _Target(*key, self._propagate_to)
        attributes = {**target.attributes, **_request_attributes(start.request)}
        span = self._tracer.start_span(target.name, kind=SpanKind.CLIENT, attributes=attributes)
        return _SampleSpan(self, span, target, start.request)


class _SampleSpan(SampleObserver):
    """Span of one sample. It is never the current one: samples overlap, also those of one thread."""

    def __init__(self, owner: _Instrumentation, span: Span, target: _Target, request: SampleRequest) -> None:
        self._owner = owner
        self._span = span
        self._target = target
        self._request = request
        if target.propagates:
            carrier: dict[str, str] = {}
            propagate.inject(carrier, trace.set_span_in_context(span))
            self.headers: Mapping[str, str] = carrier

    def retrying(self, event: SampleRetry) -> None:
        """Add an event."""
        facts: dict[str, Any] = {
            "error.type": error_type(event.error),
            "tinkex.phase": event.phase,
            "tinkex.attempt": event.attempt,
            "tinkex.delay": event.delay,
        }
        if self._span.is_recording():
            self._span.add_event("tinkex.pause" if event.pause else "tinkex.retry", facts)

    def queue_changed(self, state: QueueState, reason: str | None) -> None:
        """Add an event."""
        if self._span.is_recording():
            facts: dict[str, Any] = {"tinkex.queue_state": state.value}
            self._span.add_event("tinkex.queue_state", facts if reason is None else {**facts, "tinkex.reason": reason})

    def ended(self, end: SampleEnded) -> None:
        """End the span, and record the metrics."""
        span, prompt = self._span, self._request.prompt
        try:
            if span.is_recording():
                if end.response is None:
                    span.set_attributes({"error.type": end.error_type or "_OTHER", "tinkex.attempts": end.attempts})
                    span.set_status(Status(StatusCode.ERROR, end.error_type))
                else:
                    span.set_attributes(_response_attributes(end.response, prompt, end.attempts))
                if self._owner.content is not None:
                    span.set_attributes(_content(prompt, end.response, self._owner.content))
        finally:
            span.end()
            self._owner.instruments.record(self._target, prompt, end)


def _request_attributes(request: SampleRequest) -> dict[str, Any]:
    params = request.sampling_params
    attributes: dict[str, Any] = {
        "gen_ai.request.max_tokens": params.max_tokens,
        "gen_ai.request.temperature": params.temperature,
        "gen_ai.request.top_p": params.top_p,
    }
    if params.top_k > 0:
        attributes["gen_ai.request.top_k"] = params.top_k
    if params.seed is not None and params.seed <= _LARGEST:
        attributes["gen_ai.request.seed"] = params.seed
    if request.num_samples != 1:
        attributes["gen_ai.request.choice.count"] = request.num_samples
    stop = (params.stop,) if isinstance(params.stop, str) else params.stop
    if stop and isinstance(stop[0], str):
        attributes["gen_ai.request.stop_sequences"] = stop
    return attributes


def _response_attributes(response: SampleResponse, prompt: ModelInput, attempts: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.response.finish_reasons": [sequence.stop_reason or "error" for sequence in response.sequences],
        "tinkex.attempts": attempts,
    }
    if response.request_id is not None:
        attributes["gen_ai.response.id"] = response.request_id
    usage, timing = response.usage, response.timing
    if usage is not None:
        attributes["gen_ai.usage.output_tokens"] = usage.sampled_tokens
        if prompt.known_length is not None:
            attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        if usage.prompt_cache_hit_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = usage.prompt_cache_hit_tokens
    if timing is not None:
        for phase in ("queued", "submit", "wait", "fetch"):
            attributes[f"tinkex.timing.{phase}"] = getattr(timing, phase)
    return attributes


def _modalities(prompt: ModelInput) -> Mapping[str, int]:
    """The tokens of a prompt by modality."""
    tally: Tally[str] = Tally()
    for chunk in prompt.chunks:
        kind = "text" if isinstance(chunk, EncodedTextChunk) else "audio" if isinstance(chunk, DmelChunk) else "image"
        tally[kind] += chunk.length
    return tally


def _content(prompt: ModelInput, response: SampleResponse | None, tokenizer: TextDecoder) -> dict[str, str]:
    """Prompt and answers as messages; the conventions' form of each, as JSON, which an attribute of a span can hold."""
    asked = [
        {"type": "text", "content": tokenizer.decode(list(chunk.tokens))}
        if isinstance(chunk, EncodedTextChunk)
        else {"type": "audio" if isinstance(chunk, DmelChunk) else "image"}
        for chunk in prompt.chunks
    ]
    messages = {"gen_ai.input.messages": [{"role": "user", "parts": asked}]}
    if response is not None:
        messages["gen_ai.output.messages"] = [
            {"role": "assistant", "parts": [{"type": "text", "content": tokenizer.decode(sequence.tokens)}]}
            for sequence in response.sequences
        ]
    return {name: json.dumps(value, ensure_ascii=False) for name, value in messages.items()}


def _origins(urls: Iterable[str]) -> frozenset[str]:
    if isinstance(urls, str) or not isinstance(urls, Iterable):
        raise TypeError(f"propagate_to must be a list of base URLs, True, False or None, not {type(urls).__name__}")
    return frozenset(_origin(url) for url in urls)


def _origin(url: str) -> str:
    """A server as its scheme, host and port."""
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"propagate_to must be base URLs such as https://tinker.example.com, got {url!r}")
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
