"""Programs of tinker-cookbook 0.6.1 that sample do through tinkex what they do through the SDK, unchanged.

Each use of a sampling client in the cookbook has its test; results are compared with those of the SDK's own client.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import sys
import warnings

import pytest
from serving import KEY

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

pytest.importorskip("tinker_cookbook")
tinker = pytest.importorskip("tinker")
torch = pytest.importorskip("torch")
sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120 - so that spawned processes find the parts as well

from cookbook_parts import MODEL, Group, tokenizer  # noqa: E402
from tinker_cookbook import completers, renderers, tokenizer_utils  # noqa: E402
from tinker_cookbook.capture import instrument  # noqa: E402
from tinker_cookbook.capture.exporter import CaptureExporter  # noqa: E402
from tinker_cookbook.distillation import train_off_policy, train_on_policy  # noqa: E402
from tinker_cookbook.eval.custom_evaluators import CustomEvaluator  # noqa: E402
from tinker_cookbook.recipes.decisions.decision import DecisionRendering, sample_decision  # noqa: E402
from tinker_cookbook.rl import metrics, rollouts  # noqa: E402
from tinker_cookbook.supervised.nll_evaluator import SamplerNLLEvaluator  # noqa: E402
from tinker_cookbook.utils import trace  # noqa: E402

import tinkex.compat  # noqa: E402
from tinkex.compat import CompatFuture  # noqa: E402

PROMPT = tinker.ModelInput.from_ints([11, 12, 13])


@pytest.fixture(scope="module", autouse=True)
def offline_tokenizer():
    """The tokenizer of the model, by the cookbook's own registry."""
    tokenizer_utils.register_tokenizer(MODEL, tokenizer)
    yield
    tokenizer_utils.unregister_tokenizer(MODEL)


@pytest.fixture
def renderer():
    """The cookbook's renderer for the model."""
    return renderers.get_renderer("qwen3", tokenizer())


@pytest.fixture
def both(client, official):
    """Runs a program with the SDK's client and with ours; what both give is equal, and is returned."""

    def both(program):
        theirs, ours = (asyncio.run(program(each)) for each in (official, client))
        assert ours == theirs
        return ours

    return both


def datum(tokens, **inputs):
    """A datum: the tokens but for the last, and what belongs to each of the others."""
    filled = {"target_tokens": torch.tensor(tokens[1:]), **inputs}
    return tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={name: tinker.TensorData.from_torch(value) for name, value in filled.items()},
    )


def scored():
    """Two datums with what the scoring functions want."""
    inputs = {
        "logprobs": torch.tensor([-0.5, -0.25, -1.0]),
        "mask": torch.tensor([0.0, 1.0, 1.0]),
        "advantages": torch.zeros(3),
    }
    return [datum([20, 21, 22, 23], **inputs), datum([30, 31, 32, 33], **inputs)]


def test_token_completer(both):
    """The token completer gets tokens, log-probabilities, the reason to stop and the id of the sequence."""

    async def program(client):
        found = await completers.TinkerTokenCompleter(client, max_tokens=5, temperature=0.5)(PROMPT, [2])
        assert isinstance(found.sequence_id, str)
        return found.tokens, found.logprobs, found.stop_reason, found.prompt_cache_hit_tokens

    tokens, logprobs, *_ = both(program)
    assert len(tokens) == len(logprobs) == 5


def test_message_completer(both, renderer):
    """The message completer, which passes the prompt by position, gets a message."""
    message = {"role": "user", "content": "Rain in Oslo?"}

    async def program(client):
        return await completers.TinkerMessageCompleter(client, renderer, max_tokens=5)([message])

    assert both(program)["role"] == "assistant"


def test_custom_evaluator(both):
    """An evaluator that samples question by question counts what is right."""
    questions = [{"input": "Rain?", "output": ""}, {"input": "Sun?", "output": "\0"}]
    evaluator = CustomEvaluator(questions, lambda response, wanted: wanted in response, MODEL, "qwen3")
    assert both(evaluator) == {"accuracy": 0.5}


def test_nll_evaluator(both):
    """The evaluator of held-out data awaits `compute_logprobs`."""
    data = [datum([20, 21, 22, 23], weights=torch.tensor([0.0, 1.0, 1.0]))] * 3
    assert both(SamplerNLLEvaluator(data))["test/nll"] > 0


def test_kl_scoring(both):
    """The KL metrics of reinforcement learning gather coroutines of samples with prompt log-probabilities."""

    async def program(client):
        data = scored()
        penalty, usage = await metrics.incorporate_kl_penalty(data, client, 0.1, 0.9)
        moved, _ = await metrics.compute_post_kl(data, client)
        return penalty, moved, usage.prefill_uncached, [each.loss_fn_inputs["advantages"].data for each in data]

    penalty, moved, uncached, _ = both(program)
    assert penalty["kl_policy_base"] != 0
    assert uncached > 0
    assert "kl_pre_post_v1" in moved


def test_on_policy_distillation(both):
    """On-policy distillation gathers coroutines of `compute_logprobs`, of a teacher for each datum."""

    async def program(client):
        data = scored()
        found = await train_on_policy.incorporate_kl_penalty(data, [client] * 2, [0, 1], 0.1, 0.0)
        return found, [each.loss_fn_inputs["advantages"].data for each in data]

    assert "teacher_kl" in both(program)[0]


def test_off_policy_distillation(both):
    """Off-policy distillation takes the teacher's likeliest tokens: a list with slices, and rows of pairs."""

    async def program(client):
        data = [datum([20, 21, 22, 23], weights=torch.tensor([0.0, 1.0, 1.0]))] * 3
        found = await train_off_policy._collect_topk_batch([client] * 3, data, 2)
        return [{name: tensor.tolist() for name, tensor in each.loss_fn_inputs.items()} for each in found]

    (first, *_) = both(program)
    assert [len(row) for row in first["target_tokens"]] == [2, 2, 2]


def test_decisions(both):
    """The decisions recipe scores sparse targets, and reads the answer as a tensor of torch."""
    rendering = DecisionRendering([*range(40, 60)], 19, {"yes": 7, "no": 8, "perhaps": 9})

    async def program(client):
        return await sample_decision(client, rendering)

    assert sum(both(program).values()) == pytest.approx(1)


# --- Groups of rollouts


async def rollout(client):
    """The tokens, rewards and processes of a group."""
    group = await rollouts.do_group_rollout_and_filter_constant_reward(client, Group(), 4, 1.0, False)
    steps = [trajectory.transitions[0] for trajectory in group.trajectories_G]
    return [(step.ac.tokens, step.ac.logprobs, step.reward) for step in steps], {step.metrics["pid"] for step in steps}


def test_rollouts_in_process(both):
    """A group of environments is rolled out in this process."""

    async def program(client):
        return (await rollout(client))[0]

    assert len(both(program)) == 4


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_rollouts_in_a_pool(client, monkeypatch, method):
    """A group is rolled out in a pool of processes, spawned or forked, to which the client is sent as a pickle."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    expected, here = asyncio.run(rollout(client))
    assert here == {os.getpid()}
    if method == "fork":  # the SDK hangs there, and the cookbook refuses such pools whatever the client is
        monkeypatch.setattr(rollouts, "_check_executor_start_method", lambda executor: None)

    async def program():
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            rollouts.set_rollout_executor(pool)
            found = await asyncio.gather(*[rollout(client) for _ in range(3)])
            rollouts.set_rollout_executor(None)
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads, which are the point
        found = asyncio.run(program())
    assert [steps for steps, _ in found] == [expected] * 3
    assert os.getpid() not in set().union(*[pids for _, pids in found])


# --- What looks on


class Records:
    """A sink that keeps what is exported."""

    def __init__(self):
        self.kept = []

    def export(self, records, timeout=None):
        """Keep them."""
        self.kept += records


@pytest.mark.parametrize("first", ["install", "capture"])
def test_capture(official, first, tmp_path):
    """Capture and tracing record the calls, whether they were set up before or after tinkex."""
    sink = Records()
    exporter = CaptureExporter(sink)
    steps = [tinkex.compat.install, lambda: instrument.instrument_tinker(exporter)]
    try:
        for step in steps if first == "install" else reversed(steps):
            step()
        trace.trace_init(output_file=str(tmp_path / "trace.jsonl"))
        future = official.sample(PROMPT, 1, tinker.SamplingParams(max_tokens=3))
        response = future.result(10)
        assert isinstance(future, CompatFuture)
        with pytest.raises(tinker.BadRequestError):
            official.sample(tinker.ModelInput.empty(), 1, tinker.SamplingParams(max_tokens=3))
        assert exporter.wait_pending(10)
        assert exporter.force_flush(10)
    finally:
        trace.trace_shutdown()
        instrument.uninstrument_tinker()
        tinkex.compat.uninstall()
        exporter.shutdown()
    refused, done = sorted(sink.kept, key=lambda record: record["status"])
    assert (done["status"], done["prompt_tokens"]) == ("ok", [11, 12, 13])
    assert done["samples"][0]["tokens"] == response.sequences[0].tokens
    assert refused["status"] == "error"
    assert (exporter.dropped, exporter.callback_failures) == (0, 0)
    assert '"sample"' in (tmp_path / "trace.jsonl").read_text()


def test_capture_proxy(client, renderer):
    """The proxy for chat programs answers, and tells a prompt that is too long from other refusals."""
    from aiohttp import ClientSession, web
    from tinker_cookbook.capture.proxy.app import ProxyDeps, make_app

    async def program():
        runner = web.AppRunner(make_app(ProxyDeps(renderer, client, "model")))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/chat/completions"
        found = []
        async with ClientSession() as session:
            for text in ("Rain?", "Rain? " * 9_000):
                body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
                async with session.post(url, json=body) as response:
                    found.append((response.status, await response.json()))
        await runner.cleanup()
        return found

    answered, refused = asyncio.run(program())
    assert answered[0] == 200
    assert answered[1]["usage"]["completion_tokens"] == 5
    assert refused[0] == 400
    assert "prompt is too long" in str(refused[1])


def test_litellm(service, official_service, server, official_server, monkeypatch):
    """The LiteLLM provider answers chats, blocking and in coroutines, and gives LiteLLM its own kinds of errors."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of LiteLLM's own making
        litellm = pytest.importorskip("litellm")
        from tinker_cookbook.third_party.litellm.provider import TinkerLiteLLMProvider

        texts = []
        for each, at in ((official_service, official_server), (service, server)):
            provider = TinkerLiteLLMProvider(each)
            monkeypatch.setattr(litellm, "custom_provider_map", [{"provider": "tinker", "custom_handler": provider}])
            asked = {
                "model": "tinker/mine",
                "messages": [{"role": "user", "content": "Rain?"}],
                "base_model": MODEL,
                "max_tokens": 5,
            }
            texts.append(litellm.completion(**asked).choices[0].message.content)
            texts.append(asyncio.run(litellm.acompletion(**asked)).choices[0].message.content)
            at.fail_next("asample", 400, {"detail": "unlucky"})
            with pytest.raises(litellm.exceptions.BadRequestError, match="unlucky"):
                litellm.completion(**asked)
        assert len(set(texts)) == 1
