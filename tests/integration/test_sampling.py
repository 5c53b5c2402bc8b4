"""Every sampling option, from the call over the wire to the result, in both encodings."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
from serving import MODEL, PARAMS, PROMPT, sampling

import tinkex
from tinkex import (
    DmelChunk,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    MissingFeatureError,
    ModelInput,
    SampledSequence,
    SampleRequest,
    SampleResponse,
    SamplingParams,
    TensorData,
    TopkLogprobs,
)
from tinkex.testing import FakeServer, default_answer, expected_logprobs, expected_tokens

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DENSE = TensorData.from_list([[5, -1], [7, 9]], dtype="int64")
CSR = TensorData([5, 7, 9], "int64", (2, 2), sparse_crow_indices=[0, 1, 3], sparse_col_indices=[1, 0, 1])


@pytest.fixture(scope="module", params=["json", "protobuf"])
def server(request):
    """A strict server that answers in one encoding."""
    with FakeServer(strict=True, answer=request.param) as fake:
        yield fake


@pytest.fixture(scope="module")
def client(server):
    """A client of it."""
    with sampling(server) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_violation(server):
    server.clear()
    yield
    assert not server.violations


def sent(server):
    """The body of the one sample that was sent."""
    (request,) = server.requests_to("asample")
    return request.json


def strip(response):
    """A response without what the client adds to it."""
    fields = response.to_dict()
    for name in ("request_id", "usage", "timing"):
        fields.pop(name, None)
    for sequence in fields["sequences"]:
        sequence.pop("sequence_id", None)
    return fields


OPTIONS = {
    "nothing": ({}, {}),
    "num_samples": ({"num_samples": 3}, {"num_samples": 3}),
    "prompt logprobs": ({"include_prompt_logprobs": True}, {"prompt_logprobs": True}),
    "the last prompt logprobs": (
        {"include_prompt_logprobs": True, "prompt_logprobs_last_n": 1},
        {"prompt_logprobs": True, "prompt_logprobs_last_n": 1},
    ),
    "topk of the prompt": ({"topk_prompt_logprobs": 2}, {"topk_prompt_logprobs": 2}),
    "topk of samples": ({"topk_sample_logprobs": 3}, {"topk_sample_logprobs": 3}),
    "dense targets": (
        {"target_prompt_logprobs": DENSE},
        {"target_prompt_logprobs": {"data": [5, -1, 7, 9], "dtype": "int64", "shape": [2, 2]}},
    ),
    "sparse targets": (
        {"target_prompt_logprobs": CSR},
        {
            "target_prompt_logprobs": {
                "data": [5, 7, 9], "dtype": "int64", "shape": [2, 2],
                "sparse_crow_indices": [0, 1, 3], "sparse_col_indices": [1, 0, 1],
            }
        },
    ),
    "NumPy targets": (
        {"target_prompt_logprobs": TensorData.from_numpy(np.array([[1, 2], [3, -1]]))},
        {"target_prompt_logprobs": {"data": [1, 2, 3, -1], "dtype": "int64", "shape": [2, 2]}},
    ),
    "alternatives": ({"prompt_alt_tokens_k": 2}, {"prompt_alt_tokens_k": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_option(client, server, name):
    """An option is sent under its wire name, alone, and what the server computes for it comes back unchanged."""
    options, wire = OPTIONS[name]
    response = client.sample(PROMPT, PARAMS, **options).result()
    body = sent(server)
    assert body.pop("sampling_session_id") == client.sampling_session_id
    assert isinstance(body.pop("seq_id"), int)
    chunks = [{"type": "encoded_text", "tokens": PROMPT}]
    body.pop("type", None)
    assert body == {"prompt": {"chunks": chunks}, "sampling_params": {"max_tokens": 4}, **wire}
    assert strip(response) == strip(default_answer(SampleRequest(PROMPT, PARAMS, **options)))


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        ({"stop": "."}, {"stop": ["."]}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop": [7, 8]}, {"stop": [7, 8]}),
        ({"stop": []}, {"stop": []}),
        ({"seed": 42}, {"seed": 42}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"temperature": 1.0, "top_k": -1, "top_p": 1.0}, {}),
    ],
)
def test_sampling_params(client, server, given, wire):
    """A sampling parameter is sent if it differs from its default, and a single stop string as a list."""
    client.sample(PROMPT, SamplingParams(max_tokens=2, **given)).result()
    assert sent(server)["sampling_params"] == {"max_tokens": 2, **wire}


def test_stop_ids(client):
    """A sequence that ends at a stop id says so."""
    tokens = expected_tokens(PROMPT, max_tokens=4)
    response = client.sample(PROMPT, SamplingParams(max_tokens=4, stop=[tokens[1]])).result()
    assert response.sequences[0].tokens == tokens[:2]
    assert response.sequences[0].stop_reason == "stop"


@pytest.mark.parametrize(
    "chunk",
    [
        EncodedTextChunk((1, 2)),
        ImageChunk(PNG, "png", expected_tokens=7),
        ImageAssetPointerChunk("tinker://images/1", "jpeg", expected_tokens=3),
        DmelChunk(bytes([0, 2, 4, 8]) + bytes(32)),
    ],
    ids=lambda chunk: chunk.type,
)
def test_chunks(client, server, chunk):
    """Every kind of chunk is sent in its wire form, in its place."""
    prompt = ModelInput((EncodedTextChunk((9,)), chunk))
    response = client.sample(prompt, PARAMS).result()
    first, second = sent(server)["prompt"]["chunks"]
    assert first == {"type": "encoded_text", "tokens": [9]}
    assert second["type"] == chunk.type
    if chunk.type == "image":
        assert base64.b64decode(second["data"]) == PNG
        assert (second["format"], second["expected_tokens"]) == ("png", 7)
    if chunk.type == "image_asset_pointer":
        assert second["location"] == "tinker://images/1"
    if chunk.type == "dmel":
        assert base64.b64decode(second["dmel"]) == chunk.dmel
    assert response.usage.prompt_tokens == 1 + chunk.length


@pytest.mark.parametrize("prompt", [(1, 2, 3), np.array([1, 2, 3]), range(1, 4), ModelInput.from_ints([1, 2, 3])])
def test_prompt_forms(client, prompt):
    """A prompt may be any iterable of ids, an array or a ModelInput."""
    prompt = iter(prompt) if isinstance(prompt, range) else prompt
    assert client.sample(prompt, PARAMS).result().sequences[0].tokens == expected_tokens([1, 2, 3], max_tokens=4)


def test_prompt_list_is_copied(client, server):
    """A list that is changed after the call does not change the sample."""
    prompt = [1, 2, 3]
    future = client.sample(prompt, PARAMS)
    prompt[0] = 99
    future.result()
    assert sent(server)["prompt"]["chunks"][0]["tokens"] == [1, 2, 3]


def test_compute_logprobs(client):
    """One log-probability a prompt token, None for the first."""
    assert client.compute_logprobs(PROMPT).result() == [None, *expected_logprobs(PROMPT[1:])]
    assert client.compute_logprobs(PROMPT, prompt_logprobs_last_n=1).result() == [
        None,
        None,
        *expected_logprobs(PROMPT[2:]),
    ]
    assert client.compute_logprobs([5]).result() == [None]


def test_compute_logprobs_of_servers_that_count_one_less(client, server):
    """A server that scores only the tokens after the first gives the same result."""

    def short(request):
        sequence = SampledSequence([1], [-0.5], stop_reason="length")
        return SampleResponse([sequence], prompt_logprobs=expected_logprobs(PROMPT[1:]))

    server.answers = short
    try:
        assert client.compute_logprobs(PROMPT).result() == [None, *expected_logprobs(PROMPT[1:])]
    finally:
        server.answers = default_answer


def test_what_a_response_tells_besides_tokens(client):
    """A response has its usage, its timing, the request's id and one id a sequence."""
    future = client.sample(PROMPT, PARAMS, num_samples=2)
    response = future.result()
    usage, timing = response.usage, response.timing
    assert (usage.prompt_tokens, usage.sampled_tokens, usage.prompt_cache_hit_tokens) == (3, 8, 1)
    assert min(timing.queued, timing.submit, timing.wait, timing.fetch) >= 0
    assert 0 < timing.total < 10
    assert timing.total == pytest.approx(timing.queued + timing.submit + timing.wait + timing.fetch)
    assert response.request_id == future.request_id is not None
    assert tuple(sequence.sequence_id for sequence in response.sequences) == future.sample_sequence_ids


def answer_of(**fields):
    """An engine's answer with one sequence."""
    return lambda request: SampleResponse([SampledSequence([3], [-1.0], stop_reason="length")], **fields)


@pytest.mark.parametrize(
    "options",
    [
        {"include_prompt_logprobs": True},
        {"topk_prompt_logprobs": 1},
        {"topk_sample_logprobs": 1},
        {"target_prompt_logprobs": DENSE},
        {"prompt_alt_tokens_k": 1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_missing_feature(client, server, options):
    """What was asked for and does not come raises an error that names the option and the request."""
    server.answers = answer_of()
    try:
        future = client.sample(PROMPT, PARAMS, **options)
        with pytest.raises(MissingFeatureError, match=next(iter(options)).removeprefix("include_")) as caught:
            future.result()
    finally:
        server.answers = default_answer
    assert caught.value.request_id == future.request_id
    assert caught.value.may_have_run


def test_last_n_that_the_server_ignores(client, server):
    """A server that scores more of the prompt than was asked for does not know the option."""
    server.answers = answer_of(prompt_logprobs=[None, -1.0, -2.0])
    try:
        with pytest.raises(MissingFeatureError, match="prompt_logprobs_last_n"):
            client.compute_logprobs(PROMPT, prompt_logprobs_last_n=1).result()
    finally:
        server.answers = default_answer


def test_wrong_number_of_sequences(client, server):
    """Fewer sequences than asked for are an unreadable answer, not a short result."""
    server.answers = answer_of()
    try:
        with pytest.raises(tinkex.APIResponseError, match="num_samples=2"):
            client.sample(PROMPT, PARAMS, num_samples=2).result()
    finally:
        server.answers = default_answer


def test_undefined_and_absent(client, server):
    """NaN is None, an undefined top-k row is None, and what is absent stays different from what is empty."""
    topk = TopkLogprobs([None, [(4, -0.5)], [(4, -0.5), (5, -1.0)]])
    server.answers = answer_of(prompt_logprobs=[None, math.nan, -2.0], topk_prompt_logprobs=topk)
    try:
        response = client.sample(PROMPT, PARAMS, include_prompt_logprobs=True, topk_prompt_logprobs=2).result()
    finally:
        server.answers = default_answer
    assert response.prompt_logprobs == [None, None, -2.0]
    assert list(response.topk_prompt_logprobs) == list(topk)
    assert response.target_prompt_logprobs is None
    assert response.sequences[0].topk_logprobs is None


@pytest.mark.parametrize(("first", "other"), [("json", "protobuf")])
def test_both_encodings_are_equal(first, other):
    """The same answer gives equal responses, whichever way it was encoded."""
    options = {
        "include_prompt_logprobs": True, "topk_prompt_logprobs": 2, "topk_sample_logprobs": 2, "num_samples": 2,
        "target_prompt_logprobs": CSR, "prompt_alt_tokens_k": 2,
    }  # fmt: skip
    responses = []
    for encoding in (first, other):
        with FakeServer(answer=encoding) as fake, sampling(fake) as made:
            responses.append(made.sample(PROMPT, PARAMS, **options).result())
            kinds = [request.headers["Accept"] for request in fake.requests_to("retrieve_future")]
            assert kinds == ["application/x-protobuf"]
    assert strip(responses[0]) == strip(responses[1])
    assert responses[0].sequences[0].tokens == responses[1].sequences[0].tokens


@pytest.mark.parametrize("flag", [True, False])
def test_record_stability_info(flag):
    """It belongs to the client and goes with each of its samples, if it is on."""
    with FakeServer(strict=True) as fake, sampling(fake) as made:
        client = made.service.create_sampling_client(base_model=MODEL, record_stability_info=flag)
        client.sample(PROMPT, PARAMS).result()
        assert sent(fake).get("record_stability_info", False) is flag


def params(**fields):
    """Sampling parameters under their argument's name."""
    return {"sampling_params": SamplingParams(**{"max_tokens": 1, **fields})}


BAD = [
    (lambda: params(temprature=1), TypeError, "temprature"),
    (lambda: params(max_tokens=None), ValueError, "max_tokens"),
    (lambda: params(max_tokens=True), TypeError, "max_tokens"),
    (lambda: params(max_tokens=0), ValueError, "max_tokens"),
    (lambda: params(temperature=math.nan), ValueError, "temperature"),
    (lambda: params(temperature=-1), ValueError, "temperature"),
    (lambda: params(temperature="hot"), TypeError, "temperature"),
    (lambda: params(top_p=0), ValueError, "top_p"),
    (lambda: params(top_k=2.5), TypeError, "top_k"),
    (lambda: params(seed=1.5), TypeError, "seed"),
    (lambda: params(stop=["a", 1]), TypeError, "stop"),
    (lambda: {"sampling_params": {"max_tokens": 1}}, TypeError, "sampling_params"),
    (lambda: {"prompt": []}, ValueError, "prompt"),
    (lambda: {"prompt": ModelInput.empty()}, ValueError, "prompt"),
    (lambda: {"prompt": [1, -2]}, ValueError, "prompt"),
    (lambda: {"prompt": [1, 2.5]}, TypeError, "prompt"),
    (lambda: {"prompt": [1, True]}, TypeError, "prompt"),
    (lambda: {"prompt": np.array([1.5])}, TypeError, "prompt"),
    (lambda: {"prompt": "hello"}, TypeError, "prompt"),
    (lambda: {"prompt": 5}, TypeError, "prompt"),
    (lambda: {"prompt": ModelInput((ImageChunk.from_bytes(b"text"),))}, ValueError, "data"),
    (lambda: {"num_samples": True}, TypeError, "num_samples"),
    (lambda: {"num_samples": 0}, ValueError, "num_samples"),
    (lambda: {"topk_prompt_logprobs": 1.5}, TypeError, "topk_prompt_logprobs"),
    (lambda: {"topk_sample_logprobs": -1}, ValueError, "topk_sample_logprobs"),
    (lambda: {"prompt_alt_tokens_k": -1}, ValueError, "prompt_alt_tokens_k"),
    (lambda: {"include_prompt_logprobs": 1}, TypeError, "include_prompt_logprobs"),
    (lambda: {"prompt_logprobs_last_n": 1}, ValueError, "prompt_logprobs_last_n"),
    (lambda: {"prompt_logprobs_last_n": 3, "include_prompt_logprobs": True}, ValueError, "prompt_logprobs_last_n"),
    (lambda: {"prompt": [1, 2], "target_prompt_logprobs": DENSE}, ValueError, "target_prompt_logprobs"),
    (lambda: {"target_prompt_logprobs": [[1]]}, TypeError, "target_prompt_logprobs"),
    (lambda: {"timeout": True}, TypeError, "timeout"),
    (lambda: {"timeout": "5"}, TypeError, "timeout"),
    (lambda: {"timeout": math.nan}, ValueError, "timeout"),
    (lambda: {"timeout": 0}, ValueError, "timeout"),
    (lambda: {"on_full": "drop"}, ValueError, "on_full"),
    (lambda: {"queue_state_observer": print}, TypeError, "queue_state_observer"),
    (lambda: {"logprobs": True}, TypeError, "logprobs"),
]


@pytest.mark.thin(3)
@pytest.mark.parametrize(("make", "kind", "field"), BAD)
def test_bad_input(client, server, make, kind, field):
    """A wrong argument raises in the caller's thread, names the field, and nothing is sent."""
    with pytest.raises(kind, match=field):
        client.sample(**{"prompt": PROMPT, "sampling_params": PARAMS, **make()})
    assert not server.requests_to("asample")
