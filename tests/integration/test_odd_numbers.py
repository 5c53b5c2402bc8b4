"""Numbers that no clock, counter or library takes are refused by the name of the parameter, in the call itself."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import MODEL, PARAMS

import tinkex
from tinkex import bulk, local, testing, types

ODD = [
    *(10**400, -(10**400), 10**5000, -(10**5000), 2**63, -1, 0, 1e300, -0.5),
    *(float("nan"), float("inf"), float("-inf"), "1", b"1", 1j, [], {}, object()),
]
NUMBERS = st.one_of(st.sampled_from(ODD), st.integers(), st.floats())
NUMERIC = re.compile(r"\b(int|float)\b")
OTHERS = re.compile(r"Iterable|Sequence|Callable|tuple")  # whose items are looked at elsewhere

MADE = {
    tinkex.ClientConfig: {},
    tinkex.RetryConfig: {},
    tinkex.QueueStateLogger: {},
    types.SamplingParams: {"max_tokens": 1},
    types.SampleRequest: {"prompt": [1], "sampling_params": PARAMS},
    types.ImageAssetPointerChunk: {"location": "tinker://x", "format": "png"},
    bulk.Limits: {},
    bulk.Price: {"prompt": 1.0, "sampled": 1.0},
    testing.ServerOptions: {},
    local.LocalServer: {},
}
"""What is made of numbers, and what else it takes."""

CALLED = {
    "ServiceClient.create_sampling_client": {"base_model": MODEL},
    "ServiceClient.get_server_capabilities": {},
    "ServiceClient.get_session": {"session_id": "s"},
    "ServiceClient.get_sampler": {"sampler_id": "s"},
    "ServiceClient.get_training_run": {"training_run_id": "r"},
    "ServiceClient.weights_info": {"path": "tinker://r/weights/1"},
    "ServiceClient.list_checkpoints": {},
    "ServiceClient.list_sessions": {},
    "ServiceClient.list_training_runs": {},
    "SamplingClient.sample": {"prompt": [1], "sampling_params": PARAMS},
    "SamplingClient.sample_many": {"items": [[1]], "sampling_params": PARAMS},
    "SamplingClient.compute_logprobs": {"prompt": [1, 2]},
    "SamplingClient.get_base_model": {},
    "SamplingClient.get_tokenizer": {},
    "SampleFuture.result": {},
    "SampleFuture.exception": {},
    "FakeServer.fail_samples": {"message": "no"},
    "FakeServer.release": {},
    "FakeServer.wait_for": {"endpoint": "asample", "count": 0},
}
"""Methods that take numbers, and what else they take."""


def numeric(call):
    """The parameters of a call that are numbers, by their annotations."""
    parameters = inspect.signature(call).parameters.values()
    return [
        each.name
        for each in parameters
        if NUMERIC.search(str(each.annotation)) and not OTHERS.search(str(each.annotation))
    ]


def complaint(call, name, value, others):
    """What a call says of a number: its name, if it takes it."""
    try:
        call(**{**others, name: value})
    except (TypeError, ValueError) as error:
        return str(error)
    except (tinkex.TinkexError, TimeoutError):
        return name  # the server's word, or too little time
    return name


@pytest.mark.thin(6)
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in MADE for name in numeric(kind)],
    ids=lambda each: getattr(each, "__name__", each),
)
@given(value=NUMBERS)
def test_made_of_odd_numbers(kind, name, value):
    """Settings, parameters and servers are made of a number, or refuse it by its name."""
    said = complaint(kind, name, value, MADE[kind])
    assert name in said
    assert "4300 digits" not in said


@pytest.fixture(scope="module")
def owners():
    """What the methods are called on, by the names of their classes."""
    with testing.FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model=MODEL)
        future = client.sample([1], PARAMS)
        future.result(5)
        yield {"ServiceClient": service, "SamplingClient": client, "SampleFuture": future, "FakeServer": server}


@pytest.mark.thin(5)
@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("method", CALLED)
def test_called_with_odd_numbers(owners, method, value):
    """Calls take a number, or refuse it by its name before anything waits for it."""
    kind, _, called = method.partition(".")
    call = getattr(owners[kind], called)
    assert numeric(call)
    for name in numeric(call):
        if (method, name) != ("FakeServer.wait_for", "count") or value != 2**63:  # else it waits for so many
            said = complaint(call, name, value, CALLED[method])
            assert name in said
            assert "4300 digits" not in said


REFUSED = [10**400, 10**5000, -(10**5000), -1, float("nan"), "1", 1j, []]


@pytest.mark.parametrize("value", REFUSED, ids=range(len(REFUSED)))
def test_odd_numbers_of_runs_and_ports(tmp_path, value):
    """A run refuses such a number before it begins, and what listens before it does."""
    for name in ("max_failures", "timeout", "sync_seconds"):
        with pytest.raises((TypeError, ValueError), match=name):
            bulk.run([[1]], tmp_path / "out.jsonl", None, **{name: value})
    with pytest.raises((TypeError, ValueError), match="timeout"):
        local.fetch_model(environ={}, timeout=value)
    for listening in (testing.FakeServer, local.LocalServer):
        with pytest.raises((TypeError, ValueError), match="port"):
            listening(port=value)


MADE_BY_TINKEX = re.compile(
    r"(\w+Error|Checkpoint|Estimate|Accuracy|Summary|Progress|Result(Sequence)?|Row|Task|FlowState|Listing|Plan|Prices|"
    r"RecordedRequest|SampledAnswer|SampleReport|SampleResponse|ServiceStats|SupportedModel|Telemetry|Timing|TrainingRun|Usage|"
    r"WeightsInfo|QueueStateChanged)(\.|$)"
)
"""What the caller is given, and does not make."""
TESTED_ELSEWHERE = {
    "ClientConfig", "ModelInput.append_int", "ImageChunk", "ImageChunk.from_bytes", "ImageChunk.from_path",
    "ImageChunk.from_pil", "Limits.share", "ServiceClient.create_sampling_client_async", "ServiceClient.close",
    "SamplingClient.get_model_name", "TensorData.from_torch_sparse", "TensorData.to_numpy", "TensorData.to_torch",
    "TensorData.tolist", "TopkLogprobs.from_columns", "estimate", "run", "perform", "fetch_model",
    "FakeServer", "FakeServer.fail_next", "ToyModel", "ToyModel.ends", "ToyModel.random", "ToyModel.scored",
    "ToyModel.sequence", "ToyModel.told", "ToyTokenizer.decode_single_token_bytes",
    "Fault", "ManualClock", "ManualClock.advance", "expected_tokens",
}  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=range(len(REFUSED)))
@pytest.mark.parametrize("name", ["seed", "draws", "vocabulary", "end_token", "context"])
def test_odd_numbers_of_a_toy_model(name, value):
    """A toy model refuses such numbers, too, before it makes weights."""
    with pytest.raises((TypeError, ValueError), match=name):
        testing.ToyModel(**{name: value})


def test_every_number_is_walked():
    """All public calls with a number for a parameter are here, but for those that take it as it is."""
    walked = {kind.__name__ for kind in MADE} | set(CALLED) | TESTED_ELSEWHERE
    found = set()
    for module in (tinkex, types, bulk, testing, local):
        for each in (getattr(module, name, None) for name in module.__all__):
            if getattr(each, "__module__", "").partition(".")[0] != "tinkex" or not hasattr(each, "__name__"):
                continue
            calls = {each.__name__: each}
            if inspect.isclass(each):
                own = inspect.getmembers(each, inspect.isfunction) + inspect.getmembers(each, inspect.ismethod)
                calls |= {f"{each.__name__}.{name}": call for name, call in own if not name.startswith("_")}
            found |= {name for name, call in calls.items() if numeric(call)}
    assert not [name for name in found - walked if not MADE_BY_TINKEX.match(name)]
