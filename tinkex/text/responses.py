"""Responses that are text: what was sampled from a text, and from a conversation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.public_names import with_public_names
from tinkex.chat import Answer, ChatFormat
from tinkex.text.codec import TextCodec
from tinkex.tokenizers import TokenPieces
from tinkex.types import ModelInput, SampledSequence, SampleResponse
from tinkex.types._forms.notebook import block, sequence_html, words

T = TypeVar("T", "SampledText", "SampledAnswer")
_OF_EACH = {"logprobs", "mean_logprob", "sequence", "stop_reason", "tokens", "tool_calls"}


class OfSequence:
    """What a sampled text has from its sequence: tokens and log-probabilities, of all that was sampled."""

    __slots__ = ()
    sequence: SampledSequence

    @property
    def tokens(self) -> list[int]:
        """The sampled token ids, with those of the stop or the end of the turn, which the text leaves out."""
        return self.sequence.tokens

    @property
    def logprobs(self) -> list[float] | None:
        """The log-probability of each of the tokens, NaN where the server gave none; None if it sent none at all."""
        return self.sequence.logprobs

    @property
    def logprob(self) -> float | None:
        """Their sum; None if the server sent none."""
        return None if self.logprobs is None else math.fsum(self.logprobs)

    @property
    def mean_logprob(self) -> float | None:
        """Their mean per token; None without any."""
        return math.fsum(self.logprobs) / len(self.logprobs) if self.logprobs else None

    @property
    def stop_reason(self) -> str:
        """Why the sequence ended: "stop", or "length" at `max_tokens`."""
        return self.sequence.stop_reason

    def _spelled(self, pieces: TokenPieces) -> str:
        made = self.sequence
        return sequence_html(made.tokens, made.logprobs, made.topk_logprobs, made.stop_reason, pieces.text_of)


@with_field_docs
@attrs.frozen
class SampledText(OfSequence):
    """A text that was sampled. Immutable; safe to share between threads.

    >>> sampled = SampledText(" Paris", SampledSequence([5, 7], logprobs=[-0.5, -1.0]))
    >>> sampled.text, sampled.logprob, sampled.mean_logprob
    (' Paris', -1.5, -0.75)
    """

    text: str
    """What goes on the prompt, up to the first stop; special tokens are left out."""
    sequence: SampledSequence = attrs.field(repr=False)
    """What it was made of."""
    _codec: TextCodec | None = attrs.field(default=None, alias="codec", kw_only=True, repr=False, eq=False)

    def _repr_html_(self) -> str:
        """Return what notebooks show: the text in its tokens, coloured by log-probability."""
        if self._codec is None:  # as when it comes out of a pickle
            return block([words(self.text), self.sequence._repr_html_()])
        return self._spelled(self._codec.pieces)

    def __reduce__(self) -> tuple[Any, ...]:
        return SampledText, (self.text, self.sequence)


@with_field_docs
@attrs.frozen
class SampledAnswer(OfSequence, Answer):
    """An answer of a chat that was sampled: an `Answer` with its tokens. Immutable; safe to share between threads."""

    sequence: SampledSequence = attrs.field(kw_only=True, repr=False)
    """What it was made of."""
    prompt: ModelInput = attrs.field(kw_only=True, repr=False)
    """What it was sampled from."""
    _chat: ChatFormat = attrs.field(kw_only=True, repr=False, eq=False)
    _tools: Sequence[Mapping[str, Any]] | None = attrs.field(kw_only=True, repr=False, eq=False)

    @property
    def text(self) -> str:
        """What the model says: the content of the message."""
        return self.content

    def _repr_html_(self) -> str:
        """Return what notebooks show: what the model says, in its tokens, coloured by log-probability."""
        return self._spelled(TokenPieces(self._chat.tokenizer))

    def extend(self, messages: Iterable[Mapping[str, Any]]) -> ModelInput:
        """Return the prompt for what the model says next: this one's, its tokens as sampled, and new messages.

        Give it to `SamplingClient.chat` with the same tools. See `tinkex.chat.ChatFormat.extend`.
        """
        return self._chat.extend(self.prompt, self.sequence, messages, self._tools)


@with_public_names
class ResponseOf(Sequence[T], Generic[T]):
    """A response as its texts, read from the tokens when first looked at, in the thread that does."""

    def __init__(
        self, response: SampleResponse, prompt: ModelInput, read: Callable[[SampledSequence], T] | None = None,
        items: tuple[T, ...] | None = None,
    ) -> None:  # fmt: skip
        self.response: SampleResponse = response
        """All that the server sent: usage, timing, log-probabilities of the prompt."""
        self.prompt: ModelInput = prompt
        """What was sampled from, in tokens."""
        self._read: Callable[[SampledSequence], T] | None = read
        if items is not None:
            self._items = items

    if not TYPE_CHECKING:  # or every attribute would be one

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property that has failed with such an error, which is raised again
                return object.__getattribute__(self, name)
            words = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in _OF_EACH:
                words += f": it is of each of its texts, as in response[0].{name}"
            elif hasattr(SampleResponse, name):
                words += f": it is of what the server sent, as in response.response.{name}"
            elif name in {"choices", "content"}:
                words += ": response.text is what was sampled, and response[0] all there is to it"
            raise AttributeError(words, name=name, obj=self)

    @functools.cached_property
    def _items(self) -> tuple[T, ...]:
        assert self._read is not None
        return tuple(map(self._read, self.response.sequences))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self.response.sequences)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResponseOf) or type(other) is not type(self):
            return NotImplemented
        return (self.response, self.prompt, self._items) == (other.response, other.prompt, other._items)

    def __hash__(self) -> int:
        return hash(self.prompt)

    @property
    def text(self) -> str:
        """The first text; the only one unless `num_samples` asked for more."""
        return self[0].text

    @property
    def texts(self) -> list[str]:
        """Every text."""
        return [each.text for each in self._items]

    @property
    def logprob(self) -> float | None:
        """The log-probability of the first text: the sum over its tokens; None if the server sent none."""
        return self[0].logprob

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._items)!r})"

    def _repr_html_(self) -> str:
        """Return what notebooks show: each of the texts as it shows itself."""
        return block(each._repr_html_() for each in self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.response, self.prompt, None, self._items)


class TextResponse(ResponseOf[SampledText]):
    """Response of `SamplingClient.complete`: a sequence of `SampledText`, one for each of `num_samples`.

    Immutable; safe to share between threads. It pickles as text, without the tokenizer.
    """


class ChatResponse(ResponseOf[SampledAnswer]):
    """Response of `SamplingClient.chat`: a sequence of `SampledAnswer`, one for each of `num_samples`.

    Immutable; safe to share between threads; pickles where the tokenizer does.
    """

    @property
    def message(self) -> dict[str, Any]:
        """The first answer as a message in OpenAI's form, to append to the conversation; a new mapping each time."""
        return self[0].message

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every answer as a message."""
        return [each.message for each in self._items]


def sampled_answer(
    sequence: SampledSequence, *, chat: ChatFormat, prompt: ModelInput, tools: Sequence[Mapping[str, Any]] | None,
    stop: Iterable[Any],
) -> SampledAnswer:  # fmt: skip
    """Read a sampled sequence as an answer."""
    answer = chat.parse(sequence, prompt, tools, stop)
    parts = attrs.asdict(answer, recurse=False)
    return SampledAnswer(**parts, sequence=sequence, prompt=prompt, chat=chat, tools=tools)
