"""The program of docs/recipes/tool_loop.py, as it stands."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest
from small_tokenizers import byte_level

import tinkex
from tinkex.chat import ChatFormat
from tinkex.testing import FakeServer

pytest.importorskip("jinja2")
RECIPE = pathlib.Path(__file__).parents[2] / "docs" / "recipes" / "tool_loop.py"


@pytest.fixture(scope="module")
def recipe():
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("tool_loop", RECIPE)
    module = sys.modules["tool_loop"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["tool_loop"]


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level tokenizer with the control tokens of the recipe's template."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"])
    return tokenizer


def scripted(tokenizer):
    """A model that calls the tool once, with its own spelling of JSON, and then says what it has heard."""

    def answers(request):
        text = tokenizer.decode(request.prompt.to_ints(), skip_special_tokens=False)
        if "<|im_start|>tool" in text:
            said = text.rpartition("<|im_start|>tool\n")[2].partition("<|im_end|>")[0] + "<|im_end|>"
        else:
            asked = text.rpartition("What is ")[2].partition("?")[0]
            call = f'{{"name":"calculate",  "arguments":{{"expression":"{asked}"}}}}'
            said = f"Let me see.\n<tool_call>\n{call}\n</tool_call><|im_end|>"
        tokens = tokenizer.encode(said).ids
        sequence = tinkex.SampledSequence(tokens, [-token / 1024 for token in tokens], stop_reason="stop")
        return tinkex.SampleResponse([sequence] * request.num_samples)

    return answers


@pytest.mark.slow
def test_rollouts_are_exact_to_the_token(recipe, tokenizer):
    """Each prompt begins with the one before and what was sampled from it, and each sampled token has its logprob."""
    with FakeServer(answers=scripted(tokenizer)) as server:
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
            client = service.create_sampling_client(base_model="any/model")
            chat = ChatFormat(tokenizer, chat_template=recipe.TEMPLATE)
            groups = recipe.collect(client, chat, [recipe.Sums(number) for number in range(recipe.ENVIRONMENTS)])
        prompts = [request.json["prompt"]["chunks"] for request in server.requests_to("asample")]
    assert [len(group) for group in groups] == [8] * 32
    assert len(prompts) == 32 + 32 * 8
    rollouts = [rollout for group in groups for rollout in group]
    for rollout in rollouts:
        text = tokenizer.decode(rollout.tokens, skip_special_tokens=False)
        assert text.count('{"name":"calculate",  "arguments":') == 1  # as sampled, and not as a template writes it
        assert rollout.reward == 1
        scored = [(token, logprob) for token, logprob in zip(rollout.tokens, rollout.logprobs, strict=True)]
        assert all(logprob in (None, -token / 1024) for token, logprob in scored)
    longest = {tuple(chunk["tokens"]) for (chunk,) in prompts if len(chunk["tokens"]) > 150}
    assert all(any(tuple(rollout.tokens[: len(tokens)]) == tokens for rollout in rollouts) for tokens in longest)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_logprobs_stay_true(recipe):
    """On a real model, what a rollout says of a token is what the model gives to it behind all that stands before."""
    pytest.importorskip("ik_llama_cpp")
    with tinkex.ServiceClient.local() as service:
        client = service.create_sampling_client(base_model="HuggingFaceTB/SmolLM2-135M-Instruct")
        chat = ChatFormat(client.get_tokenizer(), chat_template=recipe.TEMPLATE)
        rollouts = [rollout for group in recipe.collect(client, chat, [recipe.Sums(5)]) for rollout in group]
        for rollout in rollouts:
            again = client.compute_logprobs(rollout.tokens).result()
            off = [abs(told - new) for told, new in zip(rollout.logprobs, again, strict=True) if told is not None]
            assert sum(off) / len(off) < 0.15  # quantised, one token or many at a time differ by so much
    assert sum(logprob is not None for rollout in rollouts for logprob in rollout.logprobs) > 50
