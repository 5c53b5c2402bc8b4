"""Toy language model: random weights, real sampling."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from tinkex._server import EngineError
from tinkex._validation.public_names import with_public_names
from tinkex._validation.values import whole
from tinkex.errors import extra
from tinkex.testing._toy.tokenizer import ToyTokenizer
from tinkex.types import EncodedTextChunk, ModelInput, SampledSequence, SampleRequest, SampleResponse, SamplingParams

_TOKENIZER: Final = ToyTokenizer()
_LARGEST: Final = 2048  # vocabulary: its weights are 100 MB


@with_public_names
class ToyModel:
    """Random language model of a few hundred tokens that samples as it is asked to: `FakeServer(answers=ToyModel())`.

    Temperature, top_k, top_p, seeds, stops, the end token and log-probabilities of prompts and samples are honoured,
    so that ``tinkex check`` finds nothing. Its tokens are those of the `ToyTokenizer`. Needs numpy. Safe to share
    between threads.

    Args:
        seed: The weights; another seed is another model.
        draws: What samples without a seed go by, one after another; None draws them anew each time.
        vocabulary: How many tokens it has, up to 2,048.
        end_token: The token that ends an answer.
        context: The most tokens of prompt and answer together; None is no limit.

    >>> model = ToyModel()
    >>> request = SampleRequest([1, 2, 3], SamplingParams(max_tokens=4, temperature=0.0))
    >>> model(request).sequences[0].tokens == model(request).sequences[0].tokens
    True
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        draws: int | None = None,
        vocabulary: int = 512,
        end_token: int = 2,
        context: int | None = 32_768,
    ) -> None:
        whole("seed", seed, 0)
        whole("vocabulary", vocabulary, 2, _LARGEST)
        whole("end_token", end_token, 0, vocabulary - 1)
        for name, value in (("draws", draws), ("context", context)):
            if value is not None:
                whole(name, value, 0)
        with extra("numpy", "ToyModel"):
            import numpy as np

        self.np: Any = np
        self.vocabulary: int = vocabulary
        self.end_token: int = end_token
        self.context: int | None = context
        self._draws, self._count = draws, itertools.count()
        made = np.random.default_rng(seed)
        self.weights: Any = made.normal(scale=1.8, size=(2, vocabulary, vocabulary)).astype(np.float32)

    def __call__(self, request: SampleRequest) -> SampleResponse:
        """Answer one sample."""
        prompt = [token % self.vocabulary for token in _tokens(request.prompt)]
        if self.context is not None and len(prompt) + (request.sampling_params.max_tokens or 16) > self.context:
            raise EngineError(f"prompt and max_tokens are more than the context of {self.context} tokens")
        scores = None
        if request.include_prompt_logprobs:
            scores = [None, *(self.scored(prompt, place, request.sampling_params) for place in range(1, len(prompt)))]
        sequences = [self.sequence(prompt, request, number) for number in range(request.num_samples)]
        return SampleResponse(sequences=sequences, prompt_logprobs=scores)

    def decode(self, tokens: Sequence[int]) -> str:
        """Turn tokens into text, as the `ToyTokenizer` does."""
        return _TOKENIZER.decode(tokens)

    # What a faulty model does otherwise.

    def sequence(self, prompt: list[int], request: SampleRequest, number: int) -> SampledSequence:
        """Sample one sequence."""
        params, random = request.sampling_params, self.random(request.sampling_params, number)
        tokens, logprobs, ended = list[int](), list[float](), False
        while len(tokens) < (params.max_tokens or 16) and not ended:
            logprob = self.logprobs([*prompt, *tokens])
            token = self.draw(logprob, params, random, request)
            logprobs.append(self.told(logprob, token, params))
            tokens.append(token)
            ended = self.ends(tokens, params)
        return SampledSequence(tokens, logprobs, stop_reason="stop" if ended else "length")

    def random(self, params: SamplingParams, number: int) -> Any:
        """Make the random numbers of one sequence."""
        if params.seed is not None:
            return self.np.random.default_rng([abs(params.seed), number])
        return self.np.random.default_rng(None if self._draws is None else [self._draws, next(self._count)])

    def draw(self, logprobs: Any, params: SamplingParams, random: Any, request: SampleRequest) -> int:
        """Draw a token."""
        if params.temperature == 0:
            return int(logprobs.argmax())
        summed = self.chances(logprobs, params).cumsum()
        return int(self.np.searchsorted(summed, random.random() * summed[-1], side="right"))

    def chances(self, logprobs: Any, params: SamplingParams) -> Any:
        """Return the distribution that the parameters make of the model's."""
        np = self.np
        chances = np.exp((logprobs - logprobs.max()) / params.temperature)
        chances /= chances.sum()
        if params.top_k <= 0 and params.top_p == 1:
            return chances
        order = np.argsort(-chances)
        chances = chances[order]
        kept = np.cumsum(chances) - chances < params.top_p
        if params.top_k > 0:
            kept[params.top_k :] = False
        found = np.zeros(self.vocabulary)
        found[order] = np.where(kept, chances, 0.0)
        return found / found.sum()

    def told(self, logprobs: Any, token: int, params: SamplingParams) -> float:
        """Return the log-probability that is given with a sampled token."""
        return float(logprobs[token])

    def scored(self, prompt: list[int], place: int, params: SamplingParams) -> float:
        """Return the log-probability of a token of the prompt."""
        return float(self.logprobs(prompt[:place])[prompt[place]])

    def ends(self, tokens: list[int], params: SamplingParams) -> bool:
        """Whether an answer ends with its last token."""
        if params.stop is None:
            return tokens[-1] == self.end_token
        stops = (params.stop,) if isinstance(params.stop, str) else params.stop
        return any(stop in self.decode(tokens) if isinstance(stop, str) else stop == tokens[-1] for stop in stops)

    def logprobs(self, context: Sequence[int]) -> Any:
        """Return the log-probabilities of the next token: by the last two, and by what followed the last one before."""
        np = self.np
        logits = (self.weights[0, context[-1]] + self.weights[1, context[-2] if len(context) > 1 else 0]).astype(float)
        followers = [two for one, two in itertools.pairwise(context) if one == context[-1]]
        if len(followers) > 1:
            logits[followers[-1]] += 10.0
        logits -= logits.max()
        return logits - np.log(np.exp(logits).sum())


def _tokens(prompt: ModelInput) -> list[int]:
    return [token for chunk in prompt.chunks if isinstance(chunk, EncodedTextChunk) for token in chunk.tokens]
