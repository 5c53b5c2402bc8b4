"""Types of the SDK in and out: what is sent is what the SDK sends, and what comes back is what it gives."""

from __future__ import annotations

import base64
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import KEY

pytestmark = pytest.mark.clients

tinker = pytest.importorskip("tinker")
torch = pytest.importorskip("torch")

import tinkex  # noqa: E402
import tinkex.compat  # noqa: E402
from tinkex.compat._requests import to_model_input, to_retry_config, to_sampling_params, to_tensor  # noqa: E402
from tinkex.compat._responses import from_response  # noqa: E402
from tinkex.testing import FakeServer, expected_tokens  # noqa: E402

PROMPT = tinker.ModelInput.from_ints([11, 12, 13])
PROMPT_OF_TINKEX = tinkex.ModelInput.from_ints([11, 12, 13])
PARAMS = tinker.SamplingParams(max_tokens=3, seed=7)
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CHUNKS = [
    tinker.EncodedTextChunk(tokens=[1, 2]),
    tinker.types.ImageChunk(data=PICTURE, format="png", expected_tokens=3),
    tinker.types.ImageAssetPointerChunk(location="https://host/a.jpeg", format="jpeg", expected_tokens=4),
    tinker.DmelChunk(dmel=bytes([0, 2, 5, 1]) + bytes(20)),
]
#: What can be asked for besides tokens.
ASKED = {
    "nothing": {},
    "two samples": {"num_samples": 2},
    "prompt logprobs": {"include_prompt_logprobs": True},
    "last prompt logprobs": {"include_prompt_logprobs": True, "prompt_logprobs_last_n": 1},
    "top prompt logprobs": {"topk_prompt_logprobs": 2},
    "top sample logprobs": {"topk_sample_logprobs": 2},
    "alternatives": {"prompt_alt_tokens_k": 3},
    "dense targets": {"target_prompt_logprobs": tinker.TensorData.from_torch(torch.tensor([[5, 6], [7, -1]]))},
    "sparse targets": {
        "target_prompt_logprobs": tinker.TensorData.from_torch_sparse(
            torch.tensor([[-1] * 9, [*[-1] * 8, 7]]), pad_value=-1
        )
    },
}


def numbers(value):
    """Everything that a result says, as lists, apart from the ids of sequences, which differ with each request."""
    if dataclasses.is_dataclass(value):
        names = [name for name in dir(value) if not name.startswith("_") and name != "sequence_id"]
        found = {name: getattr(value, name) for name in names}
        return {name: numbers(each) for name, each in found.items() if not callable(each)}
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, numbers(value.tolist()), value.flags.writeable)
    if isinstance(value, list | tuple):
        return [numbers(each) for each in value]
    return "nan" if value != value else value


@pytest.mark.parametrize("asked", ASKED)
def test_results_of_the_sdk(client, official, asked):
    """A result through tinkex is of the SDK's types, and equal to the SDK's own in every attribute."""
    options = {"prompt": PROMPT, "num_samples": 1, "sampling_params": PARAMS, **ASKED[asked]}
    ours, theirs = client.sample(**options).result(10), official.sample(**options).result(10)
    assert type(ours) is type(theirs) is tinker.types.SampleResponse
    assert numbers(ours) == numbers(theirs)
    for mine, other in zip(ours.sequences, theirs.sequences, strict=True):
        assert type(mine) is type(other) is tinker.SampledSequence
        assert isinstance(mine.sequence_id, str)


@pytest.mark.parametrize("asked", ASKED)
def test_requests_of_the_sdk(client, official, server, official_server, asked):
    """The server is sent what the SDK sends, which spells out the defaults of the sampling parameters, too."""
    options = {"prompt": PROMPT, "num_samples": 1, "sampling_params": PARAMS, **ASKED[asked]}
    client.sample(**options).result(10)
    official.sample(**options).result(10)
    ours, theirs = (each.requests_to("asample")[0].json for each in (server, official_server))
    for sent in (ours, theirs):
        sent["sampling_params"] = {"temperature": 1, "top_k": -1, "top_p": 1, **sent["sampling_params"]}
        del sent["sampling_session_id"], sent["seq_id"]
    assert ours == {name: theirs[name] for name in ours}


def test_logprobs_of_the_sdk(client, official):
    """Scores of a prompt are the SDK's: a list, None first, also for the last tokens alone."""
    for options in ({}, {"prompt_logprobs_last_n": 1}):
        ours = client.compute_logprobs(PROMPT, **options).result(10)
        assert type(ours) is list
        assert ours == official.compute_logprobs(PROMPT, **options).result(10)


def test_a_prompt_of_one_token(client):
    """The top log-probabilities of a prompt of one token have its one row, as a list and as a matrix."""
    one = tinker.ModelInput.from_ints([11])
    response = client.sample(one, 1, PARAMS, topk_prompt_logprobs=2).result(10)
    assert response.topk_prompt_logprobs == [None]


def test_rows_without_columns():
    """Rows in which a server defines nothing at all stay as many as the prompt has tokens."""
    made = from_response(tinkex.SampleResponse([tinkex.SampledSequence([5])], topk_prompt_logprobs=[None, None]))
    assert made.topk_prompt_logprobs == [None, None]


def test_ids_where_the_server_gives_none():
    """Sequences have ids of text, all different, where the server gives none."""
    plain = tinkex.SampledSequence([5])
    for request_id in ("r7", None):
        made = [
            each.sequence_id
            for _ in range(2)
            for each in from_response(tinkex.SampleResponse([plain, plain], request_id=request_id)).sequences
        ]
        assert all(isinstance(each, str) and each for each in made)
        assert len(set(made)) == (2 if request_id else 4)


@pytest.mark.parametrize("like", ["tuft", "hatchery", "open_rl", "twinkle", "tinker_cloud", "skyrl", "skyrl_0.3"])
def test_servers_of_others(like):
    """Open servers, most of which the SDK cannot sample from, give its types through tinkex, ids included."""
    with FakeServer(like) as server, tinkex.compat.ServiceClient(base_url=server.url, api_key=KEY) as service:
        client = service.create_sampling_client(base_model="fake/model")
        response = client.sample(PROMPT, 2, PARAMS).result(10)
        spans = [tinker.SampledProvenanceSpan(sequence_id=each.sequence_id, length=3) for each in response.sequences]
        assert [each.tokens for each in response.sequences] == [
            expected_tokens([11, 12, 13], seed=7, sample=index, max_tokens=3) for index in range(2)
        ]
        assert len({span.sequence_id for span in spans}) == 2


def test_arrays_for_torch(client):
    """Arrays become tensors without a warning: torch has one for arrays that may not be written to."""
    response = client.sample(PROMPT, 1, PARAMS, include_prompt_logprobs=True, topk_prompt_logprobs=2).result(10)
    (sequence,) = response.sequences
    assert torch.from_numpy(sequence.tokens_np).tolist() == sequence.tokens
    assert torch.from_numpy(sequence.logprobs_np).tolist() == sequence.logprobs
    assert torch.from_numpy(response.prompt_logprobs_np).isnan().tolist() == [True, False, False]
    assert torch.from_numpy(response.topk_prompt_logprobs_np.token_ids).shape == (3, 2)


@pytest.mark.parametrize("chunk", CHUNKS, ids=lambda chunk: chunk.type)
def test_chunks(chunk):
    """Every kind of chunk becomes tinkex's of the same kind, length and contents."""
    (made,) = to_model_input(tinker.ModelInput(chunks=[chunk])).chunks
    assert type(made).__name__ == type(chunk).__name__
    assert made.length == chunk.length
    names = set(type(chunk).model_fields)
    assert {name: getattr(made, name) for name in names} == {
        name: tuple(value) if isinstance(value := getattr(chunk, name), list) else value for name in names
    }


def test_every_field_and_kind_is_known():
    """The SDK's parameters, prompts and retry configuration have no field, and no kind of chunk, that is left out."""
    assert set(tinker.SamplingParams.model_fields) == {
        "max_tokens", "seed", "stop", "temperature", "top_k", "top_p",
    }  # fmt: skip
    (kinds,) = tinker.ModelInput.model_fields["chunks"].annotation.__args__
    assert {kind.__name__ for kind in kinds.__origin__.__args__} == {type(chunk).__name__ for chunk in CHUNKS}
    from tinker.lib.retry_handler import RetryConfig

    assert {field.name for field in dataclasses.fields(RetryConfig)} >= {
        "enable_retry_logic", "retry_delay_base", "retry_delay_max", "jitter_factor",
    }  # fmt: skip
    made = to_retry_config(RetryConfig(retry_delay_base=1.5, retry_delay_max=20.0, jitter_factor=0.5))
    assert (made.base_delay, made.max_delay, made.jitter) == (1.5, 20.0, 0.5)
    assert to_retry_config(RetryConfig(enable_retry_logic=False)).max_attempts == 1
    assert to_retry_config(made) is made


@given(
    st.builds(
        tinker.SamplingParams,
        max_tokens=st.integers(1, 9999),
        seed=st.none() | st.integers(-(2**31), 2**31),
        stop=st.none()
        | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
        | st.lists(st.integers(0, 9999))
        | st.lists(st.sampled_from(["a", "\n", "é"]), min_size=1),
        temperature=st.floats(0, 10),
        top_k=st.integers(-1, 100),
        top_p=st.floats(0.01, 1),
    )
)
def test_sampling_params(params):
    """Sampling parameters keep every value."""
    made = to_sampling_params(params)
    for name in type(params).model_fields:
        value = getattr(params, name)
        assert getattr(made, name) == (tuple(value) if isinstance(value, list) else value)


@given(st.lists(st.lists(st.integers(-1, 50), min_size=4, max_size=4), min_size=1, max_size=6), st.booleans())
def test_tensors_there_and_back(rows, sparse):
    """A tensor of the SDK's, dense or sparse, comes back with the same numbers, shape and layout."""
    given = torch.tensor(rows)
    make = tinker.TensorData.from_torch_sparse if sparse else tinker.TensorData.from_torch
    theirs = make(given, pad_value=-1) if sparse else make(given)
    alternatives = tinkex.PromptAltTokens(to_tensor(theirs), tinkex.TensorData.from_list([[-0.5]]))
    back = from_response(tinkex.SampleResponse([], prompt_alt_tokens=alternatives)).prompt_alt_tokens.tokens
    assert type(back) is tinker.TensorData
    for name in ("dtype", "shape", "data", "sparse_crow_indices", "sparse_col_indices"):
        assert getattr(back, name) == getattr(theirs, name)
    assert torch.equal(back.to_torch(-1), given)


@given(
    st.lists(st.lists(st.integers(-1, 2), min_size=6, max_size=6), min_size=1, max_size=6),
    st.sampled_from([torch.int64, torch.float32, torch.bfloat16]),
    st.integers(-1, 2),
)
def test_tensors_of_tinkex(rows, dtype, pad):
    """Tensors of tinkex become, and are made of, tensors of PyTorch exactly as the SDK's are."""
    tensor = torch.tensor(rows, dtype=dtype)
    pairs = [
        (kind.from_torch(tensor), kind.from_torch_sparse(tensor, pad))
        for kind in (tinkex.TensorData, tinker.TensorData)
    ]
    for ours, theirs in zip(*pairs, strict=True):
        for name in ("dtype", "shape", "data", "sparse_crow_indices", "sparse_col_indices"):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert (list(mine) if isinstance(mine, tuple) else mine) == other
        assert torch.equal(ours.to_torch(pad), theirs.to_torch(pad))
        assert ours.to_torch(pad).dtype == theirs.to_torch(pad).dtype


def test_what_the_migration_page_says_of_types():
    """Sequences that are lists in the SDK are tuples in tinkex; the rest of the page's table of types holds, too."""
    for library, kind in ((tinker, list), (tinkex, tuple)):
        prompt = library.ModelInput.from_ints([1, 2])
        found = [
            prompt.chunks, prompt.chunks[0].tokens, library.SamplingParams(stop=["a"]).stop,
            library.TensorData([1, 2], "int64", [2]).shape,
        ]  # fmt: skip
        assert [type(each) for each in found] == [kind] * 4
    chunk = tinkex.EncodedTextChunk([3])
    assert tinkex.ModelInput((*PROMPT_OF_TINKEX.chunks, chunk)) == PROMPT_OF_TINKEX.append(chunk)
    assert [len(each.append_int(3).chunks) for each in (PROMPT, PROMPT_OF_TINKEX)] == [2, 1]
    assert tinker.TensorData([1, 2], "int64").shape is None
    assert tinkex.TensorData([1, 2], "int64").shape == (2,)
    assert tinkex.types.StopReason.__args__ == tinker.StopReason.__args__
    assert {each.__name__ for each in tinkex.types.ModelInputChunk.__args__} == {type(each).__name__ for each in CHUNKS}


def test_one_dimension():
    """A tensor of one dimension is dense in both."""
    for kind in (tinkex.TensorData, tinker.TensorData):
        made = kind.from_torch_sparse(torch.zeros(5, dtype=torch.int64))
        assert made.sparse_crow_indices is None
        assert made.to_torch().tolist() == [0] * 5


def test_what_tinkex_takes_is_taken(client):
    """Prompts and parameters of tinkex, and lists of tokens, pass as they are; what neither knows is a TypeError."""
    ours = client.sample([11, 12, 13], 1, tinkex.SamplingParams(max_tokens=3, seed=7)).result(10)
    theirs = client.sample(tinkex.ModelInput.from_ints([11, 12, 13]), 1, PARAMS).result(10)
    assert ours.sequences[0].tokens == theirs.sequences[0].tokens
    with pytest.raises(TypeError, match="prompt"):
        client.sample("text", 1, PARAMS)
    with pytest.raises(TypeError, match="sampling_params"):
        client.sample(PROMPT, 1, {"max_tokens": 3})
