"""Text as the answer of a fake server: its tokens, and where they end."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tinkex._server import EngineError
from tinkex._validation.values import shown
from tinkex.chat import ChatFormat
from tinkex.testing._answers import answer_with
from tinkex.testing._toy.tokenizer import ToyTokenizer
from tinkex.tokenizers import ChatTemplateError, Tokenizer, model_tokenizer
from tinkex.types import SampleRequest, SampleResponse, SamplingParams


def text_answer(request: SampleRequest, answer: str | Sequence[str], tokenizer_id: str) -> SampleResponse:
    """Answer each sequence of a sample with a text, all with the same one or each with its own.

    Raises:
        EngineError: There are not as many texts as sequences, or it is no text.
        TokenizerError: The tokenizer cannot be had.
    """
    texts = [answer] * request.num_samples if isinstance(answer, str) else answer
    if not are_texts(texts) or len(texts) != request.num_samples:
        expected = f"a SampleResponse, a text, or {request.num_samples} texts"
        raise EngineError(f"answers must give {expected}, got {shown(answer)}", 500, "server")
    tokenizer, ends = _tokenizer_and_ends(tokenizer_id)
    tokens = [[*tokenizer.encode(text), *ends] for text in texts]
    return answer_with(request, lambda index: _cut(tokens[index], request.sampling_params, tokenizer))


def are_texts(values: object) -> bool:
    """Whether it is a list, or another sequence, of texts."""
    return isinstance(values, Sequence) and all(isinstance(value, str) for value in values)


@functools.lru_cache(maxsize=8)
def _tokenizer_and_ends(tokenizer_id: str) -> tuple[Tokenizer, list[int]]:
    """Load a tokenizer, with the token that ends an answer if there is one."""
    tokenizer = model_tokenizer(tokenizer_id)
    if tokenizer_id == "tinkex/toy":  # also without jinja2
        return tokenizer, [ToyTokenizer.end_token]
    try:
        return tokenizer, [stop for stop in ChatFormat(tokenizer).stop[:1] if isinstance(stop, int)]
    except ChatTemplateError:  # a base model's
        return tokenizer, []


def _cut(tokens: list[int], params: SamplingParams, tokenizer: Tokenizer) -> tuple[list[int], str]:
    """Cut tokens behind the first stop or at `max_tokens`, and say which it was."""
    stops = (params.stop,) if isinstance(params.stop, str) else params.stop or ()
    texts = [stop for stop in stops if isinstance(stop, str)]
    longest = max(map(len, texts), default=0) * 4  # tokens, of a byte each
    for length, token in enumerate(tokens[: params.max_tokens], 1):
        tail = tokenizer.decode(tokens[max(0, length - longest) : length]) if texts else ""
        if token in stops or any(text in tail for text in texts):
            return tokens[:length], "stop"
    is_whole = params.max_tokens is None or len(tokens) <= params.max_tokens
    return tokens[: params.max_tokens], "stop" if is_whole else "length"
