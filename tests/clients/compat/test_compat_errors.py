"""Errors through tinkex are the SDK's: the classes that programs catch, with text, attributes, and pickles."""

from __future__ import annotations

import inspect
import pickle

import pytest
from serving import KEY, quick_config

pytestmark = pytest.mark.clients

tinker = pytest.importorskip("tinker")

import tinkex  # noqa: E402
import tinkex.compat  # noqa: E402
from tinkex.compat._errors import official_error, refusal  # noqa: E402
from tinkex.testing import FakeServer  # noqa: E402

PROMPT = tinker.ModelInput.from_ints([11, 12, 13])
PARAMS = tinker.SamplingParams(max_tokens=3)
STATUS = {
    400: "BadRequestError", 401: "AuthenticationError", 402: "BillingError", 403: "PermissionDeniedError",
    404: "NotFoundError", 409: "ConflictError", 413: "APIStatusError", 422: "UnprocessableEntityError",
    429: "RateLimitError", 500: "InternalServerError", 503: "InternalServerError",
}  # fmt: skip
#: An error of tinkex, and the class of the SDK's that stands for it.
KINDS = [
    *((tinkex.errors.status_error(status, "no", {"detail": "no"}), name) for status, name in STATUS.items()),
    (tinkex.errors.status_error(400, "no", "no \ud800 text"), "BadRequestError"),
    (tinkex.errors.status_error(400, "no", {"value": float("nan")}), "BadRequestError"),
    (tinkex.RequestFailedError("no", "r1", "user"), "RequestFailedError"),
    (tinkex.RequestFailedError("no"), "RequestFailedError"),
    (tinkex.APITimeoutError("late"), "APITimeoutError"),
    (tinkex.SampleTimeoutError("late", "waiting", "r1"), "APITimeoutError"),
    (tinkex.APIConnectionError("lost"), "APIConnectionError"),
    (tinkex.APIResponseError("garbled"), "APIResponseValidationError"),
    (tinkex.MissingFeatureError("left out"), "APIResponseValidationError"),
    (tinkex.ClientClosedError(), "TinkerError"),
    (tinkex.QueueFullError("full", 1.0), "TinkerError"),
    (tinkex.CredentialError("no key"), "TinkerError"),
    (tinkex.ForkedFutureError(), "TinkerError"),
]


@pytest.mark.parametrize(("error", "name"), KINDS)
def test_kinds(error, name):
    """Each error has its class of the SDK's and its text, and survives a pickle with both."""
    for made in (official_error(error), pickle.loads(pickle.dumps(official_error(error)))):
        assert isinstance(made, getattr(tinker, name))
        assert isinstance(made, tinker.TinkerError)
        assert str(made) == str(error)
        assert getattr(made, "message", str(error)) == str(error)


def test_every_error_has_its_kind():
    """No error of tinkex is forgotten above, and none of the SDK's status errors."""
    ours = {kind for kind in vars(tinkex.errors).values() if inspect.isclass(kind)}
    tested = {kind for error, _ in KINDS for kind in type(error).__mro__}
    assert {kind.__name__ for kind in ours - tested} == {"MissingExtraError", "NoThreadsError"}
    theirs = {kind for kind in [*vars(tinker).values()] if inspect.isclass(kind)}
    assert {kind.__name__ for kind in theirs if issubclass(kind, tinker.APIStatusError)} == {*STATUS.values()}


def test_what_the_errors_say():
    """A status error has its status, body and headers; a failed request its category, of the SDK's kind, and its id."""
    limited = official_error(tinkex.RateLimitError("no", 429, {"detail": "slow"}, retry_after=2.5))
    assert (limited.status_code, limited.body) == (429, {"detail": "slow"})
    assert (limited.response.json(), limited.response.headers["retry-after"]) == ({"detail": "slow"}, "2.5")
    failed = official_error(tinkex.RequestFailedError("no", "r1", "user"))
    assert failed.category is tinker.types.RequestErrorCategory.User
    assert failed.request_id == "r1"
    assert official_error(tinkex.RequestFailedError("no")).request_id == ""


def test_the_cause_is_there(client, server):
    """The cause of an error is tinkex's own, with all that it knows."""
    server.fail_samples("out of luck", category="user", times=2)
    future = client.sample(PROMPT, 1, PARAMS)
    with pytest.raises(tinker.RequestFailedError, match="out of luck") as caught:
        future.result(10)
    assert isinstance(caught.value.__cause__, tinkex.RequestFailedError)
    assert isinstance(future.exception(10).__cause__, tinkex.RequestFailedError)
    assert caught.value.request_id == caught.value.__cause__.request_id


def test_a_server_that_refuses(client, server):
    """A 400 on the way in is a BadRequestError, with the server's words."""
    server.fail_next("asample", 400, {"detail": "unknown field"})
    with pytest.raises(tinker.BadRequestError, match="unknown field"):
        client.sample(PROMPT, 1, PARAMS).result(10)


@pytest.mark.parametrize(
    ("prompt", "params", "options", "words"),
    [
        (tinker.ModelInput.empty(), PARAMS, {}, "prompt must not be empty"),
        (PROMPT, tinker.SamplingParams(), {}, "max_tokens"),
        (PROMPT, tinker.SamplingParams(max_tokens=3, temperature=-1), {}, "temperature"),
        (tinker.ModelInput.from_ints([-1]), PARAMS, {}, "token"),
        (PROMPT, PARAMS, {"num_samples": 0}, "num_samples"),
        (PROMPT, PARAMS, {"prompt_alt_tokens_k": -1}, "prompt_alt_tokens_k"),
        (PROMPT, PARAMS, {"prompt_logprobs_last_n": 1}, "prompt_logprobs_last_n"),
        (PROMPT, PARAMS, {"target_prompt_logprobs": tinker.TensorData([1.0], "float32", [1, 1])}, "int64"),
    ],
)
def test_arguments_that_the_server_would_refuse(client, server, prompt, params, options, words):
    """They are refused at once, and caught both as the server's refusal and as the SDK's own ValueError."""
    for kind in (tinker.BadRequestError, ValueError):
        with pytest.raises(kind, match=words) as caught:
            client.sample(prompt, sampling_params=params, **{"num_samples": 1, **options})
    assert caught.value.status_code == 400
    assert server.counts["asample"] == 0


def test_refusals_pickle():
    """A refusal comes out of a pickle as both kinds of error, with its text."""
    error = pickle.loads(pickle.dumps(refusal("temperature is wrong")))
    assert isinstance(error, tinker.BadRequestError)
    assert isinstance(error, ValueError)
    assert str(error) == "temperature is wrong"


def test_a_prompt_that_does_not_fit(service, client, server):
    """That a prompt does not fit is told in the words by which programs know it, by the client and by the server."""
    app = pytest.importorskip("tinker_cookbook.capture.proxy.app")
    long = tinker.ModelInput.from_ints([5] * 40_000)
    words = "Prompt length plus max_tokens exceeds the model's context window: 3 prompt tokens + 3 max_tokens > 5."
    service.get_server_capabilities()
    with pytest.raises(tinker.BadRequestError) as caught:
        client.sample(long, 1, PARAMS)
    assert server.counts["asample"] == 0
    assert app._is_context_overflow(str(caught.value))
    server.fail_next("asample", 400, {"detail": words})
    with pytest.raises(tinker.BadRequestError) as caught:
        client.sample(PROMPT, 1, PARAMS).result(10)
    assert app._is_context_overflow(str(caught.value))


def test_failures_before_the_first_sample():
    """A wrong key, a missing model and a server that is not there are errors of the SDK's kinds, when they are met."""
    with FakeServer(require_key=KEY) as server:
        with tinkex.compat.ServiceClient(base_url=server.url, api_key="tml-wrong", config=quick_config()) as service:
            creation = service.create_sampling_client(base_model="fake/model")
            with pytest.raises(tinker.AuthenticationError):
                creation.result(10)
            with pytest.raises(tinker.AuthenticationError):
                creation.sample(PROMPT, 1, PARAMS)
            with pytest.raises(ValueError, match="model_path"):
                service.create_sampling_client()
        url = server.url
    with tinkex.compat.ServiceClient(base_url=url, api_key=KEY, config=quick_config(reach_timeout=0.1)) as service:
        with pytest.raises(tinker.APIConnectionError):
            service.create_sampling_client(base_model="fake/model").result(20)
        with pytest.raises(tinker.APIConnectionError):
            service.get_server_capabilities()
