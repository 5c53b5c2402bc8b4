from __future__ import annotations

import numpy as np
import pytest
from tiny_model import HEADS, SIZE, TOKENS, plain_logits, tensors, write_model

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.numpy_runtime import NumpyRuntime

PROMPT = [5, 80, 81, 200, 7, 7, 42, 9, 9, 13, 77, 5]
FACTORS = np.array([1.0, 8.0], np.float32)


def logits(path, **options):
    """The NumPy runtime's logits after each token of the prompt, for a file that is written first."""
    session = NumpyRuntime(read_gguf(write_model(path / "tiny.gguf", **options))).open(len(PROMPT), 1)
    return session.prefill(PROMPT, 0)


@pytest.mark.parametrize(
    ("facts", "divisor"),
    [
        ({"llama.rope.scale_linear": 4.0}, 4.0),
        ({"llama.rope.scaling.factor": 4.0}, 4.0),
        ({"llama.rope.scaling.factor": 4.0, "llama.rope.scaling.type": "linear"}, 4.0),
        ({"llama.rope.scaling.factor": 2.0, "llama.rope.scale_linear": 4.0}, 2.0),
        ({"llama.rope.scaling.factor": 0.0, "llama.rope.scale_linear": 4.0}, 1.0),
        ({"llama.rope.scaling.factor": 1.0, "llama.rope.scaling.type": "none"}, 1.0),
        ({"llama.rope.scaling.type": "none"}, 1.0),
    ],
)
def test_linear_scaling_of_positions(tmp_path, facts, divisor):
    """Positions are divided by the factor, under its old key too; the type is linear where the file names none."""
    assert logits(tmp_path, **facts) == pytest.approx(plain_logits(PROMPT, divisor=divisor), abs=1e-4)


def test_frequency_factors(tmp_path):
    """The tensor of Llama 3.1 divides each frequency, after linear scaling."""
    weights = tensors() | {"rope_freqs.weight": FACTORS}
    assert logits(tmp_path, weights=weights) == pytest.approx(plain_logits(PROMPT, divisor=FACTORS), abs=1e-4)
    scaled = logits(tmp_path, weights=weights, **{"llama.rope.scaling.factor": 2.0})
    assert scaled == pytest.approx(plain_logits(PROMPT, divisor=2 * FACTORS), abs=1e-4)


def test_defaults(tmp_path):
    """Keys that may be missing have llama.cpp's defaults: dimensions of the heads, tied embeddings, base 10,000."""
    left_out = {"llama.rope.dimension_count": None, "llama.attention.key_length": None}
    assert logits(tmp_path, **left_out) == pytest.approx(plain_logits(PROMPT), abs=1e-4)
    stated = {"llama.attention.key_length": SIZE // HEADS, "llama.attention.value_length": SIZE // HEADS}
    assert logits(tmp_path, **stated) == pytest.approx(plain_logits(PROMPT), abs=1e-4)
    usual = logits(tmp_path, **{"llama.rope.freq_base": 10000.0})
    assert np.array_equal(logits(tmp_path, **{"llama.rope.freq_base": None}), usual)


def test_heads_that_share_nothing(tmp_path):
    """Without a number of KV heads there are as many as heads."""
    weights = tensors()
    for name, tensor in weights.items():
        if "attn_k.weight" in name or "attn_v.weight" in name:
            weights[name] = np.repeat(tensor.reshape(2, -1, SIZE), 2, axis=0).reshape(SIZE, SIZE)
    found = logits(tmp_path, weights=weights, **{"llama.attention.head_count_kv": None})
    assert found == pytest.approx(plain_logits(PROMPT), abs=1e-4)


def test_output_matrix_of_its_own(tmp_path):
    """A model whose embeddings are not tied computes its logits with the output matrix."""
    weights = tensors()
    doubled = weights | {"output.weight": 2 * weights["token_embd.weight"]}
    assert logits(tmp_path, weights=doubled) == pytest.approx(2 * plain_logits(PROMPT), abs=1e-3)


def test_equal_layers_in_an_array(tmp_path):
    """Numbers that are given for each layer are read where they are all the same."""
    per_layer = {"llama.attention.head_count": [4, 4], "llama.attention.head_count_kv": [2, 2]}
    assert logits(tmp_path, **per_layer) == pytest.approx(plain_logits(PROMPT), abs=1e-4)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"llama.block_count": 3}, r"lacks tensors: blk\.2"),
        ({"llama.block_count": 1}, r"unknown tensors: blk\.1"),
        ({"llama.block_count": None}, r"llama\.block_count"),
        ({"llama.embedding_length": None}, r"llama\.embedding_length"),
        ({"llama.feed_forward_length": 48}, r"ffn_\w+\.weight of shape"),
        ({"llama.feed_forward_length": None}, r"llama\.feed_forward_length"),
        ({"llama.feed_forward_length": [32, 16]}, r"llama\.feed_forward_length \[32, 16\]"),
        ({"llama.attention.head_count": [4, 2]}, r"llama\.attention\.head_count \[4, 2\]"),
        ({"llama.attention.head_count": "four"}, r"llama\.attention\.head_count 'four'"),
        ({"llama.attention.head_count": 0}, r"llama\.attention\.head_count 0"),
        ({"llama.attention.head_count_kv": 3}, r"llama\.attention\.head_count_kv 3"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, r"layer_norm_rms_epsilon"),
        ({"llama.attention.value_length": 8}, r"llama\.attention\.value_length 8"),
        ({"llama.attention.key_length": 8}, r"llama\.rope\.dimension_count 4"),
        ({"llama.rope.dimension_count": 2}, r"llama\.rope\.dimension_count 2"),
        ({"llama.rope.scaling.type": "yarn"}, r"llama\.rope\.scaling\.type 'yarn'"),
        ({"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0}, r"llama\.rope\.scaling\.type"),
        ({"llama.rope.scaling.attn_factor": 0.5}, r"llama\.rope\.scaling\.attn_factor 0\.5"),
        ({"llama.expert_count": 8}, r"llama\.expert_count 8"),
        ({"llama.logit_scale": 0.25}, r"llama\.logit_scale 0\.25"),
        ({"llama.attention.clamp_kqv": 8.0}, r"llama\.attention\.clamp_kqv 8\.0"),
        ({"tokenizer.ggml.tokens": TOKENS[:-1]}, r"token_embd\.weight of shape"),
        ({"tokenizer.ggml.tokens": None}, r"tokenizer\.ggml\.tokens"),
    ],
)
def test_models_that_numpy_does_not_compute(tmp_path, facts, words):
    """A model that would be computed wrongly is refused, by the name of the key or tensor."""
    with pytest.raises(LocalError, match=words):
        NumpyRuntime(read_gguf(write_model(tmp_path / "odd.gguf", **facts)))


def test_other_architecture(tmp_path):
    """A model of another family is refused by its name."""
    with pytest.raises(LocalError, match="a qwen2 model"):
        NumpyRuntime(read_gguf(write_model(tmp_path / "odd.gguf", **{"general.architecture": "qwen2"})))


def test_biases_are_refused(tmp_path):
    """A tensor that would not be computed with is refused by its name."""
    weights = tensors() | {"blk.0.attn_q.bias": np.zeros(SIZE, np.float32)}
    with pytest.raises(LocalError, match=r"unknown tensors: blk\.0\.attn_q\.bias"):
        NumpyRuntime(read_gguf(write_model(tmp_path / "odd.gguf", weights=weights)))
