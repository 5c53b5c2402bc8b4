"""The sampling client as an object: what it knows, streams of samples, copies in other processes, its end."""

from __future__ import annotations

import pickle

import pytest
from serving import KEY, MODEL, PARAMS, PROMPT, make_service, sampling

import tinkex
from tinkex import ClientClosedError, CredentialError, SampleRequest, SamplingClient, SamplingParams
from tinkex.testing import FakeServer, default_answer, expected_tokens
from tinkex.tokenizers import TokenizerError


@pytest.fixture
def server():
    """A strict server."""
    with FakeServer(strict=True) as fake:
        yield fake
        assert not fake.violations


@pytest.fixture
def client(server):
    """A client of it."""
    with sampling(server) as made:
        yield made


def tokens_of(responses):
    """The first sequence of each."""
    return [response.sequences[0].tokens for response in responses]


def test_close(client):
    """A closed client takes no more samples; those under way go on, and other clients of the service too."""
    future = client.sample(PROMPT, PARAMS)
    client.client.close()
    client.client.close()
    with pytest.raises(ClientClosedError):
        client.sample(PROMPT, PARAMS)
    assert future.result(5)
    assert client.service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS).result(5)


def test_repr(client):
    """The repr names the model and the sampling session, and nothing secret."""
    assert MODEL in repr(client.client)
    assert client.sampling_session_id in repr(client.client)


@pytest.mark.parametrize("name", ["/dev/null", "../..", "~/.profile", "."])
def test_a_base_model_is_a_name_and_never_a_path(server, name):
    """Where the server calls the base model by a path, that is an error, and nothing is opened."""
    server.fail_next("create_sampling_session", 200, {"sampling_session_id": "s"})
    server.fail_next("samplers", 200, {"sampler_id": "s", "base_model": name})
    with make_service(server) as service:
        client = service.create_sampling_client(model_path="tinker://a/sampler_weights/b")
        with pytest.raises(TokenizerError, match="neither a model name"):
            client.get_tokenizer()


def test_base_model_that_the_server_does_not_tell(server):
    """Only who wants to know the base model hears that the server does not tell it."""
    server.fail_next("samplers", 404, {"detail": "no such thing"})
    server.fail_next("samplers", 200, {"sampler_id": "s"})
    with make_service(server) as service:
        client = service.create_sampling_client(model_path="tinker://a/sampler_weights/b")
        assert client.sample(PROMPT, PARAMS).result(5)
        with pytest.raises(tinkex.NotFoundError):
            client.get_base_model()
        with pytest.raises(tinkex.MissingFeatureError, match="base model"):
            client.get_base_model()
        with pytest.raises(TypeError, match="timeout"):
            client.get_base_model(timeout="1")


# Streams


def test_stream_in_order(client):
    """Results come in the order of the items, whatever order they end in."""
    prompts = [[n + 1] for n in range(40)]
    found = tokens_of(client.sample_many(prompts, PARAMS, max_in_flight=7))
    assert found == [expected_tokens(prompt, max_tokens=4) for prompt in prompts]


def test_stream_as_completed(client):
    """With ordered=False every result comes with the number of its item."""
    prompts = [[n + 1] for n in range(20)]
    pairs = list(client.sample_many(prompts, PARAMS, ordered=False, max_in_flight=5))
    assert sorted(number for number, _ in pairs) == list(range(20))
    assert all(r.sequences[0].tokens == expected_tokens(prompts[n], max_tokens=4) for n, r in pairs)


def test_stream_items(client):
    """An item is a prompt, keywords, or a request; what it leaves out comes from the defaults."""
    longer = SamplingParams(max_tokens=6)
    items = [[1], {"prompt": [2], "sampling_params": longer}, SampleRequest([3], longer, num_samples=2)]
    responses = list(client.sample_many(items, PARAMS, num_samples=3))
    assert [len(response.sequences) for response in responses] == [3, 3, 2]
    assert [len(response.sequences[0].tokens) for response in responses] == [4, 6, 6]


def test_stream_is_lazy_and_bounded(client, server):
    """No more items are read than may be in flight."""
    server.hold()
    read = []

    def items():
        for n in range(100):
            read.append(n)
            yield [n + 1]

    stream = client.sample_many(items(), PARAMS, max_in_flight=3)
    assert not read
    server.release()
    next(stream)
    assert len(read) <= 4
    stream.close()


def test_stream_errors(client, server):
    """An item's error is raised, or yielded in its place; the rest is cancelled, or goes on."""
    server.fail_samples("bad luck")
    with pytest.raises(tinkex.RequestFailedError, match="bad luck"):
        list(client.sample_many([[1], [2]], PARAMS, max_in_flight=1))
    outcomes = list(client.sample_many([[1], [-1], [2]], PARAMS, return_exceptions=True))
    assert [type(outcome).__name__ for outcome in outcomes] == ["SampleResponse", "ValueError", "SampleResponse"]


@pytest.mark.parametrize("most", [0, -1])
def test_stream_bound(client, most):
    """The bound is at least one."""
    with pytest.raises(ValueError, match="max_in_flight"):
        client.sample_many([[1]], PARAMS, max_in_flight=most)


# Copies


def test_handle(client, server):
    """A handle attaches to the same sampling session, as a clone, and holds no key."""
    text = client.handle()
    assert KEY not in text
    copy = SamplingClient.from_handle(text, api_key=KEY)
    assert copy.sampling_session_id == client.sampling_session_id
    assert copy.sample(PROMPT, PARAMS).result(5)
    assert server.requests_to("asample")[-1].json["seq_id"] >= 1_000_000_000
    copy._lifecycle.close(5.0, cancel_pending=True, reason="success")


def test_handle_of_another_server(client, monkeypatch):
    """The key of the environment goes to no server that only a handle names."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    with pytest.raises(CredentialError, match="api_key"):
        SamplingClient.from_handle(client.handle())
    with pytest.raises(ValueError, match="handle"):
        SamplingClient.from_handle("nonsense", api_key=KEY)


def test_pickle(client, server, monkeypatch):
    """A pickled client holds no key; the copy takes its own and uses other numbers."""
    data = pickle.dumps(client.client)
    assert KEY.encode() not in data
    monkeypatch.setenv("TINKER_API_KEY", "tml-of-the-copy")
    copy = pickle.loads(data)
    response = copy.sample(PROMPT, PARAMS).result(5)
    assert response.sequences[0].tokens == default_answer(SampleRequest(PROMPT, PARAMS)).sequences[0].tokens
    last = server.requests_to("asample")[-1]
    assert last.key == "tml-of-the-copy"
    assert last.json["seq_id"] >= 1_000_000_000
    copy._lifecycle.close(5.0, cancel_pending=True, reason="success")


def test_unpickling_while_the_last_client_goes(client, monkeypatch):
    """A copy that is made in the very moment in which the last one goes has a service of its own, which goes on."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    data = pickle.dumps(client.client)
    last = pickle.loads(data)
    ending, hold = last._lifecycle, last._lifecycle.hold

    def too_late(held):
        ending.release(last._reference._held)
        return hold(held)

    monkeypatch.setattr(ending, "hold", too_late)
    copy = pickle.loads(data)
    assert ending.closed
    assert copy._lifecycle is not ending
    assert copy.sample(PROMPT, PARAMS).result(5)
    copy._lifecycle.close(5.0, cancel_pending=True, reason="success")


def test_a_pending_future_keeps_what_it_needs(server):
    """A chain of calls whose objects nobody keeps still ends."""

    def chain():
        service = make_service(server)
        return service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS), service

    future, service = chain()
    assert future.result(5)
    service.close()
