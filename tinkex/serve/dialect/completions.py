"""Text completions: requests, and answers as JSON has them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import field, frozen

from tinkex.chat.openai_format import completion_logprobs
from tinkex.serve.dialect.fields import BodyFields, is_token_ids, refused
from tinkex.serve.dialect.logprobs import ScoredTokens, text_offsets
from tinkex.serve.dialect.sampling import SamplingFields, room_for, sample_prompts, total_usage
from tinkex.serve.models import ModelVocabulary, ServedModel, background
from tinkex.tokenizers import TokenPieces
from tinkex.types import ModelInput, SampledSequence, SampleResponse

_USUAL_TOKENS: Final = 16
_MOST_PROMPTS: Final = 2048


@frozen(kw_only=True)
class CompletionFields:
    """The fields of a request for text completions."""

    sampling: SamplingFields
    prompts: Sequence[str | ModelInput]
    """Texts, and token ids as they are sampled from: a list of them would take memory until there is an answer."""
    max_tokens: int
    """0: the prompt only, with `echo`."""
    echo: bool
    logprobs: int | None
    """How many of the likeliest tokens at each position; None for no log-probabilities."""
    add_special_tokens: bool

    @classmethod
    def read(cls, fields: BodyFields) -> CompletionFields:
        """Take the fields out of a body, and refuse what is left."""
        max_tokens = fields.count("max_tokens")
        read = cls(
            sampling=SamplingFields.read(fields),
            prompts=_prompts(fields.any("prompt")),
            max_tokens=_USUAL_TOKENS if max_tokens is None else max_tokens,
            echo=fields.flag("echo"),
            logprobs=fields.count("logprobs"),
            add_special_tokens=fields.flag("add_special_tokens", default=True),
        )
        best_of = fields.count("best_of", least=1)
        if best_of not in (None, read.sampling.num_samples):
            raise refused("best_of", "must be as large as n: choosing among samples is not offered")
        if read.max_tokens == 0 and not read.echo and read.sampling.prompt_logprobs is None:
            raise refused("max_tokens", "must be at least 1, or echo be true")
        fields.close()
        return read

    @property
    def scores_prompt(self) -> bool:
        """Whether the log-probabilities of the prompt are wanted."""
        return (self.echo and self.logprobs is not None) or self.sampling.prompt_logprobs is not None

    def options(self) -> dict[str, Any]:
        """Return the arguments of `SamplingClient.sample` that these fields come to."""
        echoed = (self.logprobs or 0) if self.echo else 0
        return {
            "num_samples": self.sampling.num_samples,
            "include_prompt_logprobs": self.scores_prompt,
            "topk_prompt_logprobs": max(echoed, self.sampling.prompt_logprobs or 0),
            "topk_sample_logprobs": self.logprobs or 0,
        }


def _prompts(given: Any) -> Sequence[str | ModelInput]:
    """Return one prompt or several, each a text or token ids."""
    prompts = given if isinstance(given, list) and given and isinstance(given[0], str | list) else [given]
    if len(prompts) > _MOST_PROMPTS:
        raise refused("prompt", f"must be at most {_MOST_PROMPTS} prompts")
    return [_prompt(prompt) for prompt in prompts]


def _prompt(given: Any) -> str | ModelInput:
    if given and isinstance(given, str):
        return given
    if given and is_token_ids(given):
        return ModelInput.from_ints(given)
    raise refused("prompt", "must be a text, token ids (whole numbers from 0), or a list of either, and not be empty")


async def complete_text(model: ServedModel, asked: CompletionFields, seconds: float | None) -> dict[str, Any]:
    """Sample what follows texts or token ids, and return it as JSON has it.

    Args:
        model: Where to sample.
        asked: What is asked for.
        seconds: The deadline; None for the deadline that the service is configured with.

    Raises:
        GatewayError, TinkexError, ValueError: It cannot be had; `gateway_error` tells what that comes to.
    """
    prompts = [await _encoded(model, prompt, asked.add_special_tokens) for prompt in asked.prompts]
    room_for(model, prompts, max(1, asked.max_tokens))
    params = asked.sampling.params(max(1, asked.max_tokens))
    responses = await sample_prompts(model, prompts, params, seconds, **asked.options())
    vocabulary = await model.vocabulary_or_none()
    size = sum(prompt.known_length or 0 for prompt in prompts) if asked.scores_prompt else 0
    return await background(_body, asked, model, vocabulary, prompts, responses, size=size)


async def _encoded(model: ServedModel, prompt: str | ModelInput, add_special_tokens: bool) -> ModelInput:
    if not isinstance(prompt, str):
        return prompt
    vocabulary = await model.vocabulary()
    ids = await background(lambda: vocabulary.encode(prompt, add_special_tokens=add_special_tokens), size=len(prompt))
    if not ids:
        raise refused("prompt", "has no tokens")
    return ModelInput.from_ints(ids)


def _body(
    asked: CompletionFields, model: ServedModel, vocabulary: ModelVocabulary | None, prompts: Sequence[ModelInput],
    responses: Sequence[SampleResponse],
) -> dict[str, Any]:  # fmt: skip
    choices: list[dict[str, Any]] = []
    for given, prompt, response in zip(asked.prompts, prompts, responses, strict=True):
        made = PromptAnswer(asked, vocabulary, given, prompt, response)
        choices += [{"index": len(choices) + index, **choice} for index, choice in enumerate(made.choices())]
    return {
        "id": f"cmpl-{os.urandom(16).hex()}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model.name,
        "choices": choices,
        "usage": total_usage(responses, counts_samples=asked.max_tokens > 0),
    }


@frozen
class PromptAnswer:
    """The choices of one prompt, in the making."""

    asked: CompletionFields
    vocabulary: ModelVocabulary | None
    given: str | ModelInput
    prompt: ModelInput
    response: SampleResponse
    echoed: str = field(init=False)
    """The prompt's text, where it stands before the answer's."""
    scored_prompt: ScoredTokens | None = field(init=False)
    """The prompt with its log-probabilities, where they are wanted."""

    @echoed.default
    def _echoed(self) -> str:
        if not self.asked.echo or self.vocabulary is None:
            return ""
        return self.given if isinstance(self.given, str) else str(self.vocabulary.tokenizer.decode(self.ids))

    @scored_prompt.default
    def _scored_prompt(self) -> ScoredTokens | None:
        if not self.asked.scores_prompt:
            return None
        plain = self.response.to_dict()  # numbers as JSON has them
        scores = plain.get("prompt_logprobs") or [None] * len(self.ids)
        return ScoredTokens(self.ids, scores, plain.get("topk_prompt_logprobs"))

    def choices(self) -> Iterator[dict[str, Any]]:
        """Yield the choices, without their index."""
        asked = self.asked
        shared: dict[str, Any] = {}
        if asked.sampling.prompt_logprobs is not None and self.scored_prompt is not None:
            shared["prompt_logprobs"] = self.scored_prompt.by_position(self._pieces, asked.sampling.prompt_logprobs)
        shows_ids = asked.sampling.token_ids or self.vocabulary is None
        if shows_ids:
            shared["prompt_token_ids"] = self.ids
        for sequence in self.response.sequences:
            tokens = sequence.tokens if asked.max_tokens else []
            text, ended = self._text(tokens)
            yield {
                "text": self.echoed + text,
                "logprobs": None if asked.logprobs is None else self._logprobs(sequence, tokens, text),
                "finish_reason": "stop" if ended else (sequence.stop_reason if tokens else "length"),
                **({"token_ids": tokens} if shows_ids else {}),
                **shared,
            }

    @property
    def ids(self) -> list[int]:
        """The prompt's token ids."""
        return self.prompt.to_ints()

    @property
    def _pieces(self) -> TokenPieces | None:
        return None if self.vocabulary is None else self.vocabulary.pieces

    def _text(self, tokens: list[int]) -> tuple[str, bool]:
        """Return the text that follows the prompt, up to the first stop, and whether one came."""
        if self.vocabulary is None or not tokens:
            return "", False
        return self.vocabulary.completion(tokens, self.asked.sampling.stops or self.asked.sampling.stop_tokens)

    def _logprobs(self, sequence: SampledSequence, tokens: list[int], text: str) -> dict[str, Any]:
        asked, pieces = self.asked, self._pieces
        top, by_id = asked.logprobs or 0, asked.sampling.tokens_by_id
        echoed = self.scored_prompt if asked.echo else None
        spelled = [] if echoed is None else echoed.spelled(pieces, top, by_id=by_id)
        if tokens:
            spelled += ScoredTokens.of(sequence).spelled(pieces, top, by_id=by_id, first=False)
        offsets = [0] * len(spelled)
        if self.vocabulary is not None:
            before = self._prompt_offsets() if asked.echo else []
            start, most = len(self.echoed), len(self.echoed) + len(text)
            after = text_offsets(tokens, self.vocabulary.decode, start)
            offsets = [*before, *(min(offset, most) for offset in after)]
        return {"text_offset": offsets, **completion_logprobs(spelled)}

    def _prompt_offsets(self) -> list[int]:
        assert self.vocabulary is not None
        decode = self.vocabulary.tokenizer.decode
        shown = decode if decode(self.ids) == self.echoed else self.vocabulary.decode
        return text_offsets(self.ids, shown)
