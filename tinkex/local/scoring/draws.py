"""Token sampling (temperature, top-k, top-p), and log-probabilities from logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinkex.types import SamplingParams

Rows = NDArray[np.float32]


def log_sum_exp(rows: Rows) -> NDArray[np.float32]:
    """Log-sum-exp of each row of logits: subtracted from them it gives log-probabilities."""
    highest = rows.max(-1)
    weights = rows - highest[..., None]
    np.exp(weights, out=weights)
    totals: NDArray[np.float32] = highest + np.log(weights.sum(-1))
    return totals


def top_logprobs(row: Rows, total: float, k: int) -> list[tuple[int, float]]:
    """Top-k log-probabilities: the k likeliest tokens of a row with their log-probabilities, the likeliest first."""
    k = min(k, len(row))
    ids = np.argpartition(row, len(row) - k)[-k:]
    ids = ids[np.lexsort((ids, -row[ids]))]
    return list(zip(ids.tolist(), (row[ids] - total).tolist(), strict=True))


def random_stream(seed: int | None, *stream: int) -> np.random.Generator:
    """A source of random numbers of its own for each seed and stream; None means a new one each time."""
    entropy = None if seed is None else seed % 2**64
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=stream))


def draw(row: Rows, params: SamplingParams, source: np.random.Generator, count: int = 1) -> NDArray[np.int64]:
    """Draw tokens, with replacement: the temperature first, then the k likeliest, then the likeliest share p."""
    if params.temperature == 0:
        return np.full(count, row.argmax())
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the likeliest to minus infinity
        weights = np.exp((row - row.max()).astype(np.float64) / params.temperature)
    ids = _kept(weights, params)
    if ids is not None:
        weights = weights[ids]
    sums = np.cumsum(weights)
    found = np.searchsorted(sums, source.random(count) * sums[-1], side="right")
    drawn: NDArray[np.int64] = np.minimum(found, len(sums) - 1)
    return drawn if ids is None else ids[drawn]


def _kept(weights: NDArray[np.float64], params: SamplingParams) -> NDArray[np.int64] | None:
    """The tokens that top_k and top_p leave, the likeliest first; None for all."""
    size, top_k, top_p = len(weights), params.top_k, params.top_p
    if 0 < top_k < size:
        ids = np.argpartition(weights, size - top_k)[-top_k:]
    elif top_p < 1:
        # All that weigh at most this hold no more than 1 - p together: what remains is quick to sort.
        ids = np.flatnonzero(weights > (1 - top_p) * weights.sum() / size)
    else:
        return None
    ids = ids[np.lexsort((ids, -weights[ids]))]
    if top_p < 1:
        reached = np.cumsum(weights[ids])
        whole = reached[-1] if 0 < top_k < size else weights.sum()
        ids = ids[: 1 + int(np.searchsorted(reached, top_p * whole))]
    return ids
