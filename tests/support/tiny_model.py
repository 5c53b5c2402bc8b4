"""Writes a tiny random model of the Llama family, whole enough for every part of `tinkex.local`."""

from __future__ import annotations

import gguf
import numpy as np

LETTERS = [chr(byte) for byte in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))]
LETTERS += [chr(256 + index) for index in range(256 - len(LETTERS))]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["t h", "th e", "\u0120 a", "i n", "\u0120 the"]
TOKENS = SPECIAL + LETTERS + [merge.replace(" ", "") for merge in MERGES]
LAYERS, HEADS, KV_HEADS, SIZE, CONTEXT = 2, 4, 2, 16, 96
END = TOKENS.index("<|im_end|>")


def write_model(path, seed=7, size=SIZE, weights=None, **changes):
    """Write the model file; *changes* replace or add facts, None leaves one out; *weights* are the tensors to write."""
    writer = gguf.GGUFWriter(str(path), "llama")
    facts = {
        "llama.block_count": LAYERS,
        "llama.context_length": CONTEXT,
        "llama.embedding_length": size,
        "llama.feed_forward_length": 2 * size,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 100.0,
        "llama.rope.dimension_count": size // HEADS,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.eos_token_id": END,
        "tokenizer.chat_template": "{{ messages }}",
    } | changes
    for name, value in facts.items():
        add_fact(writer, name, value)
    for name, tensor in (weights or tensors(seed, size)).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_fact(writer, name, value):
    """Write a fact in the format its type asks for."""
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    elif value is not None:
        writer.add_array(name, value)


def tensors(seed=7, size=SIZE):
    """Random weights, large enough that the model has opinions."""
    random = np.random.default_rng(seed)

    def matrix(rows, columns):
        return random.normal(0, 1.2 / np.sqrt(columns), (rows, columns)).astype(np.float32)

    made = {"token_embd.weight": matrix(len(TOKENS), size) * 3, "output_norm.weight": np.ones(size, np.float32)}
    shared, wide = size // HEADS * KV_HEADS, 2 * size
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (size, size), "attn_k": (shared, size), "attn_v": (shared, size), "attn_output": (size, size),
            "ffn_gate": (wide, size), "ffn_up": (wide, size), "ffn_down": (size, wide),
        }  # fmt: skip
        made |= {f"blk.{layer}.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        norms = {f"blk.{layer}.{name}_norm.weight": random.uniform(0.5, 1.5, size) for name in ("attn", "ffn")}
        made |= {name: norm.astype(np.float32) for name, norm in norms.items()}
    return made


def plain_logits(tokens, seed=7, size=SIZE, divisor=1.0):
    """The logits after each token, computed the slow way: every position anew, in double precision.

    The frequencies of the positions are divided by *divisor*, a number or one for each frequency.
    """
    weights = {name: tensor.astype(np.float64) for name, tensor in tensors(seed, size).items()}
    head = size // HEADS

    def norm(row, name):
        return row / np.sqrt((row**2).mean() + 1e-5) * weights[name]

    def turned(vector, position):
        pairs = vector.reshape(-1, head // 2, 2)
        angles = position * 100.0 ** (-np.arange(0, head, 2) / head) / divisor
        spun = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angles)
        return np.stack([spun.real, spun.imag], -1).reshape(-1, head)

    rows = [weights["token_embd.weight"][token] for token in tokens]
    for layer in range(LAYERS):
        part = {name.split(".")[2]: w for name, w in weights.items() if name.startswith(f"blk.{layer}.")}
        normed = [norm(row, f"blk.{layer}.attn_norm.weight") for row in rows]
        keys = [turned(part["attn_k"] @ row, index) for index, row in enumerate(normed)]
        values = [(part["attn_v"] @ row).reshape(-1, head) for row in normed]
        for index, row in enumerate(normed):
            query = turned(part["attn_q"] @ row, index)
            mixed = []
            for number in range(HEADS):
                group = number // (HEADS // KV_HEADS)
                scores = np.array([query[number] @ key[group] for key in keys[: index + 1]]) / np.sqrt(head)
                shares = np.exp(scores - scores.max())
                mixed.append(sum(s * v[group] for s, v in zip(shares / shares.sum(), values, strict=False)))
            rows[index] = rows[index] + part["attn_output"] @ np.concatenate(mixed)
            wide = norm(rows[index], f"blk.{layer}.ffn_norm.weight")
            gate = part["ffn_gate"] @ wide
            rows[index] = rows[index] + part["ffn_down"] @ (gate / (1 + np.exp(-gate)) * (part["ffn_up"] @ wide))
    return np.stack([weights["token_embd.weight"] @ norm(row, "output_norm.weight") for row in rows])
