from __future__ import annotations

import threading

import pytest
from tiny_model import write_model

from tinkex.local.engine import LocalEngine
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.numpy_runtime import NumpyRuntime
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
