"""GGUF files read by tinkex and by llama.cpp (the library in ik-llama-cpp-python), side by side."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from tiny_model import SPECIAL, TOKENS, tensors, write_model

from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.numpy_runtime import NumpyRuntime
from tinkex.local.tokenization.pre_tokenizers import PRE_TOKENIZERS
from tinkex.local.tokenization.tokenizer import load_tokenizer

pytest.importorskip("ik_llama_cpp", reason="needs the prebuilt library")

from llama_library import WIDTH, Library, prefill

from tinkex.local.model.ik_runtime import IkRuntime

POOL = (
    "abc XYZ 0123 89 \n\t\r.,!?'\"éßдж漢字ひカ한글🎉½Ⅷ\u00a0\u200b_-<|>`$+^~=/()[]{}\\@#%&*;:ſǅªـअ।\u0301\u2028\u0085 "
    "\u2019\u201c\u201d\u2026\u3002\uff0csStTrReEvVmMlLdD''''    "
)
CHOOSE = random.Random(1)
TEXTS = ["".join(CHOOSE.choices(POOL, k=CHOOSE.randint(1, 60))) for _ in range(400)]
TEXTS += ["12345678 3.14", "!!?? ...", "I'm we'll DON'T you'RE", "camelCase XMLHttpRequest ÉCOLE", "a  b\n\n\n c", ""]
RULES = {rule: [name for name, other in PRE_TOKENIZERS.items() if other == rule] for rule in PRE_TOKENIZERS.values()}


@pytest.fixture(scope="module")
def vocabulary():
    """Facts of a vocabulary whose merges ignore all borders of words, so that each way to split text shows."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    )
    words = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    ranks = {words[token]: token for token in range(len(words))}
    merges = [_merge(word, ranks) for word in words if len(word) > 1]
    tokens = [*SPECIAL, *words]
    return {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * len(words),
        "tokenizer.ggml.bos_token_id": 1,
    }


def _merge(word, ranks):
    """The pair that a word was made of: the one that is left when the pairs of lower rank are merged first."""
    parts = list(word)
    while len(parts) > 2:
        joined = [ranks.get(a + b, len(ranks)) for a, b in itertools.pairwise(parts)]
        first = min(range(len(joined)), key=lambda index: joined[index] if joined[index] < ranks[word] else len(ranks))
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return " ".join(parts)


@pytest.mark.thin(15)
@pytest.mark.parametrize("names", RULES.values(), ids=" ".join)
def test_pre_tokenizers(tmp_path, vocabulary, names):
    """Each known pre-tokenizer splits any text, and adds BOS by default, as the library does."""
    for name, texts in zip(names, itertools.chain([TEXTS], itertools.repeat(TEXTS[-40:])), strict=False):
        path = write_model(tmp_path / f"{name}.gguf", **vocabulary, **{"tokenizer.ggml.pre": name})
        tokenizer = load_tokenizer(path)
        with Library(path) as library:
            assert [text for text in texts if tokenizer.encode(text) != library.encode(text)] == []


@pytest.mark.slow
def test_the_texts_tell_the_rules_apart(tmp_path, vocabulary):
    """The vocabulary of these tests shows every difference between two ways to split text."""
    rules = {rule.patterns: name for name, rule in PRE_TOKENIZERS.items()}
    found = set()
    for name in rules.values():
        path = write_model(tmp_path / f"{name}.gguf", **vocabulary, **{"tokenizer.ggml.pre": name})
        tokenizer = load_tokenizer(path)
        found.add(str([tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]))
    assert len(found) == len(rules)


PRE = "tokenizer.ggml.pre"


@pytest.mark.thin(5)
@pytest.mark.parametrize(
    "facts",
    [
        {PRE: None},
        {PRE: "llama-bpe", "tokenizer.ggml.add_bos_token": False},
        {"tokenizer.ggml.add_bos_token": True},
        {"tokenizer.ggml.add_eos_token": True},
        {"tokenizer.ggml.add_space_prefix": True},
        {"tokenizer.ggml.add_sep_token": True},
        {"tokenizer.ggml.eot_token_id": 30, "tokenizer.ggml.eom_token_id": 31},
        {"tokenizer.ggml.fim_pad_token_id": 30},
        {"tokenizer.ggml.token_type": None},
        {"tokenizer.ggml.tokens": [*TOKENS[:-3], "<|eot_id|>", "<reponame>", ""]},
        {"tokenizer.ggml.tokens": [*TOKENS[:-3], "<|end|>", "<|return|>", "<|call|>"]},
        {"tokenizer.ggml.tokens": [*TOKENS[:-3], "<|end|>", "<|message|>", "<|fim_pad|>"]},
        {"tokenizer.ggml.token_type": [3] * len(SPECIAL) + [2, 4, 5] + [1] * (len(TOKENS) - len(SPECIAL) - 3)},
    ],
)
def test_facts_of_vocabularies(tmp_path, facts):
    """What a file says of its special tokens, or leaves out, means the same to both."""
    merges = {"tokenizer.ggml.merges": ["t h"]} if "tokenizer.ggml.tokens" in facts else {}
    path = write_model(tmp_path / "tiny.gguf", **{"tokenizer.ggml.bos_token_id": 1} | merges | facts)
    tokenizer = load_tokenizer(path)
    texts = ["a", "", " a", "the in", "<|im_start|>a<|im_end|>", "a<|end|>b<|message|>", '!"#x', "<|eot_id|>"]
    with Library(path) as library:
        assert tokenizer.end_ids == library.end_ids()
        assert [tokenizer.encode(text) for text in texts] == [library.encode(text) for text in texts]


@pytest.mark.thin(5)
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"llama.rope.scale_linear": 4.0},
        {"llama.rope.scaling.factor": 4.0},
        {"llama.rope.scaling.factor": 4.0, "llama.rope.scaling.type": "linear"},
        {"llama.rope.scaling.factor": 2.0, "llama.rope.scale_linear": 4.0},
        {"llama.rope.scaling.factor": 0.0, "llama.rope.scale_linear": 4.0},
        {"llama.rope.scaling.type": "none"},
        {"llama.rope.dimension_count": None},
        {"llama.rope.freq_base": None},
        {"llama.attention.head_count_kv": [2, 2]},
    ],
)
def test_forward_pass(tmp_path, facts):
    """Both runtimes compute the same logits, also with positions scaled under old keys and facts left out."""
    model = read_gguf(write_model(tmp_path / "tiny.gguf", size=WIDTH, **facts))
    found = [prefill(runtime, model) for runtime in (NumpyRuntime, IkRuntime)]
    assert np.abs(found[0] - found[1]).max() < 0.05


def test_frequency_factors_are_left_out_by_the_library(tmp_path):
    """The library ignores the tensor of Llama 3.1, as its runtime says: should this fail, the choice can be undone."""
    factors = np.array([1, 1, 1, 2, 3, 4, 8, 8], np.float32)
    plain = read_gguf(write_model(tmp_path / "plain.gguf", size=WIDTH))
    weights = tensors(size=WIDTH) | {"rope_freqs.weight": factors}
    scaled = read_gguf(write_model(tmp_path / "scaled.gguf", size=WIDTH, weights=weights))
    assert np.array_equal(prefill(IkRuntime, scaled), prefill(IkRuntime, plain))
    assert "rope_freqs.weight" in IkRuntime(scaled).warnings[0]
    assert np.abs(prefill(NumpyRuntime, scaled) - prefill(NumpyRuntime, plain)).max() > 1
