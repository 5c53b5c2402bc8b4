"""Chunks of a prompt: text as token ids, images, audio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import blob, sized
from tinkex.types._forms.tokens import token_tuple
from tinkex.types.images import ImageAssetPointerChunk, ImageChunk

if TYPE_CHECKING:
    from tinkex.tokenizers._chat_template.messages import PlacedPicture


def _abbreviated(tokens: tuple[int, ...]) -> str:
    if len(tokens) <= 16:
        return repr(tokens)
    return f"({', '.join(map(str, tokens[:8]))}, ... {len(tokens)} in all)"


def _chunk_tokens(tokens: Iterable[int]) -> tuple[int, ...]:
    return token_tuple("tokens", tokens)


@with_field_docs
@frozen(eq=False, repr=False)
class EncodedTextChunk(Fieldwise):
    """Text as token ids.

    *tokens* is any iterable of ids from 0 to 2**31 - 1; it is kept as a tuple.

    >>> EncodedTextChunk([1, 2, 3]).length
    3
    """

    type: ClassVar[str] = "encoded_text"
    tokens: tuple[int, ...] = field(converter=_chunk_tokens, repr=_abbreviated)
    # The chunk as JSON, kept by the encoder: a prompt sampled again is not encoded again.
    _encoded: bytes | None = field(default=None, init=False, repr=False, eq=False)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    def __reduce__(self) -> tuple[Any, ...]:
        return EncodedTextChunk, (self.tokens,)


def checked_text(tokens: tuple[int, ...]) -> EncodedTextChunk:
    """Make a chunk of tokens that `token_tuple` has checked before."""
    chunk = object.__new__(EncodedTextChunk)
    object.__setattr__(chunk, "tokens", tokens)
    object.__setattr__(chunk, "_encoded", None)
    return chunk


_CONSTANT_MARKER = 254
_LAST_DTYPE = 7
_MOST_DIMENSIONS = 32


def _dmel_data(value: bytes | bytearray | memoryview) -> bytes:
    data = blob("dmel", value)
    _container_shape(data)
    return data


def _container_shape(data: bytes) -> list[int]:
    """Read the shape from a TensorContainer's header: marker?, dtype, rank, dimensions."""
    try:
        at = 1 if data[0] == _CONSTANT_MARKER else 0
        if data[at] > _LAST_DTYPE:
            raise ValueError(f"dmel has the unknown dtype {data[at]}")
        rank, at = _varint(data, at + 1)
        if not 1 <= rank <= _MOST_DIMENSIONS:
            raise ValueError(f"dmel has {rank} dimensions")
        shape = []
        for _ in range(rank):
            size, at = _varint(data, at)
            shape.append(size)
    except IndexError:
        raise ValueError("dmel ends inside its header") from None
    return shape


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("dmel has a number of more than 64 bits in its header")


@with_field_docs
@frozen(eq=False, repr=False)
class DmelChunk(Fieldwise):
    """Audio as a serialized TensorContainer of mel tokens.

    Raises:
        ValueError: The container's header cannot be read.
    """

    type: ClassVar[str] = "dmel"
    dmel: bytes = field(converter=_dmel_data, repr=sized)
    """The serialized container."""

    @property
    def length(self) -> int:
        """Number of tokens: the first dimension of the container."""
        return _container_shape(self.dmel)[0]


Chunk = EncodedTextChunk | ImageChunk | ImageAssetPointerChunk | DmelChunk

#: What templates of Qwen and Kimi write where a picture goes, for tokenizers that do not name it themselves.
_PLACEHOLDERS = ("<|image_pad|>", "<|media_pad|>")


def chat_chunks(
    messages: Any,
    tokenizer: object,
    *,
    before: Sequence[Mapping[str, Any]] = (),
    kept: Callable[[list[str]], list[str]] | None = None,
    **options: Any,
) -> list[Chunk]:
    """Render messages and cut the text into chunks, a picture in each place that the template leaves for one.

    *options* are those of `PromptOptions`. With *kept*, which takes from the pieces of text what is to be encoded, the
    messages are rendered behind those of *before*, which error messages do not count.
    """
    from tinkex.tokenizers import get_tokenizer
    from tinkex.tokenizers._adapters import adapt
    from tinkex.tokenizers._chat_template.messages import read_conversation
    from tinkex.tokenizers._chat_template.prompt import PromptOptions, continuation_pieces, prompt_pieces

    calls = before[-1].get("tool_calls") if before else None
    conversation = read_conversation(messages, (ImageChunk, ImageAssetPointerChunk), calls)
    known = adapt(get_tokenizer(tokenizer))
    if kept is None:
        pieces = prompt_pieces(conversation, known, PromptOptions(**options))
    else:
        pieces = continuation_pieces(conversation, read_conversation(before, ()), known, PromptOptions(**options), kept)
    ids = [token for piece in pieces for token in known.encode_rendered(piece)]
    if not conversation.pictures:
        return [EncodedTextChunk(ids)]
    return list(_placed_chunks(ids, conversation.pictures, known, "".join(pieces)))


def _placed_chunks(ids: Sequence[int], pictures: Sequence[PlacedPicture], tokenizer: Any, text: str) -> Iterator[Chunk]:
    """Put the pictures where their placeholders are, in their order."""
    name = pictures[0].place
    named = tokenizer.chat_files.special_tokens.get("image_token")
    written = [mark for mark in ((named,) if named else _PLACEHOLDERS) if mark in text]
    marks = [tokenizer.encode(mark, add_special_tokens=False) for mark in written]
    if len(marks) != 1 or len(marks[0]) != 1:
        raise ValueError(f"{name} is a picture, but the chat template leaves no place that is known to be for one")
    places = [index for index, token in enumerate(ids) if token == marks[0][0]]
    if len(places) != len(pictures):
        raise ValueError(
            f"{name} is one of {len(pictures)} pictures, but the rendered messages have {len(places)} places"
            f" for one ({written[0]})"
        )
    start = 0
    for place, picture in zip(places, pictures, strict=True):
        if place > start:
            yield EncodedTextChunk(ids[start:place])
        yield picture.picture
        start = place + 1
    if start < len(ids):
        yield EncodedTextChunk(ids[start:])
