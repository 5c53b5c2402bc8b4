from __future__ import annotations

import base64
import json
import struct
import threading

import pytest
from calling import KEY, PROTOBUF, Caller
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinkex import _wire
from tinkex._server import PRESETS, ROUTES, EngineError, ServerOptions
from tinkex._server.bodies import RequestRefusedError, parse_sample
from tinkex._server.protobuf import encode_response
from tinkex._server.service import SERVICE
from tinkex.testing import FakeServer, expected_tokens
from tinkex.testing._answers import default_answer
from tinkex.testing._rules.checks import FIELDS
from tinkex.types import (
    ImageChunk,
    PromptAltTokens,
    SampledSequence,
    SampleRequest,
    SampleResponse,
    SamplingParams,
    TensorData,
    TopkLogprobs,
)

SOME_PARAMS = {"max_tokens": 4}
TEXT = {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]}
FULL_RESPONSE = SampleResponse(
    [
        SampledSequence([5, 7], [-0.5, -1.5], TopkLogprobs([[(5, -0.5), (6, -1.0)], [(7, -1.5)]]), "stop"),
        SampledSequence([], None, None, "length"),
    ],
    prompt_logprobs=[None, -1.0, -2.0],
    topk_prompt_logprobs=TopkLogprobs([None, [(1, -1.0)], [(2, -2.0)]]),
    target_prompt_logprobs=TensorData([-0.5, -0.25], "float32", (2, 9), [0, 1, 2], [3, 8]),
    prompt_alt_tokens=PromptAltTokens(TensorData([1, 2], "int64", (2, 1)), TensorData([-1.0, -2.0], "float32", (2, 1))),
    prompt_cache_hit_tokens=2,
)


@pytest.fixture
def serve():
    """Start fake servers, each with a caller, and stop them all at the end."""
    stack = []

    def start(like="tinker", **options):
        server = FakeServer(like, **{"long_poll": 0.0, **options}).start()
        stack.append((server, Caller(server)))
        return stack[-1]

    yield start
    for server, caller in stack:
        caller.session.close()
        server.stop()


# Encoding and decoding


def test_protobuf_known_vector():
    """The protobuf of a small result is the one in the protocol's description."""
    response = SampleResponse(
        [SampledSequence([5], [-0.5], None, "length")], prompt_logprobs=[None, -1.0], prompt_cache_hit_tokens=3
    )
    expected = "0a0e08011204050000001a04000000bf12080000c07f000080bf2003"
    assert encode_response(response).hex() == expected


def test_protobuf_leaves_out_what_is_absent():
    """An absent list is not a field, an empty one is."""
    absent = encode_response(SampleResponse([SampledSequence([])]))
    empty = encode_response(SampleResponse([SampledSequence([], [])], prompt_logprobs=[]))
    assert (absent.hex(), empty.hex()) == ("0a021200", "0a0412001a001200")


def test_protobuf_top_k_cells():
    """Rows shorter than k end in empty cells, and an undefined row is all empty cells."""
    data = encode_response(
        SampleResponse([], topk_prompt_logprobs=TopkLogprobs([None, [(9, -1.0)], [(1, 0.0), (2, -3.0)]]))
    )
    ids, logprobs = struct.pack("<6i", 0, 0, 9, 0, 1, 2), struct.pack("<6f", *[-99999.0] * 2, -1.0, -99999.0, 0.0, -3.0)
    assert data == b"\x1a\x38\x0a\x18" + ids + b"\x12\x18" + logprobs + b"\x18\x02\x20\x03"


@pytest.mark.parametrize("accept", ["application/json", "application/x-protobuf"])
def test_client_reads_what_the_server_writes(serve, accept):
    """A result with everything in it arrives unchanged, in both encodings."""
    _server, caller = serve(long_poll=5.0, answers=lambda _: FULL_RESPONSE)
    answer = caller.poll(caller.promise(), headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith(accept)
    assert _wire.decode_answer(answer.headers["Content-Type"], answer.content) == FULL_RESPONSE


def test_server_reads_what_the_client_writes():
    """Every option of a sample survives the way to the server."""
    request = SampleRequest(
        [1, 2, 3],
        SamplingParams(max_tokens=9, seed=4, stop=["a", "b"], temperature=0.5, top_k=3, top_p=0.25),
        num_samples=2,
        include_prompt_logprobs=True,
        topk_prompt_logprobs=3,
        topk_sample_logprobs=4,
        target_prompt_logprobs=TensorData([7], "int64", (2, 3), [0, 0, 1], [2]),
        prompt_alt_tokens_k=2,
        prompt_logprobs_last_n=1,
    )
    body = json.loads(_wire.encode_sample(request, sampling_session_id="s", seq_id=1))
    assert parse_sample(body, ServerOptions()) == request


def test_picture_prompt():
    """A picture's bytes survive base64."""
    data = b"\x89PNG\r\n\x1a\n" + b"rest"
    chunk = {"type": "image", "format": "png", "data": base64.b64encode(data).decode(), "expected_tokens": 5}
    sample = parse_sample({"prompt": {"chunks": [chunk]}, "sampling_params": SOME_PARAMS}, ServerOptions())
    assert sample.prompt.chunks == (ImageChunk(data, "png", 5),)


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"sampling_params": SOME_PARAMS}, 422, "prompt"),
        ({"prompt": TEXT}, 422, "sampling_params"),
        ({"prompt": TEXT, "sampling_params": {}}, 400, "max_tokens"),
        ({"prompt": {"chunks": []}, "sampling_params": SOME_PARAMS}, 400, "prompt"),
        ({"prompt": {}, "sampling_params": SOME_PARAMS}, 400, "chunks"),
        ({"prompt": {"chunks": [{"type": "video"}]}, "sampling_params": SOME_PARAMS}, 400, "video"),
        ({"prompt": {"chunks": [{"type": "dmel", "dmel": "?"}]}, "sampling_params": SOME_PARAMS}, 400, "prompt"),
        ({"prompt": TEXT, "sampling_params": SOME_PARAMS, "num_samples": 0}, 400, "num_samples"),
        ({"prompt": TEXT, "sampling_params": {"max_tokens": 4, "stop": 3}}, 400, "stop"),
    ],
)
def test_invalid_samples(body, status, word):
    """A sample that makes no sense is refused, and the refusal names the field."""
    with pytest.raises(RequestRefusedError) as caught:
        parse_sample(body, ServerOptions())
    assert (caught.value.status, word in str(caught.value)) == (status, True)


# The protocol


def test_sampling_from_start_to_end(serve):
    """The whole conversation of one sample, as the hosted service has it."""
    _server, caller = serve(long_poll=5.0)
    assert caller.post("client/config", {"sdk_version": "1"}).json() == {"pjwt_auth_enabled": False}
    assert caller.post("client/dynamic_config", {"sdk_version": "1"}).json() == {}
    promise = caller.submit(num_samples=2).json()
    assert len(promise["sample_sequence_ids"]) == 2
    result = caller.poll(promise["request_id"]).json()
    assert [each["tokens"] for each in result["sequences"]] == [
        expected_tokens([1, 2, 3], sample=index, max_tokens=4) for index in range(2)
    ]
    sampler = caller.get("samplers/" + caller.sampling_session_id.replace(":", "%3A")).json()
    assert sampler == {
        "sampler_id": caller.sampling_session_id, "base_model": "fake/model", "tokenizer_id": "tinkex/toy",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "status", "body"),
    [
        ({}, 408, {"queue_state": "paused_capacity", "queue_state_reason": "busy"}),
        ({"pending_state": False}, 408, {"detail": "The result is not ready."}),
        ({"pending": "try_again"}, 200, {"type": "try_again", "queue_state": "paused_capacity"}),
        ({"pending": "try_again", "pending_state": False}, 200, {"type": "try_again"}),
        ({"pending": "status"}, 200, {"status": "pending"}),
    ],
)
def test_pending_answers(serve, options, status, body):
    """A sample that is not ready is said to be so in each server's way."""
    server, caller = serve(**options)
    server.hold()
    server.set_queue_state("paused_capacity", "busy")
    answer = caller.poll(caller.promise())
    assert answer.status_code == status
    assert body.items() <= answer.json().items()


def test_long_poll_ends_with_the_sample(serve):
    """A held poll is answered as soon as the sample is ready."""
    server, caller = serve(long_poll=60.0)
    server.hold()
    request_id = caller.promise()
    released = threading.Timer(0.05, server.release)
    released.start()
    assert caller.poll(request_id).status_code == 200
    released.join()


def test_metadata_first(serve):
    """A large result is announced by its exact size when that is allowed."""
    _server, caller = serve(long_poll=5.0, metadata_size=1)
    body = {"request_id": caller.promise(), "allow_metadata_only": True}
    announced = caller.post("retrieve_future", body, headers=PROTOBUF).json()
    result = caller.post("retrieve_future", {**body, "allow_metadata_only": False}, headers=PROTOBUF)
    assert announced == {"status": "complete_metadata", "response_payload_size": len(result.content)}


FAILURES = {
    "tinker": (200, {"error": "no", "category": "user"}),
    "tuft": (422, {"detail": "no"}),
    "hatchery": (200, {"type": "request_failed", "error": "no", "category": "user_error"}),
    "open_rl": (400, {"type": "RequestFailedResponse", "error_message": "no"}),
    "twinkle": (200, {"error": "no", "category": "User"}),
    "tinker_cloud": (400, {"error": "no", "status_code": 400}),
    "skyrl": (400, {"detail": "no"}),
    "skyrl_0.3": (400, {"detail": "no"}),
}


@pytest.mark.thin(len(PRESETS))
@pytest.mark.parametrize("like", sorted(PRESETS))
def test_failed_samples(serve, like):
    """A failed sample looks as it does on each server."""
    server, caller = serve(like, long_poll=5.0)
    server.fail_samples("no")
    answer = caller.poll(caller.promise())
    assert (answer.status_code, answer.json()) == FAILURES[like]


@pytest.mark.thin(len(PRESETS))
@pytest.mark.parametrize("like", sorted(PRESETS))
def test_every_server_samples(serve, like):
    """Each kind of server can be sampled from, with what all of them take."""
    _server, caller = serve(like, long_poll=5.0)
    answer = caller.poll(caller.promise(), headers=PROTOBUF)
    decoded = _wire.decode_answer(answer.headers["Content-Type"], answer.content)
    assert decoded.sequences[0].tokens == expected_tokens([1, 2, 3], max_tokens=4)


def test_statuses_of_success(serve):
    """Some servers answer 201 to what they create and 202 to a promise."""
    server, caller = serve("tuft", long_poll=5.0)
    request_id = caller.promise()
    caller.poll(request_id)
    assert [each.status for each in server.requests] == [201, 201, 202, 200]


def test_missing_endpoints(serve):
    """What a server lacks is a 404 with a JSON body."""
    _server, caller = serve("tinker_cloud")
    answers = [caller.post("client/config"), caller.get("healthz"), caller.post("cancel_future")]
    assert [(each.status_code, each.json()) for each in answers] == [(404, {"detail": "Not Found"})] * 3


def test_unknown_fields(serve):
    """A server that forbids unknown fields names every one of them."""
    _server, caller = serve("twinkle")
    answer = caller.submit(shape="round", colour="red")
    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["detail"]] == [["body", "colour"], ["body", "shape"]]
    assert {each["type"] for each in answer.json()["detail"]} == {"extra_forbidden"}


def test_seq_id_gives_the_same_promise(serve):
    """A repeated seq_id is answered with the first promise, and refused for another request."""
    _server, caller = serve()
    body = caller.body()
    first, again = caller.post("asample", body), caller.post("asample", body)
    other = caller.post("asample", {**body, "num_samples": 2})
    assert (first.json(), other.status_code) == (again.json(), 409)


def test_seq_id_is_required(serve):
    """Without a seq_id the hosted service refuses a sample; lenient servers do not."""
    refused, accepted = (
        caller.post("asample", {**caller.body(), "seq_id": None}) for _, caller in (serve(), serve("hatchery"))
    )
    assert (refused.status_code, accepted.status_code) == (409, 200)


def test_too_many_samples(serve):
    """Above its bound a server answers 429 with the time to wait."""
    server, caller = serve(max_in_flight=1)
    server.hold()
    first, second = caller.submit(), caller.submit()
    assert (first.status_code, second.status_code, second.headers["Retry-After"]) == (200, 429, "1")


def test_unknown_future(serve):
    """An unknown request is a 404 on good servers and pending for ever on others."""
    answers = [serve(like)[1].poll("99") for like in ("tinker", "open_rl", "twinkle")]
    assert [each.status_code for each in answers] == [404, 200, 200]


def test_finished_session(serve):
    """After its end a session takes neither heartbeats nor samples, and the first reason stays."""
    _server, caller = serve()
    body = caller.body()
    session_id = "session-1"
    assert caller.post("session_heartbeat", {"session_id": session_id}).json() == {"type": "session_heartbeat"}
    caller.post(f"sessions/{session_id}/finish", {"reason": {"type": "errored"}, "detail": None})
    caller.post(f"sessions/{session_id}/finish", {"reason": {"type": "success"}, "detail": None})
    answers = caller.post("session_heartbeat", {"session_id": session_id}), caller.post("asample", body)
    assert [each.status_code for each in answers] == [410, 410]
    assert "errored" in answers[0].json()["detail"]


def test_sampling_session_number_repeats(serve):
    """Asking again under the same number gives the same sampling session."""
    _server, caller = serve()
    first = caller.open()
    body = {"session_id": "session-1", "sampling_session_seq_id": 0, "base_model": "fake/model"}
    assert caller.post("create_sampling_session", body).json()["sampling_session_id"] == first


def test_an_unknown_model_is_told_the_known_ones(serve):
    """Whoever asks for a model that there is not is told which there are."""
    _server, caller = serve(models=["two", "one"])
    session_id = caller.post("create_session", {"tags": []}).json()["session_id"]
    answer = caller.post("create_sampling_session", {"session_id": session_id, "base_model": "other"})
    assert answer.json() == {"detail": "Model other does not exist. Among those that do: one, two."}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"model_path": "/tmp/x"}, 400),
        ({"base_model": "other"}, 404),
        ({"base_model": "one", "session_id": "nope"}, 404),
        ({"model_path": "tinker://run/weights/1"}, 200),
    ],
)
def test_sampling_session_of_what(serve, fields, status):
    """A sampling session needs a known model or a tinker path, and an open session."""
    _server, caller = serve(models=["one"])
    session_id = caller.post("create_session", {"tags": []}).json()["session_id"]
    assert caller.post("create_sampling_session", {"session_id": session_id, **fields}).status_code == status


def test_capabilities(serve):
    """Models are named by the field that each server uses."""
    answers = [
        serve(like, models=["one"], **options)[1].get("get_server_capabilities").json()["supported_models"]
        for like, options in (("tinker", {}), ("hatchery", {}), ("tinker", {"model_field": "plain"}))
    ]
    known = {"max_context_length": 32_768}
    assert answers == [[{"model_name": "one", **known}], [{"model_id": "one", **known}], ["one"]]


@pytest.mark.parametrize(
    ("like", "headers", "status"),
    [
        ("tinker", {"X-API-Key": None}, 401),
        ("tinker", {"X-API-Key": "other"}, 401),
        ("tuft", {"X-API-Key": "other"}, 403),
        ("tinker", {"X-API-Key": None, "Authorization": f"Bearer {KEY}"}, 401),
        ("twinkle", {"X-API-Key": None, "Authorization": f"Bearer {KEY}"}, 200),
        ("tinker", {}, 200),
    ],
)
def test_keys(serve, like, headers, status):
    """Missing and wrong keys are refused as each server does it."""
    _server, caller = serve(like, require_key=KEY)
    assert caller.get("get_server_capabilities", headers=headers).status_code == status


def test_tokens(serve):
    """With tokens on, only a live token opens the API, and a revoked one is called invalid."""
    server, caller = serve(jwt=True)
    assert caller.post("client/config").json()["pjwt_auth_enabled"] is True
    assert caller.get("get_server_capabilities").status_code == 401
    token = {"X-API-Key": caller.post("auth/token").json()["jwt"]}
    assert token["X-API-Key"].startswith("eyJ")
    assert caller.get("get_server_capabilities", headers=token).status_code == 200
    server.revoke_tokens()
    refused = caller.get("get_server_capabilities", headers=token)
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_join(serve):
    """Clones of a sampling session are numbered from 1."""
    _server, caller = serve()
    body = {"sampling_session_id": caller.open()}
    assert [caller.post("join_sampling_session", body).json()["client_counter"] for _ in range(2)] == [1, 2]


def test_cancel(serve):
    """A cancelled sample stops, and whoever asks is told that it failed."""
    server, caller = serve(long_poll=5.0)
    server.hold()
    request_id = caller.promise()
    assert caller.post("cancel_future", {"request_id": request_id}).status_code == 200
    assert "cancelled" in caller.poll(request_id).json()["error"]
    assert (server.running, server.cancelled) == (0, 1)


def test_telemetry(serve):
    """Events are taken, anything else is not."""
    _server, caller = serve()
    answers = caller.post("telemetry", {"events": []}), caller.post("telemetry", {})
    assert [each.status_code for each in answers] == [200, 422]


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff"])
def test_bodies_that_are_not_objects(serve, data):
    """A body that is not a JSON object is refused with words."""
    server, caller = serve()
    json = {"Content-Type": "application/json"}
    answer = caller.session.post(f"{server.url}/api/v1/asample", data=data, headers=json, timeout=5)
    assert (answer.status_code, "JSON" in answer.json()["detail"]) == (422, True)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
POSTS = sorted(name for name, (method, _, _) in ROUTES.items() if method == "POST" and name != "finish")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_body_breaks_the_server(fuzzed, data):
    """Whatever the fields hold, the answer is never a 500, nor does a strict server fall over."""
    _server, caller = fuzzed
    name = data.draw(st.sampled_from(POSTS))
    known = st.sampled_from(sorted(FIELDS[name]) or ["x"])
    body = data.draw(st.dictionaries(known, ANYTHING, max_size=6))
    if "sampling_session_id" in body:
        body["sampling_session_id"] = caller.sampling_session_id
    if name == "asample" and data.draw(st.booleans()):
        body = {**caller.body(), **dict(list(body.items())[:2])}
    assert caller.post(name, body).status_code < 500


@pytest.fixture(scope="module")
def fuzzed():
    """One strict server for many requests."""
    with FakeServer(strict=True, long_poll=0.0) as server, Caller(server) as caller:
        caller.open()
        yield server, caller


@pytest.mark.parametrize("number", ["-1", "1.5", "x", "", "9" * 19, "9" * 5000, "\u0663"])
def test_numbers_of_a_query(serve, number):
    """What is no number, or is too large for one, is refused by its name."""
    _server, caller = serve()
    for name in ("limit", "offset"):
        answer = caller.get("training_runs", params={name: number})
        assert (answer.status_code, name in answer.text) == (422, True)


def test_inline_results(serve):
    """A server may answer a sample at once, without a promise."""
    _server, caller = serve(inline=True, wrapped=True)
    assert caller.submit().json()["result"]["sequences"][0]["tokens"] == expected_tokens([1, 2, 3], max_tokens=4)


# The session poller


class Poller:
    """Calls retrieve_futures for one clone."""

    def __init__(self, caller, clone=0):
        self.caller, self.clone = caller, clone

    def __call__(self, cursor=0, acks=(), **fields):
        target = {
            "type": "sampling_session",
            "sampling_session_id": self.caller.sampling_session_id,
            "cloned_sampler_id": self.clone,
        }
        body = {"target": target, "prev_cursor": cursor, "retrieved_request_ids": sorted(acks), **fields}
        answer = self.caller.post("retrieve_futures", body).json()
        return [(each["state"], each["request_id"]) for each in answer["completions"]], answer["cursor"]


def test_poller_tells_what_ended(serve):
    """Samples that ended are told in order, once each, with the cursor to go on from."""
    server, caller = serve(long_poll=5.0)
    first = caller.promise()
    poll = Poller(caller)
    assert poll() == ([("finished", first)], 1)
    server.fail_samples("no")
    second = caller.promise()
    assert poll(1) == ([("failed", second)], 2)
    assert poll(2, timeout=0) == ([], 2)


def test_poller_repeats_what_was_not_seen(serve):
    """A poll with an old cursor gets the same completions again."""
    _server, caller = serve(long_poll=5.0)
    request_id = caller.promise()
    poll = Poller(caller)
    assert poll() == poll() == ([("finished", request_id)], 1)


def test_poller_sizes(serve):
    """A completion names the exact size of the protobuf result."""
    _server, caller = serve(long_poll=5.0)
    request_id = caller.promise()
    target = {"type": "sampling_session", "sampling_session_id": caller.sampling_session_id}
    answer = caller.post("retrieve_futures", {"target": target, "prev_cursor": 0}).json()
    size = answer["completions"][0]["response_payload_uncompressed_size"]
    assert size == len(caller.poll(request_id, headers=PROTOBUF).content)


def test_poller_keeps_clones_apart(serve):
    """A clone hears of the seq_ids in its own block only."""
    _server, caller = serve(long_poll=0.05)
    caller.open()
    mine = caller.promise(seq_id=3_000_000_000)
    assert Poller(caller, 3)(timeout=0.05)[0] == [("finished", mine)]
    assert Poller(caller, 0)(timeout=0.0)[0] == []


def test_acknowledged_results_are_dropped(serve):
    """An acknowledged result is gone."""
    _server, caller = serve(long_poll=5.0)
    request_id = caller.promise()
    poll = Poller(caller)
    _, cursor = poll()
    poll(cursor, [request_id], timeout=0)
    assert caller.poll(request_id).status_code == 404


def test_results_are_bounded(serve):
    """Above its bound a server forgets the oldest results."""
    _server, caller = serve(long_poll=5.0, max_results=1)
    first, second = caller.promise(), None
    caller.poll(first)
    second = caller.promise()
    caller.poll(second)
    assert [caller.poll(each).status_code for each in (first, second)] == [404, 200]


# Engines


class BlockingEngine:
    """Answers on a thread, unless it is told to fail."""

    models = ()

    def __init__(self, error=None):
        self.error, self.threads = error, set()
        self.cancelled = None

    def sample(self, request, *, model, cancelled):
        self.threads.add(threading.current_thread())
        self.cancelled = cancelled
        if self.error is not None:
            raise self.error
        return default_answer(request)


@pytest.fixture
def serve_engine(serve):
    """Start a server over an engine of the test's own."""

    def start(engine):
        server, caller = serve(long_poll=5.0)
        server._app[SERVICE].engine = engine
        return caller

    return start


def test_blocking_engines_run_on_threads(serve_engine):
    """An engine that blocks gets a thread, never the event loop's."""
    engine = BlockingEngine()
    caller = serve_engine(engine)
    assert caller.poll(caller.promise()).json()["sequences"][0]["tokens"] == expected_tokens([1, 2, 3], max_tokens=4)
    assert [each.name.startswith("tinkex-engine") for each in engine.threads] == [True]


@pytest.mark.parametrize(
    ("error", "category"), [(EngineError("mine", 500, "server"), "server"), (ZeroDivisionError("zero"), "server")]
)
def test_engines_that_fail(serve_engine, error, category):
    """What an engine raises fails the sample with its words, and the server lives on."""
    caller = serve_engine(BlockingEngine(error))
    answer = caller.poll(caller.promise()).json()
    assert (answer["category"], str(error) in answer["error"]) == (category, True)


def test_unknown_preset():
    """An unknown kind of server is refused by name."""
    with pytest.raises(ValueError, match="nobody"):
        ServerOptions.like("nobody")
