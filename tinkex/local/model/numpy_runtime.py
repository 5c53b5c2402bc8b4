"""Forward pass of Llama models in NumPy, for platforms without a prebuilt library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import define
from numpy.typing import NDArray

from tinkex.local.model.batcher import Batcher
from tinkex.local.model.gguf_file import GgufFile
from tinkex.local.model.hyperparameters import ROPE_FACTORS, LlamaHyperparameters
from tinkex.local.model.weights import check_tensors, load_weights

if TYPE_CHECKING:
    Array = NDArray[np.float32]

_PROMPT = -1  # sequences are numbered from 0
_SESSIONS_TOGETHER = 16


@define(eq=False)
class _KVCache:
    """KV cache of one sequence; arrays of layers x cells x KV heads x head size."""

    keys: Array
    values: Array
    length: int = 0

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    def copied(self) -> _KVCache:
        copy = _KVCache(np.empty_like(self.keys), np.empty_like(self.values), self.length)
        copy.keys[:, : self.length] = self.keys[:, : self.length]
        copy.values[:, : self.length] = self.values[:, : self.length]
        return copy


Span = tuple[_KVCache, Sequence[int]]
"""A sequence, and the tokens to append to it."""


class NumpyRuntime:
    """A model's weights as float32 arrays: four bytes a parameter."""

    name = "numpy"
    prefill_chunk = 128

    def __init__(self, model: GgufFile, warnings: Sequence[str] = ()) -> None:
        self.warnings = warnings
        self.shape: LlamaHyperparameters = LlamaHyperparameters.read(model)
        self._turn = threading.Lock()  # one computation at a time
        #: Steps of sessions, computed together where several are wanted at the same time.
        self.steps: Batcher[Sequence[Span], Array] = Batcher(self._step, _SESSIONS_TOGETHER)
        check_tensors(model, self.shape)
        self.weights: dict[str, Array] = load_weights(model)
        self.output: Array = self.weights.get("output.weight", self.weights["token_embd.weight"])
        self._frequencies = _frequencies(self.shape, self.weights.get(ROPE_FACTORS))

    def open(self, cells: int, sequences: int, check: Callable[[], None] | None = None) -> NumpySession:
        """Start a session."""
        return NumpySession(self, cells)

    def rotate(self, rows: Array, positions: NDArray[np.int64]) -> Array:
        """Rotary position embedding: turn each pair of neighbouring numbers by an angle that tells its position."""
        angles = positions[:, None] * self._frequencies
        cos, sin = np.cos(angles, dtype=np.float32)[:, None], np.sin(angles, dtype=np.float32)[:, None]
        even, odd = rows[..., 0::2], rows[..., 1::2]
        turned = np.empty_like(rows)
        turned[..., 0::2] = even * cos - odd * sin
        turned[..., 1::2] = even * sin + odd * cos
        return turned

    def norm(self, rows: Array, name: str) -> Array:
        """RMS norm: scale each row to a mean square of one, then by the weights."""
        mean: Array = np.mean(rows * rows, axis=-1, keepdims=True)
        scaled: Array = rows / np.sqrt(mean + np.float32(self.shape.epsilon)) * self.weights[name]
        return scaled

    def _step(self, asked: Sequence[Sequence[Span]]) -> list[Array]:
        """Append one token to each sequence of several sessions."""
        rows = self.forward([span for spans in asked for span in spans], 0)
        return np.split(rows, np.cumsum([len(spans) for spans in asked])[:-1])

    def forward(self, spans: Sequence[Span], first: int) -> Array:
        """Append tokens to sequences; return the logits after each from number *first* on."""
        with self._turn:
            positions = np.concatenate([cache.length + np.arange(len(tokens)) for cache, tokens in spans])
            rows = self.weights["token_embd.weight"][[token for _, tokens in spans for token in tokens]]
            for layer in range(self.shape.layers):
                rows = rows + self._attention(rows, layer, spans, positions)
                rows = rows + self._feed_forward(rows, layer)
            for cache, tokens in spans:
                cache.length += len(tokens)
            return _matmul(self.norm(rows[first:], "output_norm.weight"), self.output)

    def _attention(self, rows: Array, layer: int, spans: Sequence[Span], positions: NDArray[np.int64]) -> Array:
        name = f"blk.{layer}"
        rows = self.norm(rows, f"{name}.attn_norm.weight")
        shape = (len(rows), -1, self.shape.head_size)
        queries, keys, values = (
            _matmul(rows, self.weights[f"{name}.attn_{part}.weight"]).reshape(shape) for part in "qkv"
        )
        queries, keys = self.rotate(queries, positions), self.rotate(keys, positions)
        mixed, start = np.empty_like(queries), 0
        for cache, tokens in spans:
            end, total = start + len(tokens), cache.length + len(tokens)
            cache.keys[layer, cache.length : total] = keys[start:end]
            cache.values[layer, cache.length : total] = values[start:end]
            mixed[start:end] = _attend(queries[start:end], cache.keys[layer, :total], cache.values[layer, :total])
            start = end
        return _matmul(mixed.reshape(len(rows), -1), self.weights[f"{name}.attn_output.weight"])

    def _feed_forward(self, rows: Array, layer: int) -> Array:
        weights, name = self.weights, f"blk.{layer}"
        rows = self.norm(rows, f"{name}.ffn_norm.weight")
        gate = _matmul(rows, weights[f"{name}.ffn_gate.weight"])
        # A very negative gate overflows the exponential, and is then rightly zero.
        with np.errstate(over="ignore"):
            gate /= 1 + np.exp(-gate)
        gate *= _matmul(rows, weights[f"{name}.ffn_up.weight"])
        return _matmul(gate, weights[f"{name}.ffn_down.weight"])


def _frequencies(shape: LlamaHyperparameters, factors: Array | None) -> NDArray[np.float32]:
    size = shape.head_size
    frequencies = shape.rope_base ** (-np.arange(0, size, 2, dtype=np.float64) / size) * shape.rope_scale
    divided: NDArray[np.float64] = frequencies if factors is None else frequencies / factors
    return divided.astype(np.float32)


class NumpySession:
    """A prompt and the sequences that continue it, each with a KV cache of its own."""

    def __init__(self, runtime: NumpyRuntime, cells: int) -> None:
        model = runtime.shape
        shape = (model.layers, cells, model.kv_heads, model.head_size)
        self._runtime = runtime
        self._caches = {_PROMPT: _KVCache(np.empty(shape, np.float32), np.empty(shape, np.float32))}

    def prefill(self, tokens: Sequence[int], first: int) -> Array:
        """Append tokens to the prompt."""
        return self._runtime.forward([(self._caches[_PROMPT], tokens)], first)

    def branch(self, count: int) -> None:
        """Let sequences continue the prompt."""
        prompt = self._caches[_PROMPT]
        self._caches = {_PROMPT: prompt} | {sequence: prompt.copied() for sequence in range(count)}

    def step(self, tokens: Mapping[int, int]) -> Array:
        """Append one token to each sequence, together with those of other sessions that are at the same point."""
        return self._runtime.steps.do([(self._caches[sequence], [token]) for sequence, token in tokens.items()])

    def save(self, limit: int) -> _KVCache | None:
        """Copy the KV cache of the prompt."""
        cache = self._caches[_PROMPT]
        used = _KVCache(cache.keys[:, : cache.length], cache.values[:, : cache.length], cache.length)
        return used.copied() if used.nbytes <= limit else None

    def restore(self, state: _KVCache, length: int) -> None:
        """Begin the prompt with tokens of a saved one."""
        cache = self._caches[_PROMPT]
        cache.keys[:, :length] = state.keys[:, :length]
        cache.values[:, :length] = state.values[:, :length]
        cache.length = length

    def close(self) -> None:
        """Drop the KV caches."""
        self._caches.clear()


def _matmul(rows: Array, matrix: Array) -> Array:
    product: Array = rows @ matrix.T
    return product


def _attend(queries: Array, keys: Array, values: Array) -> Array:
    """Causal grouped-query attention: each query weighs the values by its fit with the keys up to its position."""
    count, heads, size = queries.shape
    total, kv_heads, _ = keys.shape
    grouped = queries.reshape(count, kv_heads, heads // kv_heads, size).transpose(1, 2, 0, 3)
    scores = grouped.reshape(kv_heads, -1, size) @ keys.transpose(1, 2, 0)
    scores = scores.reshape(heads, count, total) * np.float32(size**-0.5)
    if count > 1:
        scores += np.triu(np.full((count, total), -np.inf, np.float32), total - count + 1)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    mixed = scores.reshape(kv_heads, -1, total) @ values.transpose(1, 0, 2)
    answer: Array = mixed.reshape(heads, count, size).transpose(1, 0, 2)
    return answer
