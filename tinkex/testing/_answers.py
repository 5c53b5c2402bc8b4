"""Deterministic answers of the fake server: a function of prompt, seed and sequence index."""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Callable, Sequence

from tinkex._server import EngineError
from tinkex.types import (
    EncodedTextChunk,
    ModelInput,
    PromptAltTokens,
    SampledSequence,
    SampleRequest,
    SampleResponse,
    TensorData,
    TopkLogprobs,
)

VOCABULARY = 32_000
_MOST_NUMBERS = 4_000_000


def expected_tokens(
    prompt: ModelInput | Sequence[int], *, seed: int | None = None, sample: int = 0, max_tokens: int = 16
) -> list[int]:
    """The tokens that a `FakeServer` samples, unless told otherwise.

    Args:
        prompt: The prompt, as given to `sample()`.
        seed: The seed of the sampling parameters; None is a seed of its own.
        sample: The index of the sequence in the answer.
        max_tokens: How many tokens; a longer answer starts with the shorter one.

    >>> expected_tokens([1, 2, 3], max_tokens=3)
    [4381, 4642, 31160]
    """
    state = hashlib.shake_128(_prompt_bytes(prompt))
    state.update(f"|{seed}|{sample}".encode())
    raw = struct.unpack(f"<{max_tokens}I", state.digest(4 * max_tokens))
    return [value % VOCABULARY for value in raw]


def expected_logprobs(tokens: Sequence[int]) -> list[float]:
    """The log-probabilities that a `FakeServer` gives to tokens; exact in 32 bits.

    >>> expected_logprobs([1, 256])
    [-0.00390625, -1.0]
    """
    return [-(token % 1024) / 256 for token in tokens]


def default_answer(request: SampleRequest) -> SampleResponse:
    """The whole answer of a `FakeServer` to a sample, unless told otherwise.

    Raises:
        EngineError: It would hold more than four million numbers.
    """
    return answer_with(request, lambda index: _default_tokens(request, index))


def answer_with(request: SampleRequest, tokens_of: Callable[[int], tuple[list[int], str]]) -> SampleResponse:
    """Answer with the tokens and the stop reason that `tokens_of` gives for the number of each sequence.

    Everything else that was asked for is computed from the tokens.
    """
    if answer_length(request) > _MOST_NUMBERS:
        raise EngineError(f"The answer would hold more than {_MOST_NUMBERS:,} numbers.")
    prompt = _tokens(request.prompt)
    logprobs = topk = None
    if request.include_prompt_logprobs or request.topk_prompt_logprobs:
        first = max(1, len(prompt) - (request.prompt_logprobs_last_n or len(prompt)))
        scored = expected_logprobs(prompt[first:])
        logprobs = [None] * first + scored if request.include_prompt_logprobs else None
        if k := request.topk_prompt_logprobs:
            topk = TopkLogprobs([None] * first + [_best(token, k) for token in prompt[first:]])
    return SampleResponse(
        sequences=[_sequence(request, *tokens_of(index)) for index in range(request.num_samples)],
        prompt_logprobs=logprobs,
        topk_prompt_logprobs=topk,
        target_prompt_logprobs=_targets(request.target_prompt_logprobs),
        prompt_alt_tokens=_alternatives(prompt, request.prompt_alt_tokens_k),
        prompt_cache_hit_tokens=len(prompt) // 2,
    )


def answer_length(request: SampleRequest) -> int:
    """Count the numbers in the default answer to a sample."""
    sampled = request.num_samples * (request.sampling_params.max_tokens or 16)
    prompt = request.prompt.known_length or 0
    alternatives = request.topk_prompt_logprobs + request.prompt_alt_tokens_k
    return sampled * (1 + request.topk_sample_logprobs) + prompt * (1 + alternatives)


def _default_tokens(request: SampleRequest, index: int) -> tuple[list[int], str]:
    params = request.sampling_params
    tokens = expected_tokens(request.prompt, seed=params.seed, sample=index, max_tokens=params.max_tokens or 16)
    stops = {stop for stop in params.stop or () if isinstance(stop, int)}
    length = next((n for n, token in enumerate(tokens, 1) if token in stops), None)
    return tokens[:length], "length" if length is None else "stop"


def _sequence(request: SampleRequest, tokens: list[int], stop_reason: str) -> SampledSequence:
    k = request.topk_sample_logprobs
    return SampledSequence(
        tokens=tokens,
        logprobs=expected_logprobs(tokens),
        topk_logprobs=TopkLogprobs([_best(token, k) for token in tokens]) if k else None,
        stop_reason=stop_reason,
    )


def _best(token: int, k: int) -> list[tuple[int, float]]:
    score = expected_logprobs([token])[0]
    return [((token + rank) % VOCABULARY, score - rank) for rank in range(k)]


def _targets(wanted: TensorData | None) -> TensorData | None:
    if wanted is None:
        return None
    values = [0.0 if token < 0 else -(token % 1024) / 256 for token in wanted.data]
    return TensorData(
        data=values,
        dtype="float32",
        shape=wanted.shape,
        sparse_crow_indices=wanted.sparse_crow_indices,
        sparse_col_indices=wanted.sparse_col_indices,
    )


def _alternatives(prompt: list[int], k: int) -> PromptAltTokens | None:
    if not k:
        return None
    tokens = [token for each in prompt[1:] for token, _ in _best(each, k)]
    shape = (len(prompt) - 1, k)
    return PromptAltTokens(
        tokens=TensorData(data=tokens, dtype="int64", shape=shape),
        logprobs=TensorData(data=expected_logprobs(tokens), dtype="float32", shape=shape),
    )


def _tokens(prompt: ModelInput) -> list[int]:
    tokens: list[int] = []
    for chunk in prompt.chunks:
        tokens += chunk.tokens if isinstance(chunk, EncodedTextChunk) else [0] * chunk.length
    return tokens


def _prompt_bytes(prompt: ModelInput | Sequence[int]) -> bytes:
    if not isinstance(prompt, ModelInput):
        return array("i", prompt).tobytes()
    return b"".join(
        array("i", chunk.tokens).tobytes() if isinstance(chunk, EncodedTextChunk) else repr(chunk).encode()
        for chunk in prompt.chunks
    )
