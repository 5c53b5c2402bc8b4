"""The real model: needs its file, which the first test downloads (98 MB)."""

from __future__ import annotations

import ctypes
import importlib.util
import random
import threading

import numpy as np
import pytest

from tinkex.local import MODEL_NAME, fetch_model, load_tokenizer
from tinkex.local.engine import LocalEngine
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.load_runtime import load_runtime
from tinkex.local.scoring.draws import log_sum_exp
from tinkex.local.tokenization.vocabulary import Vocabulary
from tinkex.types import SampleRequest, SamplingParams

pytestmark = pytest.mark.slow

RUNTIMES = ["ik", "numpy"] if importlib.util.find_spec("ik_llama_cpp") else ["numpy"]
STORY = (
    "The lighthouse keeper counted 17 ships that night, each with its lamps lit. In the morning, the harbour was "
    'empty: nobody had seen them leave. "They were never here," said the old woman, who sold fish by the pier. '
    "But he had written all their names into his book, in blue ink, one below the other, and the ink was still wet.\n"
)


@pytest.fixture(scope="module")
def model():
    """The model's file."""
    return read_gguf(fetch_model())


@pytest.fixture(scope="module")
def tokenizer(model):
    """Its tokenizer."""
    return load_tokenizer(model.path)


@pytest.fixture(scope="module", params=RUNTIMES)
def engine(request, model):
    """An engine on each runtime."""
    return LocalEngine(load_runtime(model, request.param), Vocabulary(model), MODEL_NAME, model.context_length)


def sample(engine, prompt, num_samples=1, *, include_prompt_logprobs=False, **params):
    """Sample from the engine."""
    request = SampleRequest(prompt, SamplingParams(**params), num_samples, include_prompt_logprobs)
    return engine.sample(request, model=MODEL_NAME, cancelled=threading.Event())


def test_known_answer(engine, tokenizer):
    """The model scores a sentence as it is known to."""
    prompt = tokenizer.encode("The capital of France is")
    first, *rest = sample(engine, prompt, max_tokens=1, include_prompt_logprobs=True).prompt_logprobs
    assert first is None
    assert rest == pytest.approx([-11.54, -0.34, -2.44, -0.45], abs=0.15)


def test_greedy(engine, tokenizer):
    """The likeliest continuation is the known one."""
    response = sample(engine, tokenizer.encode("The capital of France is"), max_tokens=1, temperature=0)
    assert tokenizer.decode(response.sequences[0].tokens) == " Paris"


def test_chat_ends(engine, tokenizer):
    """Answers in a conversation end by themselves."""
    prompt = tokenizer.encode("<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n")
    response = sample(engine, prompt, 4, max_tokens=30, seed=1)
    ended = [sequence for sequence in response.sequences if sequence.stop_reason == "stop"]
    assert ended
    assert all(sequence.tokens[-1] in tokenizer.end_ids for sequence in ended)


def test_seed(engine, tokenizer):
    """The same seed gives the same samples, with the same scores."""
    prompt = tokenizer.encode("Once upon a time")
    first, again = (sample(engine, prompt, 3, max_tokens=12, seed=5).sequences for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert other.tokens == one.tokens
        assert other.logprobs == pytest.approx(one.logprobs, abs=0 if engine.runtime.name == "ik" else 1e-4)


def test_samples_score_like_prompts(engine, tokenizer):
    """A sampled token's log-probability is the one it gets as part of a prompt."""
    prompt = tokenizer.encode("Once upon a time")
    for sequence in sample(engine, prompt, 4, max_tokens=12, seed=5).sequences:
        scored = sample(engine, prompt + sequence.tokens, max_tokens=1, include_prompt_logprobs=True).prompt_logprobs
        assert scored[len(prompt) :] == pytest.approx(sequence.logprobs, abs=0.7)


def scores(model, name, tokens):
    """The log-probabilities of tokens after the first."""
    runtime = load_runtime(model, name)
    session, chunk = runtime.open(len(tokens), 1), runtime.prefill_chunk
    rows = np.concatenate([session.prefill(tokens[i : i + chunk], 0) for i in range(0, len(tokens), chunk)])[:-1]
    session.close()
    return rows[np.arange(len(rows)), tokens[1:]] - log_sum_exp(rows)


@pytest.mark.skipif("ik" not in RUNTIMES, reason="the prebuilt library is not installed")
def test_runtimes_agree(model, tokenizer):
    """On a long prompt both runtimes say nearly the same: a library that loses its way on long ones is noticed."""
    tokens = tokenizer.encode(STORY * 4)
    off = np.abs(scores(model, "ik", tokens) - scores(model, "numpy", tokens))
    assert len(tokens) > 256
    assert off.mean() < 0.15
    assert off.max() < 1.0


@pytest.mark.skipif("ik" not in RUNTIMES, reason="the prebuilt library is not installed")
def test_memory_of_an_idle_library(model, monkeypatch):
    """Ten seconds after the last session its memory is freed, not while another runs; a later one gets new."""
    timers = []

    def start(timer):
        timers.append(timer)

    monkeypatch.setattr(threading.Timer, "start", start)
    runtime = load_runtime(model, "ik")

    def session():
        return runtime.open(16, 1)

    (timer,) = timers
    assert (timer.interval, len(runtime._idle)) == (10.0, 1)
    first, second = session(), session()
    assert timer.finished.is_set()  # cancelled
    first.close()
    timer.function()
    assert (len(timers), len(runtime._idle)) == (1, 1)
    second.close()
    timers[1].function()
    assert runtime._idle == []
    again = session()
    assert again.prefill([504, 3575], 1).shape == (1, runtime.model.tokens)
    again.close()


@pytest.mark.skipif("ik" not in RUNTIMES, reason="the prebuilt library is not installed")
def test_tokenizer_agrees(model, tokenizer):
    """The tokenizer cuts any text as the library's own does."""
    from tinkex.local.model.ik_library import c_api

    loaded = load_runtime(model, "ik").model.handle

    def reference(text):
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 16))()
        return room[: c_api.llama_tokenize(loaded, data, len(data), room, len(room), False, True)]

    pool = "abc XYZ 019 \n\t\r.,!?'\"éßдж漢字🎉½Ⅷ\u00a0\u200b_-<|>"
    choose = random.Random(1)
    texts = ["".join(choose.choices(pool, k=choose.randint(1, 60))) for _ in range(500)]
    texts += [STORY, "I'm we'll DON'T", "<|im_start|>user\nhi<|im_end|>", "x<|im_end|>y", "日本語 привет ไทย عربى"]
    assert [tokenizer.encode(text) for text in texts] == [reference(text) for text in texts]
    assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == texts
