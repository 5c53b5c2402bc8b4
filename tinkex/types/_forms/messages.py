"""A conversation becomes the chunks of a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tinkex._validation.values import shown
from tinkex.types.chunks import Chunk, EncodedTextChunk
from tinkex.types.images import ImageAssetPointerChunk, ImageChunk

Picture = ImageChunk | ImageAssetPointerChunk
#: What templates of Qwen and Kimi write where a picture goes, for tokenizers that do not name it themselves.
_PLACEHOLDERS = ("<|image_pad|>", "<|media_pad|>")


def chat_chunks(
    messages: Iterable[Mapping[str, Any]],
    tokenizer: object,
    add_generation_prompt: bool,
    tools: Iterable[Mapping[str, Any]] | None,
    chat_template: str | None,
    variables: Mapping[str, Any],
) -> list[Chunk]:
    """Render messages and cut the text into chunks, a picture in each place that the template leaves for one."""
    from tinkex.tokenizers import get_tokenizer
    from tinkex.tokenizers._adapters import adapt
    from tinkex.tokenizers._chat_template.render import render_chat

    pictures: list[tuple[str, Picture]] = []
    plain = [_message(name, message, pictures) for name, message in _mappings("messages", messages)]
    if not plain:
        raise ValueError("messages must not be empty")
    plain_tools = None if tools is None else [_plain(name, tool) for name, tool in _mappings("tools", tools)]
    known = adapt(get_tokenizer(tokenizer))
    text = render_chat(
        plain,
        known,
        add_generation_prompt=add_generation_prompt,
        tools=plain_tools,
        chat_template=chat_template,
        variables={name: _plain(name, value) for name, value in variables.items()},
    )
    ids = known.encode(text, add_special_tokens=False)
    return list(_cut(ids, pictures, known, text)) if pictures else [EncodedTextChunk(ids)]


def _mappings(name: str, items: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise TypeError(f"{name} must be a sequence of mappings, got {shown(items)}")
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise TypeError(f"{name}[{index}] must be a mapping, got {shown(item)}")
        yield f"{name}[{index}]", item


def _message(name: str, message: Mapping[str, Any], pictures: list[tuple[str, Picture]]) -> Any:
    if "role" not in message:
        raise ValueError(f"{name} has no role, only {', '.join(map(str, message)) or 'nothing'}")
    content = message.get("content")
    if isinstance(content, list | tuple):
        parts = [_part(f"{name}.content[{index}]", part, pictures) for index, part in enumerate(content)]
        message = {**message, "content": parts}
    return _plain(name, message)


def _part(name: str, part: Any, pictures: list[tuple[str, Picture]]) -> Any:
    """Note the picture of a part of a message, and leave a word in its place."""
    if not isinstance(part, Mapping):
        return part
    found = [key for key, value in part.items() if isinstance(value, Picture)]
    if not found and part.get("type") not in ("image", "image_url"):
        return part
    if len(found) != 1:
        raise ValueError(
            f"{name} needs one picture and has {len(found)}:"
            " give {'type': 'image', 'image': ImageChunk.from_path(...)}"
        )
    pictures.append((name, part[found[0]]))
    return {**part, found[0]: "picture"}


def _plain(name: str, value: Any) -> Any:
    """Copy plain data: a template, which is a downloaded program, must not get hold of anything else."""
    if value is None or type(value) is bool:
        return value
    if isinstance(value, str):
        return str.__str__(value)  # what a subclass adds stays behind
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {_key(name, key): _plain(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{name}[{index}]", item) for index, item in enumerate(value)]
    raise TypeError(f"{name} must be plain data (text, numbers, lists, mappings, None), got {shown(value)}")


def _key(name: str, key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{name} must have strings as keys, got {shown(key)}")
    return str.__str__(key)


def _cut(ids: Sequence[int], pictures: Sequence[tuple[str, Picture]], tokenizer: Any, text: str) -> Iterator[Chunk]:
    """Put the pictures where their placeholders are, in their order."""
    name, _ = pictures[0]
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
    for place, (_, picture) in zip(places, pictures, strict=True):
        if place > start:
            yield EncodedTextChunk(ids[start:place])
        yield picture
        start = place + 1
    if start < len(ids):
        yield EncodedTextChunk(ids[start:])
