"""tinkex against SkyRL, an independent Tinker server: 0.4.0 answers in protobuf, 0.3.0 in JSON."""

from __future__ import annotations

import concurrent.futures
import json

import pytest

import tinkex
from tinkex import _wire

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first run installs a server

PROMPT = [5, 6, 7]  # few shapes: the server compiles for seconds at each new one
FOUR_TOKENS = tinkex.SamplingParams(max_tokens=4, seed=1)


@pytest.fixture(scope="module")
def service(skyrl):
    """A service client of the running server."""
    with tinkex.ServiceClient(base_url=skyrl.url, api_key="tml-any") as service:
        yield service


@pytest.fixture(scope="module")
def client(service, skyrl):
    """A sampling client of the running server's model."""
    return service.create_sampling_client(base_model=skyrl.model)


def test_capabilities(service, skyrl):
    """The server's list of models names the one it serves."""
    assert [model.model_name for model in service.get_server_capabilities().supported_models] == [skyrl.model]


def test_reads(service, client, skyrl):
    """Training runs, of which there are none, and samplers are told of; a list of all checkpoints is not kept."""
    assert list(service.list_training_runs()) == []
    assert service.get_sampler(client.sampling_session_id).base_model == skyrl.model
    with pytest.raises(tinkex.MissingFeatureError, match="no list of checkpoints"):
        next(service.list_checkpoints())
    with pytest.raises(tinkex.NotFoundError):
        service.get_training_run("nobody")


def test_sample(client):
    """A sample has as many log-probabilities as tokens, and says why it stopped."""
    response = client.sample(PROMPT, FOUR_TOKENS).result(timeout=120)
    (sequence,) = response.sequences
    assert len(sequence.tokens) == len(sequence.logprobs) == 4
    assert all(logprob < 0 for logprob in sequence.logprobs)
    assert sequence.stop_reason == "length"
    assert sequence.sequence_id is None  # SkyRL gives none
    assert response.usage.sampled_tokens == 4
    assert response.prompt_logprobs is None


def test_seed(client):
    """The same seed gives the same tokens."""
    first, second = (client.sample(PROMPT, FOUR_TOKENS).result(timeout=120) for _ in range(2))
    assert first.sequences[0].tokens == second.sequences[0].tokens
    assert first.sequences[0].logprobs == pytest.approx(second.sequences[0].logprobs, abs=1e-4)


def test_four_samples(client):
    """Four samples of one prompt are four sequences, the first of them that of the same seed alone."""
    response = client.sample(PROMPT, FOUR_TOKENS, num_samples=4).result(timeout=120)
    assert [len(sequence.tokens) for sequence in response.sequences] == [4, 4, 4, 4]
    assert len({tuple(sequence.tokens) for sequence in response.sequences}) > 1
    alone = client.sample(PROMPT, FOUR_TOKENS).result(timeout=120)
    assert response.sequences[0].tokens == alone.sequences[0].tokens


def test_prompt_logprobs(client):
    """Prompt log-probabilities have one entry a token, the first undefined, though SkyRL leaves that one out."""
    response = client.sample(PROMPT, FOUR_TOKENS, include_prompt_logprobs=True).result(timeout=120)
    assert len(response.prompt_logprobs) == len(PROMPT)
    assert response.prompt_logprobs[0] is None
    assert all(logprob < 0 for logprob in response.prompt_logprobs[1:])


def test_compute_logprobs(client):
    """`compute_logprobs` gives the same numbers as a sample that asks for them."""
    sampled = client.sample(PROMPT, FOUR_TOKENS, include_prompt_logprobs=True).result(timeout=120)
    computed = client.compute_logprobs(PROMPT).result(timeout=120)
    assert computed[0] is None
    assert computed[1:] == pytest.approx(sampled.prompt_logprobs[1:], abs=1e-3)


def test_many_at_once(client):
    """Thirty samples in flight together all come back."""
    futures = [client.sample(PROMPT, FOUR_TOKENS) for _ in range(30)]
    done = list(concurrent.futures.as_completed(futures, timeout=300))
    assert len(done) == 30
    assert {len(future.result().sequences[0].tokens) for future in done} == {4}


def test_unknown_base_model(service):
    """A base model that the server does not serve fails the sample at once, in the server's words."""
    client = service.create_sampling_client(base_model="no/such-model")
    with pytest.raises(tinkex.BadRequestError, match="no/such-model"):
        client.sample(PROMPT, FOUR_TOKENS, timeout=120).result(timeout=130)


def test_topk_prompt_logprobs(client, skyrl):
    """What SkyRL cannot do is an error: 0.4.0 refuses it, 0.3.0 leaves it out of the answer."""
    expected = tinkex.BadRequestError if skyrl.version == "0.4.0" else tinkex.MissingFeatureError
    future = client.sample(PROMPT, FOUR_TOKENS, include_prompt_logprobs=True, topk_prompt_logprobs=2)
    with pytest.raises(expected, match="topk_prompt_logprobs"):
        future.result(timeout=120)


def test_missing_max_tokens(client):
    """SkyRL needs max_tokens; its absence is an error before any request."""
    with pytest.raises(ValueError, match="max_tokens"):
        client.sample(PROMPT, tinkex.SamplingParams(seed=1))


def test_broken_future(client):
    """A token beyond the vocabulary breaks the server's future for good: the wait still ends, and says so."""
    future = client.sample([5, 6, 70_000], FOUR_TOKENS, timeout=6)
    with pytest.raises((tinkex.SampleTimeoutError, tinkex.InternalServerError), match="500"):
        future.result(timeout=60)


def test_never_answered(client, monkeypatch):
    """A request that never completes ends at its deadline, in the phase of waiting, and the client goes on."""
    encode = _wire.encode_sample

    def encode_no_samples(*args, **keywords):  # tinkex refuses to ask for none, and SkyRL never completes it
        return json.dumps({**json.loads(encode(*args, **keywords)), "num_samples": 0}).encode()

    with monkeypatch.context() as patch:
        patch.setattr(_wire, "encode_sample", encode_no_samples)
        with pytest.raises(tinkex.SampleTimeoutError) as caught:
            client.sample(PROMPT, FOUR_TOKENS, timeout=3).result(timeout=30)
    assert caught.value.phase == "waiting"
    assert caught.value.request_id is not None
    assert len(client.sample(PROMPT, FOUR_TOKENS).result(timeout=120).sequences) == 1
