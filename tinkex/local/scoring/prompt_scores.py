"""Prompt log-probabilities: scores, top-k, targets and alternatives of the prompt tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinkex.local.scoring.draws import Rows, draw, log_sum_exp, random_stream, top_logprobs
from tinkex.types import PromptAltTokens, SampleRequest, TensorData, TopkLogprobs

_ALTERNATIVES = 1  # the random stream for them; sequences draw from others


class PromptScores:
    """Scores of one prompt, collected chunk by chunk. Row i of the logits, after token i, scores token i + 1."""

    def __init__(self, request: SampleRequest, tokens: tuple[int, ...]) -> None:
        self._request = request
        self.tokens: Any = np.array(tokens, np.int64)
        self._source = random_stream(request.sampling_params.seed, _ALTERNATIVES)
        rows = len(tokens) - 1
        self._scored_from = rows - min(rows, request.prompt_logprobs_last_n or rows)
        #: The log-probability of each token as far as it is known, else NaN; also what was not asked for.
        self.known: Any = np.full(len(tokens), np.nan)
        self._topk: list[list[tuple[int, float]] | None] = [None] * len(tokens)
        self._targets = _Targets(request.target_prompt_logprobs) if request.target_prompt_logprobs else None
        shape = (rows, request.prompt_alt_tokens_k)
        self._alternatives = np.zeros(shape, np.int64), np.zeros(shape, np.float32)

    @property
    def first_row(self) -> int:
        """The first row that is needed; the last row always is."""
        request = self._request
        if request.target_prompt_logprobs or request.prompt_alt_tokens_k:
            return 0
        asked = request.include_prompt_logprobs or request.topk_prompt_logprobs
        return self._scored_from if asked else len(self.tokens) - 1

    @property
    def expected(self) -> NDArray[np.float64]:
        """Zero for each token whose log-probability will be known, NaN for the others."""
        expected = np.full(len(self.tokens), np.nan)
        expected[self.first_row + 1 :] = 0
        return expected

    def reusable(self, known: NDArray[np.float64], length: int) -> int:
        """How many tokens of a common prefix need not be computed, by its known log-probabilities and its length."""
        request = self._request
        if request.target_prompt_logprobs or request.prompt_alt_tokens_k or request.topk_prompt_logprobs:
            return min(length, self.first_row)
        if not request.include_prompt_logprobs:
            return min(length, len(self.tokens) - 1)
        needed = np.flatnonzero(np.isnan(known[self._scored_from + 1 : length]))
        first = self._scored_from + 1
        scored = first + int(needed[0]) if len(needed) else max(first, length)
        return max(0, min(length, scored - 1, len(self.tokens) - 1))

    def take(self, tokens: NDArray[np.int64], known: NDArray[np.float64], length: int) -> None:
        """Take the known log-probabilities of another prompt's first tokens, which need not be computed.

        The token after them is scored by the last of them, so its log-probability is taken too where it is the same.
        """
        if length < len(tokens) and tokens[length] == self.tokens[length]:
            length += 1
        self.known[:length] = known[:length]

    def add(self, first: int, rows: Rows) -> None:
        """Take the rows of logits from number *first* on; the one after the last token scores nothing."""
        rows = rows[: len(self.tokens) - 1 - first]
        if not len(rows):
            return
        totals = log_sum_exp(rows)
        self._score(first, rows, totals)
        if self._targets is not None:
            self._targets.add(first, rows, totals)
        if self._request.prompt_alt_tokens_k:
            self._draw(first, rows, totals)

    def _score(self, first: int, rows: Rows, totals: Rows) -> None:
        next_tokens = self.tokens[first + 1 : first + 1 + len(rows)]
        logprobs = rows[np.arange(len(rows)), next_tokens] - totals
        scored = range(max(0, self._scored_from - first), len(rows))
        self.known[first + 1 + scored.start : first + 1 + len(rows)] = logprobs[scored.start :]
        if k := self._request.topk_prompt_logprobs:
            for index in scored:
                self._topk[first + 1 + index] = top_logprobs(rows[index], totals[index], k)

    def _draw(self, first: int, rows: Rows, totals: Rows) -> None:
        tokens, logprobs = self._alternatives
        for index, row in enumerate(rows):
            drawn = draw(row, self._request.sampling_params, self._source, self._request.prompt_alt_tokens_k)
            tokens[first + index] = drawn
            logprobs[first + index] = row[drawn] - totals[index]

    @property
    def logprobs(self) -> list[float | None] | None:
        """A log-probability for each token, None where undefined; None instead if they were not asked for."""
        if not self._request.include_prompt_logprobs:
            return None
        scored = range(self._scored_from + 1, len(self.tokens))
        return [float(self.known[index]) if index in scored else None for index in range(len(self.tokens))]

    @property
    def topk(self) -> TopkLogprobs | None:
        """The likeliest tokens at each position."""
        return TopkLogprobs(self._topk) if self._request.topk_prompt_logprobs else None

    @property
    def targets(self) -> TensorData | None:
        """The scores of the tokens that were named."""
        return None if self._targets is None else self._targets.tensor()

    @property
    def alternatives(self) -> PromptAltTokens | None:
        """Draws at each position."""
        if not self._request.prompt_alt_tokens_k:
            return None
        tokens, logprobs = self._alternatives
        return PromptAltTokens(TensorData.from_numpy(tokens), TensorData.from_numpy(logprobs))


class _Targets:
    """The tokens to score, and their scores: a flat list in the order of the request's, which is that of its rows."""

    def __init__(self, asked: TensorData) -> None:
        self._asked = asked
        rows, columns = asked.shape
        crow = asked.sparse_crow_indices
        counts: NDArray[np.int64] = np.full(rows, columns) if crow is None else np.diff(crow)
        self._rows = np.repeat(np.arange(rows), counts)
        self._ids = np.array(asked.data, np.int64)
        self._scores = np.zeros(len(self._ids), np.float32)

    def add(self, first: int, rows: Rows, totals: Rows) -> None:
        start, end = np.searchsorted(self._rows, (first, first + len(rows)))
        ids, places = self._ids[start:end], self._rows[start:end] - first
        scores = rows[places, np.maximum(ids, 0)] - totals[places]
        self._scores[start:end] = np.where(ids < 0, 0, scores)

    def tensor(self) -> TensorData:
        asked = self._asked
        return TensorData(self._scores, "float32", asked.shape, asked.sparse_crow_indices, asked.sparse_col_indices)
