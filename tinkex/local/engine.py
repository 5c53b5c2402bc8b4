"""Inference engine of the loopback server: sample requests in, tokens and log-probabilities out."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from attrs import field, frozen

from tinkex._server.engine import EngineError
from tinkex.local.model.runtime import MOST_SEQUENCES, ModelSession, Runtime
from tinkex.local.prompt_cache import PrefixHit, PromptCache
from tinkex.local.report import SampleReport
from tinkex.local.scoring.draws import Rows
from tinkex.local.scoring.generation import Generation, Stops
from tinkex.local.scoring.prompt_scores import PromptScores
from tinkex.local.tokenization.vocabulary import Vocabulary
from tinkex.types import EncodedTextChunk, SampledSequence, SampleRequest, SampleResponse, SupportedModel

CACHE_BYTES = 64 * 2**20
"""Memory for the prefix cache, unless the user chooses otherwise."""


@frozen(eq=False)
class LocalEngine:
    """Blocking engine over one model; safe to share between threads.

    The same request with the same seed gets the same tokens, however many others are computed at the same time.
    Samples of one request share the prefill and are decoded as one batch. Requests that begin with the same tokens
    share their computation through *prompts*. *on_sample* is called with the timing of each sample.
    """

    runtime: Runtime
    vocabulary: Vocabulary
    model_name: str
    context_length: int
    on_sample: Callable[[SampleReport], None] | None = None
    prompts: PromptCache = field(factory=lambda: PromptCache(CACHE_BYTES))

    @property
    def models(self) -> Sequence[SupportedModel]:
        """The one model that is served."""
        name, length = self.model_name, self.context_length
        return [SupportedModel(name, max_context_length=length, trainable=False, sampleable=True, tokenizer_id=name)]

    def sample(self, request: SampleRequest, *, model: str, cancelled: threading.Event) -> SampleResponse:
        """Compute one sample request: prefill, prompt scores, generation.

        Raises:
            EngineError: The request asks for what this engine does not have, or was cancelled.
        """
        if model != self.model_name:
            raise EngineError(f"The model {model!r} is not here; this server has {self.model_name!r}.", 404)
        tokens = self._prompt(request)
        scores = PromptScores(request, tokens)
        width = self._width(request, len(tokens))
        cells = len(tokens) + width * (request.sampling_params.max_tokens or 0)
        check = functools.partial(_check_cancelled, cancelled)
        started = time.perf_counter()
        with contextlib.ExitStack() as stack:
            with self.prompts.computing(scores.tokens, scores.expected, scores.reusable, check) as hit:
                saved = 0 if hit.prompt is None else len(hit.prompt.tokens)
                session = stack.enter_context(contextlib.closing(self.runtime.open(max(cells, saved), width, check)))
                last = self._prefill(session, tokens, scores, hit, check)
                self.prompts.add(scores.tokens, scores.known, hit, session.save)
            first = time.perf_counter() - started
            sequences = list(self._sequences(session, request, width, last, check))
        if self.on_sample is not None:
            sampled = sum(sequence.length for sequence in sequences)
            self.on_sample(SampleReport(len(tokens), sampled, first, time.perf_counter() - started - first))
        return SampleResponse(
            sequences,
            prompt_logprobs=scores.logprobs,
            topk_prompt_logprobs=scores.topk,
            target_prompt_logprobs=scores.targets,
            prompt_alt_tokens=scores.alternatives,
            prompt_cache_hit_tokens=hit.length,
        )

    def _prompt(self, request: SampleRequest) -> tuple[int, ...]:
        chunks = request.prompt.chunks
        other = next((chunk.type for chunk in chunks if not isinstance(chunk, EncodedTextChunk)), None)
        if other is not None:
            raise EngineError(f"prompt: {self.model_name} reads text only, no {other} chunks.")
        tokens = tuple(token for chunk in chunks if isinstance(chunk, EncodedTextChunk) for token in chunk.tokens)
        targets, stop = request.target_prompt_logprobs, request.sampling_params.stop
        stop_ids = [item for item in stop or () if isinstance(item, int)]
        self._check_ids("prompt", tokens)
        self._check_ids("stop", stop_ids)
        self._check_ids("target_prompt_logprobs", targets.data if targets else ())
        self._check_length(len(tokens), request.sampling_params.max_tokens)
        return tokens

    def _check_ids(self, field: str, ids: Sequence[float]) -> None:
        if ids and max(ids) >= len(self.vocabulary):
            raise EngineError(f"{field}: token {max(ids)} is not one of the model's {len(self.vocabulary)} tokens.")

    def _check_length(self, prompt: int, max_tokens: int | None) -> None:
        if max_tokens is None:
            raise EngineError("sampling_params: max_tokens is missing.")
        if prompt + max_tokens > self.context_length:
            raise EngineError(
                f"The prompt's {prompt} tokens and max_tokens {max_tokens} exceed the model's context of"
                f" {self.context_length} tokens."
            )

    def _width(self, request: SampleRequest, prompt: int) -> int:
        """Batch size of a request: as many sequences as one context length of KV cache holds."""
        fitting = (self.context_length - prompt) // (request.sampling_params.max_tokens or 1)
        return max(1, min(request.num_samples, fitting, MOST_SEQUENCES))

    def _prefill(
        self,
        session: ModelSession,
        tokens: Sequence[int],
        scores: PromptScores,
        hit: PrefixHit,
        check: Callable[[], None],
    ) -> Rows:
        """Run what the cache lacks of a prompt through the model, score it, and return the logits after its end."""
        if hit.prompt is not None:
            session.restore(hit.prompt.state, hit.length)
            scores.take(hit.prompt.tokens, hit.prompt.logprobs, hit.length)
        for start in range(hit.length, len(tokens), self.runtime.prefill_chunk):
            check()
            chunk = tokens[start : start + self.runtime.prefill_chunk]
            first = min(max(scores.first_row - start, 0), len(chunk))
            rows = session.prefill(chunk, first)
            scores.add(start + first, rows)
        last: Rows = rows[-1]
        return last

    def _sequences(
        self, session: ModelSession, request: SampleRequest, width: int, last: Rows, check: Callable[[], None]
    ) -> Iterator[SampledSequence]:
        stops = Stops(request.sampling_params, self.vocabulary)
        for first in range(0, request.num_samples, width):
            indices = range(first, min(first + width, request.num_samples))
            generations = [Generation(request, index, stops, self.vocabulary) for index in indices]
            session.branch(len(generations))
            _generate(session, generations, last, check)
            yield from (generation.sequence() for generation in generations)


def _generate(session: ModelSession, generations: Sequence[Generation], last: Rows, check: Callable[[], None]) -> None:
    """Decode a batch of sequences until each has met its stop condition."""
    for generation in generations:
        generation.extend(last)
    while going := {i: each.tokens[-1] for i, each in enumerate(generations) if each.stop_reason is None}:
        check()
        for index, row in zip(going, session.step(going), strict=True):
            generations[index].extend(row)


def _check_cancelled(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise EngineError("The sample was cancelled.")
