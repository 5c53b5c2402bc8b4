from __future__ import annotations

import threading

import attrs
import numpy as np
import pytest
from tiny_model import CONTEXT, END, TOKENS, plain_logits, write_model

from tinkex._server.engine import EngineError
from tinkex.local.engine import LocalEngine
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.numpy_runtime import NumpyRuntime
from tinkex.local.prompt_cache import PromptCache
from tinkex.local.report import SampleReport
from tinkex.local.tokenization.vocabulary import Vocabulary
from tinkex.types import ImageChunk, ModelInput, SampleRequest, SamplingParams, TensorData

PROMPT = [5, 80, 81, 200, 7, 7, 42]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """An engine over the tiny model."""
    model = read_gguf(write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))
    return LocalEngine(NumpyRuntime(model), Vocabulary(model), "tiny", model.context_length)


def answer(engine, prompt=PROMPT, num_samples=1, cancelled=None, model="tiny", **options):
    """Sample; options of SamplingParams and of SampleRequest together."""
    names = {"max_tokens", "seed", "stop", "temperature", "top_k", "top_p"}
    params = {"max_tokens": 4} | {name: options.pop(name) for name in names & options.keys()}
    request = SampleRequest(prompt, SamplingParams(**params), num_samples, **options)
    return engine.sample(request, model=model, cancelled=cancelled or threading.Event())


def plain_logprobs(tokens):
    """The log-probabilities after each token, the slow way."""
    logits = plain_logits(tokens)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_prompt_logprobs(engine):
    """Each prompt token is scored by what stands before it; the first cannot be."""
    expected = plain_logprobs(PROMPT)[range(6), PROMPT[1:]]
    first, *rest = answer(engine, include_prompt_logprobs=True).prompt_logprobs
    assert first is None
    assert rest == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("piece", [1, 3, 7])
def test_pieces(engine, monkeypatch, piece):
    """A prompt that goes through the model in pieces gets the same scores."""
    monkeypatch.setattr(engine.runtime, "prefill_chunk", piece)
    options = {"include_prompt_logprobs": True, "prompt_logprobs_last_n": 3, "topk_prompt_logprobs": 2}
    response = answer(engine, temperature=0, **options)
    expected = plain_logprobs(PROMPT)[range(6), PROMPT[1:]]
    assert response.prompt_logprobs[:4] == [None] * 4
    assert response.prompt_logprobs[4:] == pytest.approx(expected[3:], abs=1e-4)
    assert response.topk_prompt_logprobs[:4] == [None] * 4
    assert response.sequences[0].tokens[0] == plain_logprobs(PROMPT)[-1].argmax()


def test_greedy(engine):
    """At temperature zero each token is the likeliest one, and its score that of the whole model."""
    sequence = answer(engine, temperature=0, max_tokens=6, stop=[], topk_sample_logprobs=3).sequences[0]
    logprobs = plain_logprobs(PROMPT + sequence.tokens)[len(PROMPT) - 1 : -1]
    assert sequence.tokens == logprobs.argmax(-1).tolist()
    assert sequence.logprobs == pytest.approx(logprobs.max(-1), abs=1e-4)
    assert [len(row) for row in sequence.topk_logprobs] == [3] * 6
    assert [row[0] for row in sequence.topk_logprobs] == list(zip(sequence.tokens, sequence.logprobs, strict=True))
    assert sequence.stop_reason == "length"


def test_logprobs_ignore_the_draw(engine):
    """Log-probabilities are the model's own, whatever temperature and top_k make of the draw."""
    sequence = answer(engine, temperature=3.0, top_k=20, seed=1, max_tokens=5, stop=[]).sequences[0]
    logprobs = plain_logprobs(PROMPT + sequence.tokens)[len(PROMPT) - 1 : -1]
    assert sequence.logprobs == pytest.approx(logprobs[range(5), sequence.tokens], abs=1e-4)


def test_what_was_not_asked_for(engine):
    """Nothing comes that was not asked for."""
    response = answer(engine)
    fields = (response.prompt_logprobs, response.topk_prompt_logprobs, response.target_prompt_logprobs)
    assert (*fields, response.prompt_alt_tokens, response.sequences[0].topk_logprobs) == (None,) * 5


def test_seed(engine):
    """The same seed draws the same, another one something else, and each sample has a stream of its own."""
    first = answer(engine, num_samples=3, seed=11, max_tokens=8, stop=[])
    again = answer(engine, num_samples=3, seed=11, max_tokens=8, stop=[])
    other = answer(engine, num_samples=3, seed=12, max_tokens=8, stop=[])
    tokens = [sequence.tokens for sequence in first.sequences]
    assert [sequence.tokens for sequence in again.sequences] == tokens
    assert [sequence.tokens for sequence in other.sequences] != tokens
    assert len(set(map(tuple, tokens))) == 3


def test_steps_of_sessions_together(engine):
    """Sessions that step in one go get the rows that each gets alone."""
    runtime = engine.runtime
    sessions = [runtime.open(20, 2) for _ in range(3)]
    for index, session in enumerate(sessions):
        session.prefill([index + 1, index + 2], 1)
        session.branch(2)
    alone = [session.step({0: 9, 1: 10}) for session in sessions]
    for session in sessions:
        session.branch(2)
    spans = [[(session._caches[0], [9]), (session._caches[1], [10])] for session in sessions]
    together = runtime._step(spans)
    assert [rows.shape for rows in together] == [rows.shape for rows in alone]
    assert np.concatenate(together) == pytest.approx(np.concatenate(alone), abs=1e-4)


def test_more_samples_than_fit(engine):
    """Samples that do not fit into the context together are computed after each other."""
    long = CONTEXT - len(PROMPT)
    response = answer(engine, num_samples=3, seed=2, max_tokens=long, stop=[])
    assert [len(sequence.tokens) for sequence in response.sequences] == [long] * 3
    short = answer(engine, num_samples=3, seed=2, max_tokens=8, stop=[])
    assert response.sequences[1].tokens[:8] == short.sequences[1].tokens


def first_end(tokens, wanted):
    """How many tokens there are up to the first wanted one, itself included."""
    return next(index for index, token in enumerate(tokens) if token in wanted) + 1


def test_end_token(engine):
    """The model's end token ends a sequence and stays in it; an empty list of stops switches that off."""
    options = {"num_samples": 8, "seed": 1, "max_tokens": 40, "temperature": 3}
    everything = answer(engine, stop=[], **options).sequences
    index = next(i for i, sequence in enumerate(everything) if END in sequence.tokens)
    full, ended = everything[index], answer(engine, **options).sequences[index]
    assert full.stop_reason == "length"
    assert ended.stop_reason == "stop"
    assert ended.tokens == full.tokens[: first_end(full.tokens, engine.vocabulary.end_ids)]
    assert len(ended.logprobs) == len(ended.tokens)


def test_stop_ids(engine):
    """A sequence ends with the first of the ids it is to stop at."""
    full = answer(engine, seed=4, max_tokens=20, stop=[]).sequences[0].tokens
    stopped = answer(engine, seed=4, max_tokens=20, stop=[full[5]]).sequences[0]
    assert stopped.tokens == full[: first_end(full, engine.vocabulary.end_ids | {full[5]})]
    assert stopped.stop_reason == "stop"


def test_stop_text(engine):
    """A sequence ends with the token that completes a text to stop at, though the text began in an earlier one."""
    full = answer(engine, seed=4, max_tokens=20, stop=[]).sequences[0].tokens
    start = next(i for i in range(18) if all(3 <= t < 97 for t in full[i : i + 2]))
    text = "".join(TOKENS[token] for token in full[start : start + 2])
    for stop in (text, ["\x00\x00", text]):
        stopped = answer(engine, seed=4, max_tokens=20, stop=stop).sequences[0]
        assert stopped.stop_reason == "stop"
        assert stopped.tokens == full[: len(stopped.tokens)]
        assert "".join(TOKENS[token] for token in stopped.tokens).find(text) >= 0


def test_targets(engine):
    """Named tokens are scored at their positions, dense or sparse, and -1 names none."""
    logprobs = plain_logprobs(PROMPT)
    dense = TensorData.from_list([[PROMPT[1], 9], [-1, 3], [4, -1], [-1, -1], [0, 1], [2, 2]])
    found = answer(engine, target_prompt_logprobs=dense).target_prompt_logprobs
    expected = [[0 if token < 0 else logprobs[i, token] for token in row] for i, row in enumerate(dense.tolist())]
    assert (found.dtype, found.shape) == ("float32", (6, 2))
    assert np.array(found.tolist()) == pytest.approx(np.array(expected), abs=1e-4)
    sparse = TensorData([9, 3, 2], "int64", (6, 4), [0, 1, 2, 2, 2, 2, 3], [3, 0, 1])
    found = answer(engine, target_prompt_logprobs=sparse).target_prompt_logprobs
    assert found.data == pytest.approx([logprobs[0, 9], logprobs[1, 3], logprobs[5, 2]], abs=1e-4)
    assert (found.sparse_crow_indices, found.sparse_col_indices) == ((0, 1, 2, 2, 2, 2, 3), (3, 0, 1))


def test_topk_prompt(engine):
    """The likeliest tokens at each position come with the model's log-probabilities."""
    rows = answer(engine, topk_prompt_logprobs=2).topk_prompt_logprobs
    logprobs = plain_logprobs(PROMPT)
    assert rows[0] is None
    for row, expected in zip(rows[1:], logprobs, strict=False):
        assert [token for token, _ in row] == np.argsort(-expected)[:2].tolist()
        assert [logprob for _, logprob in row] == pytest.approx(np.sort(expected)[::-1][:2], abs=1e-4)


def test_alternatives(engine):
    """Alternatives are draws at each position after the first, with the model's log-probabilities."""
    found = answer(engine, prompt_alt_tokens_k=3, seed=8).prompt_alt_tokens
    tokens, logprobs = np.array(found.tokens.tolist()), np.array(found.logprobs.tolist())
    assert tokens.shape == logprobs.shape == (6, 3)
    assert logprobs == pytest.approx(np.take_along_axis(plain_logprobs(PROMPT)[:6], tokens, 1), abs=1e-4)
    assert answer(engine, prompt_alt_tokens_k=3, seed=8).prompt_alt_tokens == found
    greedy = answer(engine, prompt_alt_tokens_k=2, temperature=0).prompt_alt_tokens
    assert greedy.tokens.tolist() == [[token] * 2 for token in plain_logprobs(PROMPT)[:6].argmax(-1).tolist()]


def test_one_token_prompt(engine):
    """A prompt of one token has nothing to score."""
    assert answer(engine, [5], include_prompt_logprobs=True, topk_prompt_logprobs=2).prompt_logprobs == [None]


def test_several_chunks(engine):
    """A prompt in several chunks is the one made of all their tokens."""
    chunks = ModelInput.from_ints(PROMPT[:3]).append_int(PROMPT[3])
    whole = ModelInput.from_ints(PROMPT[:4])
    assert answer(engine, chunks, seed=1) == answer(engine, whole, seed=1)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"prompt": [5, 100_000]}, "prompt"),
        ({"stop": [100_000]}, "stop"),
        ({"prompt": [1, 2], "target_prompt_logprobs": TensorData.from_list([[100_000]])}, "target_prompt_logprobs"),
        ({"max_tokens": CONTEXT}, "context"),
        ({"prompt": [5] * (CONTEXT + 1)}, "context"),
        ({"prompt": ModelInput((ImageChunk(b"\x89PNG\r\n\x1a\n", "png", 4),))}, "text only"),
    ],
)
def test_honest_refusals(engine, options, word):
    """What cannot be served is refused as the request's fault, in words that say what."""
    with pytest.raises(EngineError, match=word) as caught:
        answer(engine, **options)
    assert (caught.value.status, caught.value.category) == (400, "user")


def test_other_model(engine):
    """A model that is not here is a 404."""
    with pytest.raises(EngineError, match="big") as caught:
        answer(engine, model="big")
    assert caught.value.status == 404


def test_cancel_at_once(engine):
    """A sample that was cancelled before it began computes nothing."""
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(EngineError, match="cancelled"):
        answer(engine, cancelled=cancelled)


def test_cancel_between_tokens(engine, monkeypatch):
    """A sample that is cancelled on its way stops before the next token."""
    cancelled, steps = threading.Event(), []
    session = type(engine.runtime.open(1, 1))
    step = session.step

    def counted(self, tokens):
        steps.append(tokens)
        if len(steps) == 3:
            cancelled.set()
        return step(self, tokens)

    monkeypatch.setattr(session, "step", counted)
    with pytest.raises(EngineError, match="cancelled"):
        answer(engine, max_tokens=50, stop=[], cancelled=cancelled)
    assert len(steps) == 3


def test_report(engine):
    """A report tells how much was sampled, and how long the first token and the rest took."""
    reports = []
    answer(attrs.evolve(engine, on_sample=reports.append), num_samples=2, max_tokens=5, stop=[])
    (report,) = reports
    assert (report.prompt_tokens, report.sampled_tokens) == (len(PROMPT), 10)
    assert report.first_token > 0
    assert report.tokens_per_second == pytest.approx(10 / report.rest)


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (SampleReport(7, 10, 0.5, 2.0), "7 prompt tokens, first token after 0.50 s, then 5 tokens/s (10 sampled)"),
        (SampleReport(7, 1, 0.5, 1e-6), "7 prompt tokens, first token after 0.50 s (1 sampled)"),
    ],
)
def test_report_as_text(report, text):
    """A report reads as a sentence; one token has no rate."""
    assert str(report) == text


def test_models(engine):
    """The engine says what it serves."""
    (model,) = engine.models
    assert (model.model_name, model.max_context_length, model.sampleable) == ("tiny", CONTEXT, True)


LONG = [*PROMPT, *range(10, 50)]


def test_shared_prefix(engine):
    """A prompt that begins like an earlier one has the same scores and tokens, and says how much was not computed."""
    fresh = attrs.evolve(engine, prompts=PromptCache(0))
    options = {"include_prompt_logprobs": True, "temperature": 0, "max_tokens": 6, "stop": []}
    cached = attrs.evolve(engine, prompts=PromptCache(10**7))
    answer(cached, LONG, **options)
    for prompt, hits in (([*LONG[:40], 3, 4], 39), (LONG, 46), ([*LONG, 9], 46), (LONG[:30], 29)):
        found, expected = answer(cached, prompt, **options), answer(fresh, prompt, **options)
        assert (found.prompt_cache_hit_tokens, expected.prompt_cache_hit_tokens) == (hits, 0)
        assert found.sequences[0].tokens == expected.sequences[0].tokens
        assert found.prompt_logprobs[1:] == pytest.approx(expected.prompt_logprobs[1:], abs=1e-4)
        plain = plain_logprobs(prompt)[range(len(prompt) - 1), prompt[1:]]
        assert found.prompt_logprobs[1:] == pytest.approx(plain, abs=1e-4)


def test_tokens_that_go_through_the_model(engine, monkeypatch):
    """Of the choices of a question, however short, the question is computed once: counted in tokens of each pass."""
    passes, forward = [], engine.runtime.forward

    def counted(spans, first):
        passes.append([len(tokens) for _, tokens in spans])
        return forward(spans, first)

    monkeypatch.setattr(engine.runtime, "forward", counted)
    cached = attrs.evolve(engine, prompts=PromptCache(10**7))
    for question in ([5, 6, 7, 8], [5, 6, 20, 21, 22], LONG):
        for choice in ([30, 31], [40, 41], [50]):
            answer(cached, [*question, *choice], include_prompt_logprobs=True, max_tokens=1)
    # The last token of what is shared is computed again, for the score of the first that is not.
    assert passes == [[6], [3], [2], [6], [3], [2], [49], [3], [2]]


def test_scores_that_are_not_in_the_cache(engine):
    """A prompt that was sampled, not scored, is computed again to be scored; the next one then shares that."""
    cached = attrs.evolve(engine, prompts=PromptCache(10**7))
    answers = [answer(cached, LONG, include_prompt_logprobs=scored) for scored in (False, False, True, True)]
    assert [each.prompt_cache_hit_tokens for each in answers] == [0, 46, 0, 46]
    expected = plain_logprobs(LONG)[range(len(LONG) - 1), LONG[1:]]
    assert answers[-1].prompt_logprobs[1:] == pytest.approx(expected, abs=1e-4)


def test_a_failed_prompt_is_not_kept(engine):
    """A request that ends while its prompt is computed leaves nothing behind, and keeps no other from going on."""
    cached, cancelled = attrs.evolve(engine, prompts=PromptCache(10**7)), threading.Event()
    cancelled.set()
    with pytest.raises(EngineError, match="cancelled"):
        answer(cached, LONG, cancelled=cancelled)
    assert answer(cached, LONG).prompt_cache_hit_tokens == 0
