"""The prebuilt library's runtime on a tiny model: what sessions at the same time, and saved prompts, do to numbers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_model import write_model

from tinkex.local.model.gguf_file import read_gguf

pytest.importorskip("ik_llama_cpp", reason="needs the prebuilt library")

from tinkex.local.model.ik_runtime import IkRuntime

PROMPT = list(range(3, 75))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """A runtime with two threads."""
    path = write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf", size=64, **{"llama.context_length": 4096})
    return IkRuntime(read_gguf(path), threads=2)


def greedy(runtime, prompt, count=40):
    """Every row of logits of a prompt and its likeliest continuation."""
    session = runtime.open(len(prompt) + count, 1)
    rows = [session.prefill(prompt, 0)]
    session.branch(1)
    for _ in range(count):
        rows.append(session.step({0: int(rows[-1][-1].argmax())}))
    session.close()
    return np.concatenate(rows)


@pytest.mark.slow
def test_sessions_at_the_same_time(runtime):
    """Sessions that compute in parallel get the numbers that each gets alone, to the last bit."""
    prompts = [PROMPT[start:] for start in range(12)]
    alone = [greedy(runtime, prompt) for prompt in prompts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda prompt: greedy(runtime, prompt), prompts))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("length", [1, 16, 31, 71, 72])
def test_saved_prompts(runtime, length):
    """A prompt that begins with a part of a saved one gets the same numbers as when it is computed whole."""
    whole = runtime.open(len(PROMPT) + 2, 1)
    expected = np.concatenate([whole.prefill(PROMPT, 0), whole.prefill([7, 9], 0)])
    saver = runtime.open(len(PROMPT), 1)
    saver.prefill(PROMPT, 0)
    state = saver.save(10**9)
    resumed = runtime.open(len(PROMPT) + 2, 1)
    resumed.restore(state, length)
    rest = [PROMPT[length:], [7, 9]] if length < len(PROMPT) else [[7, 9]]
    found = np.concatenate([resumed.prefill(tokens, 0) for tokens in rest])
    assert np.array_equal(found, expected[length:])
    assert saver.save(state.nbytes - 1) is None
    for session in (whole, saver, resumed):
        session.close()


def test_contexts_are_used_again(runtime):
    """A context serves one session after the other; an idle runtime keeps one, and none that is large."""
    expected = greedy(runtime, PROMPT)
    for _ in range(3):
        assert np.array_equal(greedy(runtime, PROMPT), expected)
    sessions = [runtime.open(50, 1) for _ in range(3)]
    for session in sessions:
        session.close()
    assert len(runtime._idle) == 1
    large = runtime.open(3000, 1)
    large.close()
    assert [context.cells for context in runtime._idle] == [512]
    assert np.array_equal(greedy(runtime, PROMPT), expected)


def test_waiting_for_a_session(runtime):
    """No more sessions are open than keep the threads busy; one that waits for its turn can be cancelled."""
    sessions = [runtime.open(50, 1) for _ in range(4)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(runtime.open, 50, 1)
        with pytest.raises(InterruptedError):
            runtime.open(50, 1, cancel)
        assert not waiting.done()
        sessions.pop().close()
        sessions.append(waiting.result(30))
    for session in sessions:
        session.close()


def cancel():
    """What a cancelled request's check does."""
    raise InterruptedError
