"""Service and sampling clients of the SDK's kind."""

from __future__ import annotations

import asyncio
import inspect
import pickle

import pytest
from serving import KEY, quick_config

pytestmark = pytest.mark.clients

tinker = pytest.importorskip("tinker")

import tinkex  # noqa: E402
import tinkex.compat  # noqa: E402

PROMPT = tinker.ModelInput.from_ints([11, 12, 13])
PARAMS = tinker.SamplingParams(max_tokens=3, seed=7)
PATH = "tinker://run/sampler_weights/1"


@pytest.mark.parametrize("name", ["sample", "compute_logprobs"])
def test_signatures(name):
    """Methods take the SDK's arguments under the same names, in the same order, with the same defaults."""
    ours = inspect.signature(getattr(tinkex.compat.SamplingClient, name)).parameters.values()
    theirs = inspect.signature(getattr(tinker.SamplingClient, name)).parameters.values()
    assert [(each.name, each.default, each.kind) for each in ours] == [
        (each.name, each.default, each.kind) for each in theirs
    ]


def test_signatures_of_the_service():
    """So does the service client, which takes tinkex's configuration besides."""
    for name in ("create_sampling_client", "__init__"):
        ours = inspect.signature(getattr(tinkex.compat.ServiceClient, name)).parameters
        theirs = inspect.signature(getattr(tinker.ServiceClient, name)).parameters
        names = [each for each in theirs if theirs[each].kind is not inspect.Parameter.VAR_KEYWORD]
        assert [each for each in ours if each != "config"] == names
        assert [ours[each].default for each in names] == [theirs[each].default for each in names]


@pytest.mark.parametrize("name", ["SamplingClient", "ServiceClient"])
def test_every_method_has_a_counterpart(service, client, name):
    """Whatever public method the SDK's client has, ours has, or says that it is not for sampling."""
    ours = {"SamplingClient": client, "ServiceClient": service}[name]
    internal = {"create", "on_queue_state_change"}
    for method in dir(getattr(tinker, name)):
        if method.startswith("_") or method in internal:
            continue
        if not hasattr(ours, method):
            assert name == "ServiceClient"
            with pytest.raises(AttributeError, match=f"{method} is not for sampling: use tinker.ServiceClient"):
                getattr(ours, method)
    with pytest.raises(AttributeError, match="no attribute 'smaple'"):
        _ = ours.smaple


def made(response):
    """The tokens of the first sequence."""
    return response.sequences[0].tokens


def test_a_client_to_come(service, server):
    """What `create_sampling_client` gives is awaited, asked for its result, or used as it is: it is the client."""
    server.fault("create_sampling_session", "delay", seconds=0.2)
    creation = service.create_sampling_client(None, "fake/model")
    assert "to come" in repr(creation)
    expected = made(creation.sample(PROMPT, 1, PARAMS).result(10))

    async def main():
        first = await service.create_sampling_client(base_model="fake/model")
        second = await service.create_sampling_client_async(base_model="fake/model")
        third = await asyncio.create_task(service.create_sampling_client(base_model="fake/model").coroutine())
        return [made(await each.sample(PROMPT, 1, PARAMS)) for each in (first, second, third)]

    assert asyncio.run(main()) == [expected] * 3
    assert creation.result(10) is creation
    assert creation.future().result(10) is creation
    assert isinstance(creation, tinker.SamplingClient)


def test_creation_does_not_hold_up_the_loop(service, server):
    """While a client is being created, the event loop goes on."""
    server.fault("create_sampling_session", "delay", seconds=0.3)

    async def main():
        task = asyncio.create_task(service.create_sampling_client(base_model="fake/model").coroutine())
        turns = 0
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns

    assert asyncio.run(main()) > 3


def test_weights_and_models(service, server):
    """Weights come first by position, then the model; both are sent, and the retry configuration is read."""
    from tinker.lib.retry_handler import RetryConfig

    client = service.create_sampling_client(PATH, "fake/model", RetryConfig(enable_retry_logic=False), True).result(10)
    assert client.get_base_model() == "fake/model"
    assert asyncio.run(client.get_base_model_async()) == "fake/model"
    (created,) = (request.json for request in server.requests_to("create_sampling_session"))
    assert (created["model_path"], created["base_model"]) == (PATH, "fake/model")
    server.fail_next("asample", 503)
    with pytest.raises(tinker.InternalServerError):
        client.sample(PROMPT, 1, PARAMS).result(10)
    client.sample(PROMPT, 1, PARAMS).result(10)
    assert server.requests_to("asample")[-1].json["record_stability_info"] is True


def test_older_names(client, official):
    """`sample_async` and `compute_logprobs_async` are what awaiting the others is."""

    async def main():
        return await client.sample_async(PROMPT, 1, PARAMS), await client.compute_logprobs_async(PROMPT)

    response, logprobs = asyncio.run(main())
    assert made(response) == made(official.sample(PROMPT, 1, PARAMS).result(10))
    assert logprobs == official.compute_logprobs(PROMPT).result(10)


def test_capabilities(service, official_service):
    """What the server offers comes in the SDK's type, blocking and in a coroutine."""
    with pytest.warns(FutureWarning):
        theirs = official_service.get_server_capabilities()
    assert service.get_server_capabilities() == theirs
    assert asyncio.run(service.get_server_capabilities_async()) == theirs


def test_the_rest_client(service):
    """The client for reads is the SDK's own, of the same server and key."""
    rest = service.create_rest_client()
    assert isinstance(rest, tinker.RestClient)
    assert rest.get_server_capabilities().result(10).supported_models[0].model_name == "fake/model"


def test_handles(official, monkeypatch):
    """A handle of either library gives a client of the other."""
    ours = tinkex.compat.SamplingClient.from_sampler_handle(official.get_sampler_handle())
    theirs = tinker.SamplingClient.from_sampler_handle(ours.get_sampler_handle())
    clients = (official, ours, theirs)
    first, second, third = (made(each.sample(PROMPT, 1, PARAMS).result(10)) for each in clients)
    assert first == second == third
    monkeypatch.delenv("TINKER_BASE_URL")
    with pytest.raises(tinker.TinkerError, match="api_key"):
        tinkex.compat.SamplingClient.from_sampler_handle(official.get_sampler_handle())


def test_pickles(client, monkeypatch):
    """A pickle has no key in it: the copy takes that of its own environment."""
    pickled = pickle.dumps(client)
    assert KEY.encode() not in pickled
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    copy = pickle.loads(pickled)
    assert made(copy.sample(PROMPT, 1, PARAMS).result(10)) == made(client.sample(PROMPT, 1, PARAMS).result(10))


def test_the_tokenizer_is_the_sdks(service, tmp_path, monkeypatch):
    """`get_tokenizer` gives what the SDK loads: a tokenizer of transformers."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, "?"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    tokenizer = service.create_sampling_client(base_model="model").get_tokenizer()
    assert isinstance(tokenizer, transformers.PreTrainedTokenizerBase)
    assert tokenizer.encode("b") == [1]


def test_settings(server, monkeypatch):
    """The SDK's arguments arrive at the server, by position as well; headers and tinkex's own settings, too."""
    with tinkex.compat.ServiceClient(
        {"run": "7"}, "project-1", display_name="mine", base_url=server.url, api_key=KEY,
        default_headers_overrides={"X-Team": "blue"}, config=quick_config(tags=("a",)),
    ) as service:  # fmt: skip
        service.create_sampling_client(base_model="fake/model").result(10)
    created = server.requests_to("create_session")[0]
    assert created.json["user_metadata"] == {"run": "7"}
    assert (created.json["project_id"], created.json["display_name"]) == ("project-1", "mine")
    assert (created.json["tags"], created.headers["X-Team"]) == (["a"], "blue")
    with pytest.raises(tinker.TinkerError, match="tml-"):
        tinkex.compat.ServiceClient(api_key="wrong")


@pytest.mark.parametrize(("status", "detail"), [("success", None), ("errored", "loss is NaN"), ("interrupted", None)])
def test_close(server, status, detail):
    """Closing files the session under its reason; afterwards samples raise, and closing again does nothing."""
    service = tinkex.compat.ServiceClient(base_url=server.url, api_key=KEY, config=quick_config())
    client = service.create_sampling_client(base_model="fake/model").result(10)
    for _ in range(2):
        assert service.close(status, detail).result(10) is None
    (finished,) = (request.json for request in server.requests_to("finish"))
    assert finished == {"reason": {"type": status}, "detail": detail}
    with pytest.raises(tinker.TinkerError, match="closed"):
        client.sample(PROMPT, 1, PARAMS)


def test_a_block_that_fails(server):
    """The `with` statement says how the block ended, as the SDK's does, and closing waits for no one."""
    service = tinkex.compat.ServiceClient(base_url=server.url, api_key=KEY, config=quick_config())

    def block():
        with service:
            service.create_sampling_client(base_model="fake/model").result(10)
            raise KeyError

    with pytest.raises(KeyError):
        block()
    assert server.requests_to("finish")[0].json["reason"] == {"type": "errored"}
    with pytest.raises(ValueError, match="reason must be one of"):
        service.close("done").result(10)
