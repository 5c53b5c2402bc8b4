"""Scores of continuations: where their tokens begin, and what they come to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, overload

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.values import shown
from tinkex.errors import MissingFeatureError
from tinkex.text.codec import TextCodec
from tinkex.types import EncodedTextChunk, ModelInput, SampleResponse
from tinkex.types._forms.tokens import token_tuple

Choice = str | Sequence[int]


@attrs.frozen
class SplitChoices:
    """Continuations of a prompt, cut into tokens at a boundary that they share."""

    prompt: ModelInput
    """The tokens that stand before every one of them."""
    tokens: tuple[tuple[int, ...], ...]
    texts: tuple[str | None, ...]
    """Their texts; None for token ids without a tokenizer."""
    tail: str = ""
    """The end of the prompt's text that is part of the tokens of each, since tokens reach across its end."""

    def prompts(self) -> list[ModelInput]:
        """Return the prompt with each of the continuations at its end."""
        try:
            before = self.prompt.to_ints()
        except ValueError:  # pictures
            return [self.prompt.append(EncodedTextChunk(tokens)) for tokens in self.tokens]
        return [ModelInput.from_ints([*before, *tokens]) for tokens in self.tokens]


def read_choices(choices: Any) -> tuple[Choice, ...]:
    """Return continuations as a tuple: `choices` is a text, a list of token ids, or several of either.

    Raises:
        TypeError: One is neither.
        ValueError: There are none, or one is empty.
    """
    if isinstance(choices, str):
        choices = (choices,)
    if isinstance(choices, bytes | Mapping | AbstractSet) or not isinstance(choices, Iterable):
        raise TypeError(f"choices must be a text, or a list of texts or of token ids, not {shown(choices)}")
    given = tuple(choices)
    if not given:
        raise ValueError("choices must not be empty")
    if not isinstance(given[0], str) and not isinstance(given[0], Iterable):
        given = (given,)
    made: list[Choice] = []
    for index, choice in enumerate(given):
        made.append(choice if isinstance(choice, str) else token_tuple(f"choices[{index}]", choice))
        if not made[-1]:
            raise ValueError(f"choices[{index}] must not be empty")
    return tuple(made)


def split_choices(prompt: str | ModelInput, choices: Sequence[Choice], codec: Callable[[], TextCodec]) -> SplitChoices:
    """Cut continuations into tokens.

    Behind a text, a text is encoded together with it, as a model has read such texts; what they all share with the
    prompt's own tokens stands before them. Behind tokens, it is encoded by itself.

    Args:
        prompt: What they continue.
        choices: Texts or token ids, from `read_choices`.
        codec: Returns the tokenizer; not called where there are only token ids.

    Raises:
        ValueError: There is no token before them, or one of them has none.
    """
    if isinstance(prompt, str):
        before = codec().encode(prompt)
        wholes = [codec().encode(prompt + each) if isinstance(each, str) else [*before, *each] for each in choices]
        cut = min(_shared(before, whole) for whole in wholes)
        shared, tail = before[:cut], codec().pieces.text_behind(before[cut:])
        tokens = tuple(tuple(whole[cut:]) for whole in wholes)
        if not shared:
            raise ValueError(
                "prompt has no token that stands before the choices: nothing tells how likely a first token is."
                " Begin the prompt with a text, or with the model's BOS token."
            )
        made = ModelInput.from_ints(shared)
    else:
        made, tail = prompt, ""
        if made.known_length == 0:
            raise ValueError("prompt must not be empty: nothing tells how likely a first token is")
        tokens = tuple(tuple(codec().encode_behind(x) if isinstance(x, str) else x) for x in choices)
    for index, each in enumerate(tokens):
        if not each:
            raise ValueError(f"choices[{index}] has no tokens: {shown(choices[index])}")
    texts = tuple(each if isinstance(each, str) else None for each in choices)
    return SplitChoices(made, tokens, texts, tail)


def _shared(before: Sequence[int], whole: Sequence[int]) -> int:
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False))
    return sum(1 for _ in pairs)


def last_logprobs(response: SampleResponse, count: int) -> list[float]:
    """Return the log-probabilities of the last tokens of a prompt that was scored; NaN where the server gave none."""
    scores = (response.prompt_logprobs or [])[-count:]
    return [math.nan if score is None else score for score in [None] * (count - len(scores)) + scores]


def scored_response(error: BaseException | None) -> SampleResponse | None:
    """Return the response that an error brings where only `prompt_logprobs_last_n` is missing: it scores all tokens."""
    response = error.response if isinstance(error, MissingFeatureError) else None
    return response if response is not None and response.prompt_logprobs and "last_n" in str(error) else None


def likeliest(logprobs: Sequence[float]) -> int | None:
    """Return the index of the largest log-probability, the first of equals.

    None where one of them is not known, and where all are impossible.
    """
    best = max(range(len(logprobs)), key=logprobs.__getitem__)
    known = not any(map(math.isnan, logprobs)) and logprobs[best] > -math.inf
    return best if known else None


@with_field_docs
@attrs.frozen
class ScoredText:
    """A continuation that was scored. Immutable; safe to share between threads.

    >>> scored = ScoredText(" Paris", (5, 7), (-0.5, -1.0))
    >>> scored.logprob, scored.mean_logprob, scored.logprob_per_byte
    (-1.5, -0.75, -0.25)
    """

    text: str | None
    """As it was given; None for token ids."""
    tokens: tuple[int, ...]
    """Its token ids, those of the response's `tail` in front."""
    logprobs: tuple[float, ...]
    """The log-probability of each token behind all that stands before it; NaN where the server gave none."""
    tail: str = attrs.field(default="", repr=False)
    """The same as the response's."""

    @property
    def logprob(self) -> float:
        """The log-probability of the whole: the sum; NaN where one is not known."""
        return math.fsum(self.logprobs)

    @property
    def mean_logprob(self) -> float:
        """The mean per token."""
        return self.logprob / len(self.logprobs)

    @property
    def logprob_per_byte(self) -> float | None:
        """The sum divided by the length of the text in bytes of UTF-8; None for token ids."""
        return None if self.text is None else self.logprob / len((self.tail + self.text).encode())


@with_field_docs
@attrs.frozen(repr=False)
class ScoreResponse(Sequence[ScoredText]):
    """Response of `SamplingClient.score`: a sequence of `ScoredText`, one for each choice, in their order.

    Immutable; safe to share between threads.
    """

    choices: tuple[ScoredText, ...]
    """The continuations with their scores, in the order in which they were given."""
    prompt: ModelInput
    """The tokens that stand before every choice."""
    tail: str = ""
    """The end of the prompt that is scored with every choice, since tokens reach across it; empty where none do."""
    responses: tuple[SampleResponse, ...] = attrs.field(default=(), eq=False)
    """What the server sent: usage and timing; one for each choice that has tokens of its own."""

    @property
    def best(self) -> int | None:
        """The index of the likeliest choice, by the sum of its log-probabilities; the first of equals.

        None where a log-probability is not known, where no choice is possible, and where there is only one.
        """
        return self._best([each.logprob for each in self.choices])

    @property
    def best_by_mean(self) -> int | None:
        """The same by the mean per token."""
        return self._best([each.mean_logprob for each in self.choices])

    @property
    def best_by_byte(self) -> int | None:
        """The same by the sum divided by the length of the text; None also where one was given as token ids."""
        scores = [each.logprob_per_byte for each in self.choices]
        return self._best([math.nan if score is None else score for score in scores])

    def _best(self, scores: list[float]) -> int | None:
        return likeliest(scores) if len(scores) > 1 else None  # a list of numbers is the token ids of a single one

    @property
    def probabilities(self) -> list[float]:
        """Each choice's share of the probability that all of them have together; NaN where that is not known."""
        sums = [each.logprob for each in self.choices]
        most = max(sums)
        if any(map(math.isnan, sums)) or most == -math.inf:
            return [math.nan] * len(sums)
        shares = [math.exp(each - most) for each in sums]
        return [share / math.fsum(shares) for share in shares]

    @property
    def logprob(self) -> float:
        """The log-probability of the only choice; ValueError where there are several."""
        return self._only().logprob

    @property
    def mean_logprob(self) -> float:
        """The mean per token of the only choice; ValueError where there are several."""
        return self._only().mean_logprob

    @property
    def logprobs(self) -> tuple[float, ...]:
        """The log-probabilities of the tokens of the only choice; ValueError where there are several."""
        return self._only().logprobs

    def _only(self) -> ScoredText:
        if len(self.choices) > 1:
            raise ValueError(f"there are {len(self.choices)} choices: ask one of them, as in response[0].logprob")
        return self.choices[0]

    @overload
    def __getitem__(self, index: int) -> ScoredText: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ScoredText, ...]: ...
    def __getitem__(self, index: int | slice) -> ScoredText | tuple[ScoredText, ...]:
        return self.choices[index]

    def __len__(self) -> int:
        return len(self.choices)

    def __repr__(self) -> str:
        return f"ScoreResponse({list(self.choices)!r})"


def scored_choices(split: SplitChoices, responses: Mapping[tuple[int, ...], SampleResponse]) -> tuple[ScoredText, ...]:
    """Return the choices with their log-probabilities, from the responses by the tokens of each."""
    return tuple(
        ScoredText(text, tokens, tuple(last_logprobs(responses[tokens], len(tokens))), split.tail)
        for text, tokens in zip(split.texts, split.tokens, strict=True)
    )
