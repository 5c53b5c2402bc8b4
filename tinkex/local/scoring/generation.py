"""Generation of one sequence: its tokens so far, and its stop conditions."""

from __future__ import annotations

from collections.abc import Iterable

from tinkex.local.scoring.draws import Rows, draw, log_sum_exp, random_stream, top_logprobs
from tinkex.local.tokenization.vocabulary import Vocabulary
from tinkex.types import SampledSequence, SampleRequest, SamplingParams, TopkLogprobs

_SEQUENCES = 0  # the random streams of sequences; the prompt's scores draw from another


class Stops:
    """Stop conditions of a sequence: token ids, and texts as bytes."""

    def __init__(self, params: SamplingParams, vocabulary: Vocabulary) -> None:
        stop = params.stop
        given: Iterable[str | int] = (stop,) if isinstance(stop, str) else stop or ()
        ends = frozenset() if stop == () else vocabulary.end_ids
        self.ids: frozenset[int] = ends | {item for item in given if isinstance(item, int)}
        self.texts: list[bytes] = [item.encode() for item in given if isinstance(item, str)]
        self.longest: int = max(map(len, self.texts), default=0)


class Generation:
    """One sequence being generated: tokens, log-probabilities, stop reason.

    Log-probabilities are those of the model itself, before temperature, top_k and top_p.
    A sequence keeps the token that ended it.
    """

    def __init__(self, request: SampleRequest, index: int, stops: Stops, vocabulary: Vocabulary) -> None:
        self._request = request
        self._stops = stops
        self._vocabulary = vocabulary
        self._source = random_stream(request.sampling_params.seed, _SEQUENCES, index)
        self._tail = b""
        self._logprobs: list[float] = []
        self._topk: list[list[tuple[int, float]]] = []
        self.tokens: list[int] = []
        self.stop_reason: str | None = None

    def extend(self, row: Rows) -> None:
        """Draw the next token from a row of logits."""
        token = int(draw(row, self._request.sampling_params, self._source)[0])
        total = float(log_sum_exp(row))
        self.tokens.append(token)
        self._logprobs.append(float(row[token]) - total)
        if k := self._request.topk_sample_logprobs:
            self._topk.append(top_logprobs(row, total, k))
        if token in self._stops.ids or self._ends_text(token):
            self.stop_reason = "stop"
        elif len(self.tokens) == self._request.sampling_params.max_tokens:
            self.stop_reason = "length"

    def _ends_text(self, token: int) -> bool:
        stops = self._stops
        if not stops.texts:
            return False
        added = self._vocabulary.token_bytes(token)
        seen = self._tail + added
        self._tail = seen[-stops.longest :]
        return any(text in seen for text in stops.texts)

    def sequence(self) -> SampledSequence:
        """The finished sequence."""
        topk = TopkLogprobs(self._topk) if self._request.topk_sample_logprobs else None
        return SampledSequence(self.tokens, self._logprobs, topk, self.stop_reason or "length")
