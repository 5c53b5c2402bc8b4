"""Every server we know of, as far as a fake one can stand in for it, and the rules that cover them all."""

from __future__ import annotations

import pytest
from serving import KEY, MODEL, PARAMS, PROMPT, Collector, advance_until, make_service, result_of, sampling, until

import tinkex
from tinkex import QueueState
from tinkex.errors import is_user_error
from tinkex.testing import FakeServer, ManualClock, expected_logprobs, expected_tokens

SERVERS = ("tinker", "tuft", "hatchery", "open_rl", "twinkle", "tinker_cloud", "skyrl", "skyrl_0.3")


@pytest.fixture(params=SERVERS)
def like(request):
    """The name of one server."""
    return request.param


@pytest.fixture
def server(like):
    """A strict server that imitates it and wants a key."""
    with FakeServer(like, strict=True, require_key=KEY) as fake:
        yield fake
        assert not [each for each in fake.violations if each.rule != "poll_interval"]


@pytest.mark.thin(8)
def test_samples(server):
    """Sampling works: the tokens, one sequence or several, with a seed, with log-probabilities."""
    with sampling(server) as client:
        response = client.sample(PROMPT, PARAMS).result(5)
        assert response.sequences[0].tokens == expected_tokens(PROMPT, max_tokens=4)
        assert response.sequences[0].logprobs == expected_logprobs(response.sequences[0].tokens)
        several = client.sample(PROMPT, tinkex.SamplingParams(max_tokens=3, seed=5), num_samples=4).result(5)
        found = [sequence.tokens for sequence in several.sequences]
        assert found == [expected_tokens(PROMPT, seed=5, sample=n, max_tokens=3) for n in range(4)]
        assert client.compute_logprobs(PROMPT).result(5) == [None, *expected_logprobs(PROMPT[1:])]
        assert client.sample(PROMPT, tinkex.SamplingParams(max_tokens=2, stop=".")).result(5)


@pytest.mark.thin(8)
def test_a_session_ends_everywhere(like, server):
    """The session is kept alive and finished, also where the server knows neither flags nor the end of sessions."""
    clock = ManualClock()
    service = make_service(server, clock=clock)
    client = result_of(service.create_sampling_client_async(base_model=MODEL), clock, step=0.1)
    clock.advance(10.0)
    server.wait_for("session_heartbeat")
    assert result_of(client.sample(PROMPT, PARAMS), clock, step=0.1)
    service.close()
    assert server.counts["finish"] == 1


@pytest.mark.thin(8)
def test_failures(like, server):
    """A failed sample is an error at once, with the server's words, typed, and never sent again."""
    with sampling(server) as client:
        server.fail_samples("prompt out of luck", category="user", status=400)
        with pytest.raises(tinkex.APIError, match="prompt out of luck") as caught:
            client.sample(PROMPT, PARAMS).result(5)
        assert is_user_error(caught.value)
        assert server.counts["asample"] == 1


@pytest.mark.thin(8)
def test_waiting(like):
    """A sample that takes its time is waited for, however the server says "not yet"."""
    with FakeServer(like, long_poll=0.02, strict=True) as fake, sampling(fake) as client:
        fake.hold()
        future = client.sample(PROMPT, PARAMS)
        fake.wait_for("retrieve_future", 3 + (like == "hatchery"))
        assert not future.done()
        fake.release()
        assert future.result(5)


@pytest.mark.thin(8)
def test_wrong_key(like):
    """A wrong key is an authentication or permission error, and a missing one the former."""
    with FakeServer(like, require_key="tml-other") as fake:
        with make_service(fake) as service, pytest.raises(tinkex.APIStatusError) as wrong:
            service.create_sampling_client(base_model=MODEL)
        assert isinstance(wrong.value, tinkex.PermissionDeniedError if like == "tuft" else tinkex.AuthenticationError)
        with make_service(fake, api_key=None) as service, pytest.raises(tinkex.AuthenticationError):
            service.create_sampling_client(base_model=MODEL)


@pytest.mark.thin(8)
def test_many_at_once(like):
    """Samples by the dozen at once all end with their own tokens."""
    with FakeServer(like, latency=0.005, long_poll=0.05) as fake, sampling(fake) as client:
        futures = [client.sample([n + 1], PARAMS) for n in range(60)]
        for number, future in enumerate(futures):
            assert future.result(20).sequences[0].tokens == expected_tokens([number + 1], max_tokens=4)


# The rules that cover them all


@pytest.mark.thin(8)
def test_rule_1_only_what_differs(server):
    """Only fields that differ from their default are sent, plus user_metadata and seq_id."""
    with sampling(server) as client:
        client.sample(PROMPT, PARAMS).result(5)
    body = server.requests_to("asample")[0].json
    body.pop("type", None)
    assert sorted(body) == ["prompt", "sampling_params", "sampling_session_id", "seq_id"]
    assert body["sampling_params"] == {"max_tokens": 4}
    session = server.requests_to("create_session")[0].json
    assert session["user_metadata"] == {}


@pytest.mark.parametrize("status", [200, 201, 202, 206, 299])
def test_rule_1_any_2xx_is_success(status):
    """Any 2xx is a success."""
    with FakeServer(created_status=status, accepted_status=status) as fake, sampling(fake) as client:
        assert client.sample(PROMPT, PARAMS).result(5)


@pytest.mark.parametrize(
    "options",
    [
        {"answer": "protobuf"},
        {"answer": "json"},
        {"answer": "json", "answer_type": False},
        {"answer": "json", "sequence_ids": False},
        {"answer": "json", "wrapped": True},
        {"answer": "json", "inline": True},
    ],
    ids=str,
)
def test_rule_2_the_content_type_decides(options):
    """The decoder follows the answer's Content-Type; JSON may lack its type, and sequences their ids."""
    with FakeServer(**options) as fake, sampling(fake) as client:
        response = client.sample(PROMPT, PARAMS).result(5)
        assert response.sequences[0].tokens == expected_tokens(PROMPT, max_tokens=4)
        nameless = not options.get("sequence_ids", True) or options.get("inline", False)
        assert (response.sequences[0].sequence_id is None) is nameless


def test_rule_2_extra_keys():
    """Keys that nobody knows are passed over."""
    sequence = {"tokens": [7], "stop_reason": "stop", "mood": "good"}
    body = {"type": "sample", "novelty": {"deep": [1]}, "sequences": [sequence]}
    with FakeServer() as fake, sampling(fake) as client:
        fake.fail_next("retrieve_future", 200, body)
        assert client.sample(PROMPT, PARAMS).result(5).sequences[0].tokens == [7]


@pytest.mark.parametrize("missing", [["client/config"], ["client/dynamic_config"], ["client/config", "samplers"]])
def test_rule_3_missing_endpoints(missing):
    """A server without flags has the default ones, and one without samplers is only missed by who asks for them."""
    with FakeServer(missing=frozenset(missing)) as fake, make_service(fake) as service:
        client = service.create_sampling_client(model_path="tinker://a/sampler_weights/b")
        assert client.sample(PROMPT, PARAMS).result(5)
        if "samplers" in missing:
            with pytest.raises(tinkex.NotFoundError):
                client.get_base_model()


def test_rule_4_sampling_session_as_a_future():
    """An answer to create_sampling_session that only promises one is redeemed through retrieve_future."""
    with FakeServer(session_future=True, strict=True) as fake, sampling(fake) as client:
        assert ":sampler:" in client.sampling_session_id
        assert fake.counts["retrieve_future"] == 1


@pytest.mark.thin(8)
@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize("pending", ["408", "try_again"])
def test_rule_5_not_yet(pending, state):
    """408 and try_again mean: ask again, not too soon, within the deadline; observers hear of a queue state."""
    clock, seen = ManualClock(), Collector()
    with FakeServer(long_poll=0.0, pending=pending, pending_state=state) as fake:
        fake.set_queue_state("paused_capacity", "full")
        fake.hold()
        with sampling(fake, clock=clock, min_poll_interval=0.25, observers=[seen]) as client:
            future = client.sample(PROMPT, PARAMS, timeout=10)
            advance_until(clock, future.done, step=0.25)
            with pytest.raises(tinkex.SampleTimeoutError):
                future.result()
            assert 4 <= fake.counts["retrieve_future"] <= 18
            if state:
                assert seen.wait_for(1)[0].state is QueueState.PAUSED_CAPACITY
                assert future.queue_state_reason == "full"
            else:
                assert not seen.events


def test_rule_5_a_promise_that_is_never_known():
    """A server that says "try again" of a request it does not know is left at the deadline."""
    clock = ManualClock()
    with FakeServer("open_rl", long_poll=0.0) as fake, sampling(fake, clock=clock) as client:
        fake.fail_next("asample", 200, {"request_id": "lost"})
        future = client.sample(PROMPT, PARAMS, timeout=30)
        with pytest.raises(tinkex.SampleTimeoutError) as caught:
            result_of(future, clock, step=1.0)
        assert caught.value.request_id == "lost"


@pytest.mark.parametrize("key", ["detail", "error", "error_message", "message"])
def test_rule_6_json_errors_are_final(key):
    """A JSON error on a poll is the sample's own, in whichever field it stands."""
    with FakeServer() as fake, sampling(fake) as client:
        fake.fail_next("retrieve_future", 400, {key: "no luck"})
        with pytest.raises(tinkex.BadRequestError, match="no luck"):
            client.sample(PROMPT, PARAMS).result(5)
        assert fake.counts["retrieve_future"] == 1


@pytest.mark.parametrize(
    ("said", "category"),
    [("user_error", "user"), ("User", "user"), ("USER", "user"), ("server_error", "server"), ("odd", "unknown")],
)
def test_rule_6_categories(said, category):
    """Whose fault it is, in whichever spelling."""
    with FakeServer() as fake, sampling(fake) as client:
        fake.fail_next("retrieve_future", 200, {"error": "no luck", "category": said})
        with pytest.raises(tinkex.RequestFailedError) as caught:
            client.sample(PROMPT, PARAMS).result(5)
        assert caught.value.category == category


def test_rule_6_proxies():
    """An empty 400 is a proxy's: asked again, a bounded number of times."""
    with FakeServer() as fake, sampling(fake) as client:
        fake.fail_next("retrieve_future", 400, times=None)
        with pytest.raises(tinkex.APIError):
            client.sample(PROMPT, PARAMS).result(5)
        assert fake.counts["retrieve_future"] == 4


def test_rule_7_what_may_run_twice():
    """A submission that is sent again keeps its number, and an error after one that may have run says so."""
    with FakeServer("skyrl") as fake, sampling(fake) as client:
        fake.fault("asample", "reset_after")
        assert client.sample(PROMPT, PARAMS).result(5)
        assert [request.json["seq_id"] for request in fake.requests_to("asample")] == [0, 0]
        fake.fault("asample", "reset_after", times=None)
        with pytest.raises(tinkex.APIConnectionError) as caught:
            client.sample(PROMPT, PARAMS).result(5)
        assert caught.value.may_have_run
        until(lambda: client.service.stats().in_flight == 0)


def test_metadata_that_a_server_refuses():
    """A server that does not know allow_metadata_only is not sent it again."""
    body = {"detail": [{"type": "extra_forbidden", "loc": ["body", "allow_metadata_only"], "msg": "Extra inputs"}]}
    with FakeServer() as fake, sampling(fake) as client:
        fake.fail_next("retrieve_future", 422, body, when=lambda request: "allow_metadata_only" in request.json)
        assert client.sample(PROMPT, PARAMS).result(5)
        assert client.sample(PROMPT, PARAMS).result(5)
        asked = ["allow_metadata_only" in request.json for request in fake.requests_to("retrieve_future")]
        assert asked == [True, False, False]


@pytest.mark.parametrize("field", ["model_name", "model_id", "plain"])
def test_capabilities(field):
    """Models are named in three ways."""
    with FakeServer(model_field=field) as fake, make_service(fake) as service:
        (model,) = service.get_server_capabilities().supported_models
        assert model.model_name == MODEL
