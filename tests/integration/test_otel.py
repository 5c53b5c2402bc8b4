"""Spans and metrics of samples, as exporters in memory see them."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import KEY, PARAMS, make_service

import tinkex
from tinkex import SampledSequence, SampleResponse, SamplingParams, bulk
from tinkex.testing import FakeServer

tracing = pytest.importorskip("tracing", exc_type=ImportError, reason="needs opentelemetry-sdk")
trace = pytest.importorskip("opentelemetry.trace")
otel = pytest.importorskip("tinkex.otel", exc_type=ImportError)

NAMES = ("duration", "usage.input_tokens", "usage.output_tokens", "operation.input_tokens", "operation.output_tokens")
ANSWER = "gen_ai.client.inference"


@pytest.fixture
def server():
    """A server that answers at once."""
    with FakeServer(dynamic_config={"sample_cancel_enabled": True}) as fake:
        yield fake


@pytest.fixture
def seen():
    """What comes out."""
    return tracing.Telemetry()


@pytest.fixture
def client(server, seen):
    """An instrumented client."""
    with seen.of(make_service(server)) as client:
        yield client


def test_a_span(client, seen, server):
    """One span a sample, of the names, kinds and values that the conventions have."""
    params = SamplingParams(max_tokens=4, temperature=0.5, top_p=0.9, top_k=7, seed=3, stop=["a", "b"])
    response = client.sample([1, 2, 3], params, num_samples=2).result(10)
    span = seen.span
    assert (span.name, span.kind, span.parent) == ("text_completion any/model", trace.SpanKind.CLIENT, None)
    timing = response.timing
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "tinker",
        "gen_ai.request.model": "any/model",
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        "gen_ai.request.max_tokens": 4,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 7,
        "gen_ai.request.seed": 3,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.stop_sequences": ("a", "b"),
        "gen_ai.response.finish_reasons": tuple(sequence.stop_reason for sequence in response.sequences),
        "gen_ai.response.id": response.request_id,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 1,
        "gen_ai.usage.output_tokens": response.usage.sampled_tokens,
        "tinkex.attempts": 1,
        "tinkex.timing.queued": timing.queued,
        "tinkex.timing.submit": timing.submit,
        "tinkex.timing.wait": timing.wait,
        "tinkex.timing.fetch": timing.fetch,
    }
    assert span.status.is_unset
    assert span.events == ()


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        ({}, {}),
        ({"top_k": -1, "seed": None, "stop": None}, {}),
        ({"top_k": 0, "seed": 2**64 - 1, "stop": [5, 6]}, {}),
        ({"stop": []}, {}),
        ({"stop": "end"}, {"stop_sequences": ("end",)}),
        ({"seed": 2**63 - 1}, {"seed": 2**63 - 1}),
    ],
)
def test_what_the_conventions_have_no_word_for_is_left_out(client, seen, params, sent):
    """No -1 for "all", no stop tokens among texts, no number that the protocol of exporters cannot carry."""
    client.sample([1], SamplingParams(max_tokens=4, **params)).result(10)
    prefix = "gen_ai.request."
    found = {name.removeprefix(prefix): value for name, value in seen.span.attributes.items() if prefix in name}
    assert found == {"model": "any/model", "max_tokens": 4, "temperature": 1.0, "top_p": 1.0, **sent}


def test_numbers_of_numpy(client, seen, caplog):
    """They go out as numbers."""
    numpy = pytest.importorskip("numpy")
    params = SamplingParams(max_tokens=numpy.int64(4), temperature=numpy.float32(0.5), top_k=numpy.int8(5))
    client.sample(numpy.array([1, 2]), params, num_samples=numpy.int64(2)).result(10)
    wanted = {"max_tokens": int, "temperature": float, "top_k": int, "choice.count": int}
    assert {name: type(seen.span.attributes[f"gen_ai.request.{name}"]) for name in wanted} == wanted
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_metrics(client, seen, server):
    """Duration and tokens, under the newest names; a failure counts no tokens, and is in no histogram of tokens."""
    server.answers = lambda _: SampleResponse([SampledSequence([7] * 4), SampledSequence([7] * 3)])
    response = client.sample([1, 2, 3], PARAMS, num_samples=2).result(10)
    server.fail_next("asample", 422)
    with pytest.raises(tinkex.UnprocessableEntityError):
        client.sample([1, 2], PARAMS).result(10)
    common = {name: value for name, value in seen.spans[0].attributes.items() if name in tracing.COMMON}
    failed = {**common, "error.type": "422"}
    text, unknown = ({**common, "gen_ai.token.modality": modality} for modality in ("text", "unknown"))
    points = seen.points
    assert sorted(points) == sorted(f"{ANSWER}.{name}" for name in NAMES)
    sampled = response.usage.sampled_tokens
    assert points[f"{ANSWER}.usage.input_tokens"] == [(text, 3), (unknown, 0)]
    assert points[f"{ANSWER}.usage.output_tokens"] == [(text, sampled), (unknown, 0)]
    assert points[f"{ANSWER}.operation.input_tokens"] == [(common, (1, 3))]
    assert points[f"{ANSWER}.operation.output_tokens"] == [(common, (1, sampled))]
    assert [(labels, value[0]) for labels, value in points[f"{ANSWER}.duration"]] == [(common, 1), (failed, 1)]
    duration = seen.metric(f"{ANSWER}.duration")
    assert (duration.unit, seen.metric(f"{ANSWER}.usage.input_tokens").unit) == ("s", "{token}")
    assert duration.data.data_points[0].explicit_bounds[:3] == (0.01, 0.02, 0.04)


def test_cached_tokens(client, seen, server):
    """Prompt tokens that the server had in its cache are a part of the others."""
    server.answers = lambda _: SampleResponse([SampledSequence([7] * 4)], prompt_cache_hit_tokens=2)
    client.sample([1, 2, 3], PARAMS).result(10)
    assert seen.span.attributes["gen_ai.usage.input_tokens"] == 3
    assert seen.span.attributes["gen_ai.usage.cache_read.input_tokens"] == 2
    ((labels, value),) = seen.points[f"{ANSWER}.usage.cache_read.input_tokens"]
    assert (labels["gen_ai.token.modality"], value) == ("text", 2)


@pytest.mark.parametrize("expected", [5, None])
def test_tokens_of_pictures(client, seen, server, expected):
    """They are counted as such, where the prompt says how many there are; else what is not known is not told."""
    server.answers = lambda _: SampleResponse([SampledSequence([7] * 4)])
    picture = tinkex.ImageChunk(b"\xff\xd8\xff", "jpeg", expected_tokens=expected)
    client.sample(tinkex.ModelInput.from_ints([1, 2]).append(picture), PARAMS).result(10)
    counted = {labels["gen_ai.token.modality"]: value for labels, value in seen.points[f"{ANSWER}.usage.input_tokens"]}
    assert counted == ({"text": 2, "image": 5} if expected else {"unknown": 0})
    assert seen.span.attributes.get("gen_ai.usage.input_tokens") == (7 if expected else None)


def test_weights_go_by_their_path(server, seen):
    """Fine-tuned weights are not their base model."""
    with make_service(server) as service:
        otel.instrument(service, tracer_provider=seen.tracers, meter_provider=seen.meters)
        weights = service.create_sampling_client(base_model="any/model", model_path="tinker://run/sampler_weights/1")
        weights.sample([1], PARAMS).result(10)
    assert seen.span.name == "text_completion tinker://run/sampler_weights/1"


def refused(client, server):
    """A sample that the server refuses."""
    server.fail_next("asample", 404)
    return client.sample([1], PARAMS)


def timed_out(client, server):
    """A sample that is too late."""
    server.hold()
    return client.sample([1], PARAMS, timeout=0.05)


def cancelled(client, server):
    """A sample that is cancelled."""
    server.hold()
    future = client.sample([1], PARAMS)
    server.wait_for("asample")
    future.cancel()
    return future


def lost(client, server):
    """A sample whose computation fails."""
    server.fail_samples("out of memory", "server")
    return client.sample([1], PARAMS)


@pytest.mark.parametrize(
    ("fails", "kind"),
    [
        (refused, "404"),
        (timed_out, "SampleTimeoutError"),
        (cancelled, "CancelledError"),
        (lost, "RequestFailedError"),
    ],
)
def test_failures(client, seen, server, fails, kind):
    """The span is an error, of a kind that is one of few, and says nothing in the server's words."""
    future = fails(client, server)
    with pytest.raises(BaseException):  # noqa: B017
        future.result(10)
    span = seen.span
    assert (span.attributes["error.type"], span.status.status_code) == (kind, trace.StatusCode.ERROR)
    assert span.status.description == kind
    assert "gen_ai.response.id" not in span.attributes
    assert [event.name for event in span.events] == []
    server.release()


def test_the_queue_is_full(server, seen):
    """A sample that finds no place has a span, and an error."""
    with seen.of(make_service(server, max_queued=1, max_in_flight=1)) as client:
        server.hold()
        futures = [client.sample([1], PARAMS)]
        server.wait_for("asample")
        futures.append(client.sample([1], PARAMS))
        with pytest.raises(tinkex.QueueFullError):
            client.sample([1], PARAMS, on_full="raise")
        assert seen.span.attributes["error.type"] == "QueueFullError"
        server.release()
        for future in futures:
            future.result(10)


def test_the_close_of_the_client(server, seen):
    """What is under way then has ended, and its span."""
    service = make_service(server)
    with seen.of(service) as client:
        server.hold()
        future = client.sample([1], PARAMS)
        server.wait_for("asample")
        service.close(timeout=0.0)
        assert isinstance(future.exception(10), tinkex.ClientClosedError)
        assert seen.span.attributes["error.type"] == "ClientClosedError"


def test_retries_and_pauses_are_events(client, seen, server):
    """They stand in the one span of the sample, with their cause."""
    server.fail_next("asample", 503)
    server.fail_next("asample", 429, headers={"Retry-After": "0.01"})
    client.sample([1], PARAMS).result(20)
    span = seen.span
    events = [(event.name, event.attributes.get("error.type")) for event in span.events]
    assert events == [("tinkex.retry", "503"), ("tinkex.pause", "429"), ("tinkex.queue_state", None)]
    retry = dict(span.events[0].attributes)
    assert retry.pop("tinkex.delay") > 0
    assert retry == {"error.type": "503", "tinkex.phase": "submitting", "tinkex.attempt": 2}
    assert span.attributes["tinkex.attempts"] == 2
    assert span.status.is_unset


def test_content_is_written_when_asked_for(server, seen):
    """Without a tokenizer no span has a word of prompts and answers; with one, both, as messages."""

    class Letters:
        def decode(self, tokens):
            return "".join(chr(96 + token) for token in tokens)

    server.answers = lambda _: SampleResponse([SampledSequence([4, 5]), SampledSequence([6])])
    picture = tinkex.ImageChunk(b"\xff\xd8\xff", "jpeg", expected_tokens=1)
    prompt = tinkex.ModelInput.from_ints([1, 2]).append(picture)
    with seen.of(make_service(server), content=Letters()) as client:
        client.sample(prompt, SamplingParams(max_tokens=2), num_samples=2).result(10)
        server.fail_next("asample", 422)
        client.sample([3], PARAMS).exception(10)
    with seen.of(make_service(server)) as client:
        client.sample([1, 2], SamplingParams(max_tokens=2), num_samples=2).result(10)
    both, asked, neither = (
        {name: json.loads(value) for name, value in span.attributes.items() if name.endswith(".messages")}
        for span in seen.spans
    )
    user = {"role": "user", "parts": [{"type": "text", "content": "ab"}, {"type": "image"}]}
    answers = [{"role": "assistant", "parts": [{"type": "text", "content": text}]} for text in ("de", "f")]
    assert both == {"gen_ai.input.messages": [user], "gen_ai.output.messages": answers}
    assert asked == {"gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "c"}]}]}
    assert neither == {}


def test_a_tokenizer_that_fails(server, seen, caplog):
    """The span ends without the content, the sample with its result, and the log says why."""

    class Broken:
        def decode(self, tokens):
            raise LookupError("no such token")

    with seen.of(make_service(server), content=Broken()) as client, caplog.at_level(logging.ERROR, "tinkex"):
        client.sample([1], PARAMS).result(10)
    assert seen.span.attributes["gen_ai.usage.input_tokens"] == 1
    assert "no such token" in caplog.text
    assert seen.points[f"{ANSWER}.duration"][0][1][0] == 1


def test_a_sequence_without_a_reason():
    """It has ended abnormally, in the word that the conventions have for it; the others keep theirs."""
    sequences = [SampledSequence([7], stop_reason=reason) for reason in ("stop", "", "length")]
    found = otel._response_attributes(SampleResponse(sequences), tinkex.ModelInput.from_ints([1]), 1)
    assert found["gen_ai.response.finish_reasons"] == ["stop", "error", "length"]


def test_the_key_is_in_no_span(client, seen, server):
    """Also where the server repeats it."""
    body = {"detail": f"no, {KEY}", "queue_state_reason": f"too many of {KEY}", "queue_state": "paused_capacity"}
    server.fail_next("asample", 429, body, {"Retry-After": "0.01"})
    client.sample([1], PARAMS).result(20)
    server.fail_next("asample", 400, body)
    assert KEY not in str(client.sample([1], PARAMS).exception(10))
    told = [span.to_json() for span in seen.spans]
    assert "too many of [redacted]" in told[0]
    assert KEY not in f"{told} {seen.points}"


# --- Whose span is whose


def parents(seen):
    """The spans of samples by the id of their parent."""
    return {span.parent.span_id: span for span in seen.spans}


def test_overlapping_samples_of_one_thread(client, seen, server):
    """Ten of them are ten spans, each with its own tokens, and the parent that was current where it was asked for."""
    server.hold()
    futures, wanted = [], {}
    for number in range(1, 11):
        with seen.tracer.start_as_current_span(f"asks {number}") as parent:
            futures.append(client.sample([1] * number, SamplingParams(max_tokens=number)))
            wanted[parent.get_span_context().span_id] = number
    server.release()
    for future in futures:
        future.result(10)
    client.sample([1] * 11, PARAMS).result(10)  # nothing is left behind in the thread
    *spans, last = sorted(seen.spans, key=lambda span: span.attributes["gen_ai.usage.input_tokens"])
    assert [wanted[span.parent.span_id] for span in spans] == [*range(1, 11)]
    for number, span in enumerate(spans, 1):
        assert span.attributes["gen_ai.usage.input_tokens"] == number
        assert span.attributes["gen_ai.usage.output_tokens"] == number
    assert last.parent is None


def test_threads(client, seen):
    """Samples of several threads have the parents of their threads, the same where it is shared."""
    wanted = {}

    def ask(number):
        with seen.tracer.start_as_current_span("asks") as parent:
            wanted[parent.get_span_context().span_id] = number
            futures = [client.sample([1] * number, PARAMS) for _ in range(3)]
            for future in futures:
                future.result(10)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(1, 9)))
    found = sorted((wanted[span.parent.span_id], span.attributes["gen_ai.usage.input_tokens"]) for span in seen.spans)
    assert found == [(number, number) for number in range(1, 9) for _ in range(3)]


def test_asyncio(client, seen):
    """So do those of coroutines that take turns on one thread."""
    wanted = {}

    async def ask(number):
        with seen.tracer.start_as_current_span("asks") as parent:
            wanted[parent.get_span_context().span_id] = number
            await asyncio.gather(*(client.sample([1] * number, PARAMS) for _ in range(2)))

    async def main():
        await asyncio.gather(*map(ask, range(1, 6)))

    asyncio.run(main())
    found = sorted((wanted[span.parent.span_id], span.attributes["gen_ai.usage.input_tokens"]) for span in seen.spans)
    assert found == [(number, number) for number in range(1, 6) for _ in range(2)]


def test_callbacks(client, seen):
    """A sample in a callback has the parent that was current where the callback was added, and not the first sample."""
    done = threading.Event()
    inner = []

    def callback(future):
        inner.append(client.sample([1, 2], PARAMS))
        inner[0].add_done_callback(lambda _: done.set())

    with seen.tracer.start_as_current_span("asks") as parent:
        client.sample([1], PARAMS).add_done_callback(callback)
    assert done.wait(10)
    assert [span.parent.span_id for span in seen.spans] == [parent.get_span_context().span_id] * 2


def test_a_whole_file(client, seen, tmp_path):
    """The samples of a run have the parent that was current where the run was begun, canary numbers as well."""
    rows = [{"id": str(number), "prompt": [1, number + 1]} for number in range(10)]
    with seen.tracer.start_as_current_span("runs") as parent:
        assert bulk.run(rows, tmp_path / "out.jsonl", client, max_tokens=4, omit=["text"]).failed == 0
    assert {span.parent and span.parent.span_id for span in seen.spans} == {parent.get_span_context().span_id}
    assert len(seen.spans) >= 10


def test_the_span_has_ended_when_the_result_is_there(client, seen):
    """Whoever has the result and leaves loses no span."""
    for number in range(1, 51):
        client.sample([1], PARAMS).result(10)
        assert len(seen.spans) == number


# --- traceparent


@pytest.mark.parametrize(
    ("propagate_to", "sent"), [(None, True), (False, False), (True, True), ([], False), (["http://127.0.0.1:1"], False)]
)
def test_traceparent_goes_out(server, seen, propagate_to, sent):
    """A server that is not the hosted one gets it, with the id of the sample's span, unless that was forbidden."""
    with seen.of(make_service(server), propagate_to=propagate_to) as client:
        client.sample([1], PARAMS).result(10)
    headers = [
        request.headers.get("traceparent")
        for endpoint in ("asample", "retrieve_future")
        for request in server.requests_to(endpoint)
    ]
    context = seen.span.get_span_context()
    flags = int(context.trace_flags)
    wanted = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}" if sent else None
    assert headers == [wanted, wanted]


def test_traceparent_and_the_hosted_server():
    """The hosted one gets it where that is asked for: by its URL, or for every server."""
    url = tinkex.ClientConfig().base_url
    settings = {None: False, False: False, True: True, otel._origins([url]): True, otel._origins(["http://a"]): False}
    found = {setting: otel._Target("any/model", url, setting).propagates for setting in settings}
    assert found == settings


def test_wrong_arguments():
    """They are refused by name, and what was installed stays."""
    with pytest.raises(TypeError, match="content must be a tokenizer with decode, not str"):
        otel.instrument(content="yes")
    for name in ("service", "tracer_provider", "meter_provider"):
        with pytest.raises(TypeError, match=f"{name} must be a .*, not int"):
            otel.instrument(**{name: 5})
    with pytest.raises(TypeError, match="propagate_to must be a list of base URLs"):
        otel.instrument(propagate_to="http://a")
    with pytest.raises(ValueError, match=r"propagate_to must be base URLs such as .*, got 'localhost'"):
        otel.instrument(propagate_to=["localhost"])


# --- On and off


def test_the_whole_process(server, seen):
    """Without a service all of the process are traced, once, however often it is asked for; and then no more."""
    for _ in range(2):
        otel.instrument(tracer_provider=seen.tracers, meter_provider=seen.meters)
    try:
        with make_service(server) as service:
            service.create_sampling_client(base_model="any/model").sample([1], PARAMS).result(10)
            assert len(seen.spans) == 1
            otel.uninstrument()
            service.create_sampling_client(base_model="any/model").sample([1], PARAMS).result(10)
            assert len(seen.spans) == 1
    finally:
        otel.uninstrument()


def test_nothing_is_set_up(server):
    """Without a provider nothing comes of it, and samples go on."""
    with make_service(server) as service:
        otel.instrument(service)
        assert service.create_sampling_client(base_model="any/model").sample([1], PARAMS).result(10).sequences
        otel.uninstrument(service)
