"""Make the chunks of a prompt from a conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinkex.types.chunks import Chunk, EncodedTextChunk
from tinkex.types.images import ImageAssetPointerChunk, ImageChunk

if TYPE_CHECKING:
    from tinkex.tokenizers._chat_template.messages import PlacedPicture

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

    *options* are those of `PromptOptions`. Messages can be rendered *before* those that error messages count, and the
    pieces of text be changed by *kept* before they are encoded.
    """
    from tinkex.tokenizers import get_tokenizer
    from tinkex.tokenizers._adapters import adapt
    from tinkex.tokenizers._chat_template.messages import read_conversation
    from tinkex.tokenizers._chat_template.prompt import PromptOptions, prompt_pieces

    conversation = read_conversation(messages, (ImageChunk, ImageAssetPointerChunk))
    if before:
        conversation.messages[:0] = read_conversation(before, ()).messages
    known = adapt(get_tokenizer(tokenizer))
    pieces = prompt_pieces(conversation, known, PromptOptions(**options))
    if kept is not None:
        pieces = kept(pieces)
    ids = [token for piece in pieces for token in known.encode_rendered(piece)]
    if not conversation.pictures:
        return [EncodedTextChunk(ids)]
    return list(_cut(ids, conversation.pictures, known, "".join(pieces)))


def _cut(ids: Sequence[int], pictures: Sequence[PlacedPicture], tokenizer: Any, text: str) -> Iterator[Chunk]:
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
