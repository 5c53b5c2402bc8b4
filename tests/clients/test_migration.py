"""What the migration page says of both libraries is what both do."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tinkex.testing import FakeServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]  # the first run installs the official SDK

SCRIPT = pathlib.Path(__file__).parent / "migration_claims.py"
KEY = "tml-a-key-that-nobody-else-has"
ERRORS = ["RateLimitError", "APIStatusError", "APITimeoutError", "APIConnectionError", "BillingError"]
# Each claim, then what the official SDK does, then what tinkex does.
CLAIMS = {
    "creation": (["BackcompatSamplingClientFuture", "FutureWarning"], ["SamplingClient", "str"]),
    "creation_async": ("coroutine", "future"),
    "both_models": ("SamplingClient", "SamplingClient"),
    "positions": (["SampleResponse", "TypeError", "TypeError"], ["TypeError", "SampleResponse", "SamplingParams"]),
    "awaited": (["SampleResponse", "FutureWarning"], ["SampleResponse", "SampleResponse"]),
    "callbacks": (["FutureWarning", "DoneAndNotDoneFutures"], ["NoneType", "DoneAndNotDoneFutures"]),
    "deprecated": (["FutureWarning", "FutureWarning"], ["ServerCapabilities", "none"]),
    "plain": (
        ["SampleResponse", "FutureWarning", "bool", "any/model", [True, True, False]],
        ["SampleResponse", "bool", "bool", "any/model", [True, True, False]],
    ),
    "closing": ("AwaitableConcurrentFuture", "NoneType"),
    "used_after_close": ("nothing", "ClientClosedError"),
    "top_logprobs": (["list", True, False, True], ["TopkLogprobs", True, True, False]),
    "errors": (
        [*ERRORS, "TinkerError", "APIResponseValidationError", False],
        [*ERRORS, "TinkexError", "APIResponseError", "SampleTimeoutError", True],
    ),
    "arguments": (
        {
            "unknown name": "SamplingParams",
            "temperature -1": "SamplingParams",
            "token -1": "ModelInput",
            "token 1.0": "ModelInput",
            "no max_tokens": "BadRequestError",
            "empty prompt": "BadRequestError",
            "list": "AttributeError",
        },
        {
            "unknown name": "TypeError",
            "temperature -1": "ValueError",
            "token -1": "ValueError",
            "token 1.0": "ModelInput",
            "no max_tokens": "ValueError",
            "empty prompt": "ValueError",
            "list": "SampleResponse",
        },
    ),
    "nested": ("nothing", "SampleResponse"),
    "slow_callback": ("waits", "does not wait"),
    "pickled": (True, False),
    "fork": ("nothing", "SampleResponse"),
}


@pytest.fixture(scope="module")
def pythons(official_python):
    """The interpreter for each library."""
    return {"tinker": official_python, "tinkex": sys.executable}


def outcomes(python, module, server, *claims, **environ):
    """What a library does, in a process of its own."""
    command = [python, SCRIPT, module, server.url, *claims]
    environ = {**os.environ, **environ}
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200, env=environ)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim(pythons, claim):
    """Both libraries do what the page says they do."""
    found = {}
    for module, python in pythons.items():
        with FakeServer() as server:
            found[module] = outcomes(python, module, server, claim)[claim]
    assert found == dict(zip(pythons, CLAIMS[claim], strict=True))


@pytest.mark.parametrize(
    ("options", "expected"), [({"answer": "json"}, "ValueError"), ({"sequence_ids": False}, "AssertionError")]
)
def test_other_servers(pythons, options, expected):
    """From servers that differ from the hosted one, the SDK does not sample and tinkex does."""
    found = []
    for module, python in pythons.items():
        with FakeServer(**options) as server:
            found.append(outcomes(python, module, server, "one_sample")["one_sample"])
    assert found == [expected, "SampleResponse"]


def test_polls_while_told_to_try_again(pythons):
    """The SDK polls hundreds of times in three seconds, tinkex fewer than twenty."""
    polls = {}
    for module, python in pythons.items():
        with FakeServer(latency=3.0, pending="try_again", long_poll=0.0) as server:
            assert outcomes(python, module, server, "one_sample") == {"one_sample": "SampleResponse"}
            polls[module] = server.counts["retrieve_future"]
    assert polls["tinker"] > 100
    assert polls["tinkex"] < 20


def test_polls_of_a_server_in_trouble(pythons):
    """Polls that are answered with 503 for twenty seconds: hundreds from the SDK, fewer than twenty from tinkex."""
    polls = {}
    for module, python in pythons.items():
        with FakeServer() as server:
            server.fail_next("retrieve_future", status=503, times=None)
            assert outcomes(python, module, server, "one_sample") == {"one_sample": "nothing"}
            polls[module] = server.counts["retrieve_future"]
    assert polls["tinker"] > 100
    assert polls["tinkex"] < 20


def test_handles_go_both_ways(pythons):
    """Each library samples through the other's handle."""
    with FakeServer() as server:
        handles = {module: outcomes(python, module, server, "handles")["handles"] for module, python in pythons.items()}
        for module, python in pythons.items():
            for handle in handles.values():
                found = outcomes(python, module, server, "from_handle", HANDLE=handle, TINKER_API_KEY=KEY)
                assert found == {"from_handle": "SampleResponse"}


def test_with_statement_and_headers(pythons):
    """The with statement reports success or failure, and headers of the caller's are sent, in both."""
    for module, python in pythons.items():
        with FakeServer() as server:
            found = outcomes(python, module, server, "with_statement", "headers")
            assert found == {"with_statement": "LookupError", "headers": "SampleResponse"}
            reported = [request.json for request in server.requests if request.path.endswith("/finish")]
            assert [body["reason"]["type"] for body in reported[:2]] == ["success", "errored"]
            assert server.requests_to("asample")[-1].headers["X-Mine"] == "yes"


def test_import(pythons):
    """Importing tinkex costs less than a fifth of what importing the SDK costs, and with its clients less than half."""
    seconds = {}
    for module, python in pythons.items():
        with FakeServer() as server:
            seconds.update({module: outcomes(python, module, server, "imported")["imported"]})
    (alone, with_clients), (official, _) = seconds["tinkex"], seconds["tinker"]
    assert alone < official / 5
    assert with_clients < official / 2
