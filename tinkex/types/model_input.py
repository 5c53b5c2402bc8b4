"""Model input: the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

from tinkex._validation.calls import explained
from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import shown, whole
from tinkex.types._forms.tokens import token_tuple
from tinkex.types.chunks import Chunk, DmelChunk, EncodedTextChunk, chat_chunks, checked_text
from tinkex.types.images import ImageAssetPointerChunk, ImageChunk

if TYPE_CHECKING:
    import datetime as dt

_CHUNK_TYPES = (EncodedTextChunk, ImageChunk, ImageAssetPointerChunk, DmelChunk)


class TextEncoder(Protocol):
    """Encoder interface: any tokenizer with `encode`, which turns text into token ids."""

    def encode(self, text: str, /) -> Any:
        """Return the token ids, or an object that holds them as `ids`."""


def _chunk_tuple(chunks: Iterable[Chunk]) -> tuple[Chunk, ...]:
    if isinstance(chunks, _CHUNK_TYPES) or not isinstance(chunks, Iterable):
        raise TypeError(f"chunks must be a sequence of chunks, got {shown(chunks)}")
    chunks = tuple(chunks)
    for index, chunk in enumerate(chunks):
        if not isinstance(chunk, _CHUNK_TYPES):
            raise TypeError(
                f"chunks[{index}] must be a chunk, got {shown(chunk)}: ModelInput.from_ints(...) makes a prompt of"
                " token ids, ModelInput.from_text(...) of a text"
            )
    return chunks


@with_field_docs
@frozen(eq=False, repr=False)
class ModelInput(Fieldwise):
    """A prompt: text as token ids, with pictures or audio between where the model takes them.

    Immutable, so safe to share between threads and samples; its checks run once, here.

    >>> prompt = ModelInput.from_ints([1, 2]).append_int(3)
    >>> prompt.to_ints(), prompt.length
    ([1, 2, 3], 3)
    """

    chunks: tuple[Chunk, ...] = field(converter=_chunk_tuple)
    """The parts of the prompt, in order."""
    known_length: int | None = field(init=False, repr=False, eq=False)
    """Number of tokens; None when a picture without `expected_tokens` is in it."""

    def __attrs_post_init__(self) -> None:
        try:
            length = self.length
        except ValueError:
            length = None
        object.__setattr__(self, "known_length", length)

    @classmethod
    def from_ints(cls, tokens: Iterable[int]) -> ModelInput:
        """Make a prompt of token ids: a list, a tuple, an iterator, a NumPy array.

        The ids are copied, so a list may change afterwards.

        Raises:
            TypeError: An item is not a whole number (bool is none, nor is a float with a fraction).
            ValueError: An id is negative or does not fit 31 bits.
        """
        return cls((checked_text(token_tuple("prompt", tokens)),))

    @classmethod
    @explained(model_or_tokenizer="as in ModelInput.from_text(text, client.get_tokenizer())")
    def from_text(cls, text: str, model_or_tokenizer: str | PathLike[str] | TextEncoder) -> ModelInput:
        """Make a prompt of a text, encoded by a model's tokenizer or by the one given.

        Naming a model needs the `tokenizers` extra and may download its tokenizer.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {shown(text)}")
        tokenizer: Any = model_or_tokenizer
        if isinstance(model_or_tokenizer, str | PathLike):
            from tinkex.tokenizers import get_tokenizer

            tokenizer = get_tokenizer(model_or_tokenizer)
        encoded = tokenizer.encode(text)
        return cls.from_ints(getattr(encoded, "ids", encoded))

    @classmethod
    @explained(tokenizer="as in ModelInput.from_messages(messages, client.get_tokenizer())")
    def from_messages(
        cls,
        messages: Iterable[Mapping[str, Any]],
        tokenizer: str | PathLike[str] | TextEncoder,
        add_generation_prompt: bool | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        *,
        documents: Iterable[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        continue_final_message: bool | str = False,
        date: dt.date | str | None = None,
        **template_variables: Any,
    ) -> ModelInput:
        """Make a prompt of a conversation, rendered with the model's chat template.

        Args:
            messages: Mappings with `role` and `content`, and what else the template knows, such as `tool_calls` in
                OpenAI's form. Content is a text, or a list of parts; a picture is the part
                `{"type": "image", "image": ImageChunk(...)}`. Fields that are None are absent; only `content` may be.
            tokenizer: A model's name, a path, or a tokenizer with `encode` and `chat_template`.
            add_generation_prompt: Whether the prompt ends with the header of the answer; None means that it does,
                unless `continue_final_message` is given.
            tools: JSON schemas of functions that the model may call; None, and an empty list, mean there are none.
            documents: What the template of a model for retrieval writes into the prompt.
            chat_template: A template to use instead, as text or by the name that the tokenizer has for it;
                `"role_colon"` is tinker-cookbook's format for base models. None means the model's.
            continue_final_message: Whether the prompt ends inside the last message, for the model to continue its
                content, or the field that is named.
            date: What the template takes for today, a date or text such as `2026-11-29`; None means today. It goes by
                that name with every template, and not together with a `date_string` of the template's own.
            template_variables: What else the template knows, such as `enable_thinking=False`.

        Special tokens written in a message are read as such. Needs the `chat` extra, and `tokenizers` to name a model.

        Raises:
            ChatTemplateError: (a `ValueError`) There is no template; it is broken; it refuses the messages; it would
                leave out the tools, a tool call or a part of a message; or it reads no variable of a name given.
            TypeError: Something given is not plain data, or has the wrong type; the message names it.
            ValueError: A message has no role, or a picture no place in the rendered text.
        """
        chunks = chat_chunks(
            messages, tokenizer, add_generation_prompt=add_generation_prompt, tools=tools, documents=documents,
            chat_template=chat_template, continue_final_message=continue_final_message, date=date,
            variables=template_variables,
        )  # fmt: skip
        return cls(chunks)

    @classmethod
    def empty(cls) -> ModelInput:
        """Return a prompt with nothing in it, to append to."""
        return cls(())

    def append(self, chunk: Chunk) -> ModelInput:
        """Return this prompt with one more chunk at its end."""
        return ModelInput((*self.chunks, chunk))

    def append_int(self, token: int) -> ModelInput:
        """Return this prompt with one more token; a text chunk at the end grows."""
        tokens: tuple[int, ...] = (whole("token", token, 0),)
        kept = self.chunks
        if kept and isinstance(kept[-1], EncodedTextChunk):
            tokens = kept[-1].tokens + tokens
            kept = kept[:-1]
        return ModelInput((*kept, checked_text(tokens)))

    def to_ints(self) -> list[int]:
        """Return the token ids.

        Raises:
            ValueError: A chunk is not text.
        """
        texts = [chunk for chunk in self.chunks if isinstance(chunk, EncodedTextChunk)]
        if len(texts) < len(self.chunks):
            raise ValueError("to_ints needs a prompt of text only; this one has other chunks")
        return list(chain.from_iterable(chunk.tokens for chunk in texts))

    @property
    def length(self) -> int:
        """Number of tokens.

        Raises:
            ValueError: A picture without `expected_tokens` is in it.
        """
        return sum([chunk.length for chunk in self.chunks])
