from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
from tiny_model import write_model

from tinkex._server.engine import EngineError
from tinkex.local.engine import LocalEngine
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.numpy_runtime import NumpyRuntime
from tinkex.local.prompt_cache import PromptCache
from tinkex.local.tokenization.vocabulary import Vocabulary
from tinkex.types import SampleRequest, SamplingParams

PROMPT = [5, 80, 81, 200, 7, 7, 42]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """An engine over the tiny model."""
    model = read_gguf(write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))
    return LocalEngine(NumpyRuntime(model), Vocabulary(model), "tiny", model.context_length)


def answer(engine, seed):
    """Two answers of a seed, as an engine is asked for them by its server."""
    request = SampleRequest(PROMPT, SamplingParams(max_tokens=8, seed=seed), 2)
    return engine.sample(request, model="tiny", cancelled=threading.Event())


def test_seed_under_load(engine):
    """Other samples at the same time change no token, though their steps are computed together."""
    alone = [answer(engine, seed) for seed in range(4)]
    together = [None] * 4

    def work(seed):
        together[seed] = answer(engine, seed)

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(together, alone, strict=True):
        for found, expected in zip(one.sequences, other.sequences, strict=True):
            assert found.tokens == expected.tokens
            assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


LONG = [*PROMPT, *range(10, 50)]


def scored(engine, prompt, cancelled=None):
    """A prompt's scores."""
    request = SampleRequest(prompt, SamplingParams(max_tokens=1), 1, include_prompt_logprobs=True)
    return engine.sample(request, model="tiny", cancelled=cancelled or threading.Event())


class Paused:
    """Stands in a runtime's prefill: the first call waits until it is let go."""

    def __init__(self, monkeypatch, runtime):
        self.calls = []
        self.started, self.go_on = threading.Event(), threading.Event()
        self._forward = runtime.forward
        monkeypatch.setattr(runtime, "forward", self)

    def __call__(self, spans, first):
        self.calls.append(sum(len(tokens) for _, tokens in spans))
        self.started.set()
        assert self.go_on.wait(30)
        return self._forward(spans, first)


def test_a_prefix_is_computed_once(engine, monkeypatch):
    """Requests that come while one with the same beginning is computed wait for it, and compute the rest alone."""
    engine = attrs.evolve(engine, prompts=PromptCache(10**7))
    paused = Paused(monkeypatch, engine.runtime)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(scored, engine, [*LONG, 1, 2])
        assert paused.started.wait(30)
        others = [pool.submit(scored, engine, [*LONG, token, 2]) for token in (3, 4, 5)]
        unrelated = pool.submit(scored, engine, LONG[20:])
        while len(paused.calls) < 2:
            pass
        paused.go_on.set()
        found = [each.result(30).prompt_cache_hit_tokens for each in (first, *others, unrelated)]
    assert found == [0, 46, 46, 46, 0]
    assert sorted(paused.calls) == [3, 3, 3, 27, 49]


def test_cancelled_while_it_waits(engine, monkeypatch):
    """A request that waits for another's prefix can be cancelled, and the other goes on."""
    engine, cancelled = attrs.evolve(engine, prompts=PromptCache(10**7)), threading.Event()
    paused = Paused(monkeypatch, engine.runtime)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(scored, engine, [*LONG, 1])
        assert paused.started.wait(30)
        second = pool.submit(scored, engine, [*LONG, 2], cancelled)
        cancelled.set()
        with pytest.raises(EngineError, match="cancelled"):
            second.result(30)
        paused.go_on.set()
        assert len(first.result(30).prompt_logprobs) == 48


def test_a_request_that_fails_holds_off_no_other(engine, monkeypatch):
    """When the request that others wait for fails, they compute the prefix themselves."""
    engine, cancelled = attrs.evolve(engine, prompts=PromptCache(10**7)), threading.Event()
    monkeypatch.setattr(engine.runtime, "prefill_chunk", 8)
    paused = Paused(monkeypatch, engine.runtime)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(scored, engine, [*LONG, 1], cancelled)
        assert paused.started.wait(30)
        second = pool.submit(scored, engine, [*LONG, 2])
        cancelled.set()
        paused.go_on.set()
        with pytest.raises(EngineError, match="cancelled"):
            first.result(30)
        assert second.result(30).prompt_cache_hit_tokens == 0
