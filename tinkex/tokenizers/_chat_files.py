"""Read chat templates and special tokens from ``tokenizer_config.json`` and ``chat_template.jinja``."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from tinkex._validation.text import decode_text
from tinkex.tokenizers.errors import TokenizerError

_DEFAULT = "default"


class FileSource(Protocol):
    """Protocol: looks up the files of one model repository by name."""

    def file(self, name: str, /) -> pathlib.Path | None:
        """Return the path of a file, or None when the model does not have it."""


@attrs.frozen
class ModelDirectory:
    """A local directory with a model's files, as a `FileSource`."""

    path: pathlib.Path

    def file(self, name: str) -> pathlib.Path | None:
        """Return the path of a file, or None when it is not there."""
        found = self.path / name
        return found if found.is_file() else None


@attrs.frozen
class ChatFiles:
    """A model's chat templates by name, and its special tokens under the names that templates use."""

    templates: Mapping[str, str]
    special_tokens: Mapping[str, str]

    @property
    def chat_template(self) -> str | Mapping[str, str] | None:
        """The one template, or several by name, or None."""
        if set(self.templates) <= {_DEFAULT}:
            return self.templates.get(_DEFAULT)
        return self.templates


def read_chat_files(source: FileSource) -> ChatFiles:
    """Read the templates and special tokens of a model; a file of its own goes before ``tokenizer_config.json``."""
    found = source.file("tokenizer_config.json")
    config = {} if found is None else _json(found)
    templates = named_templates(config.get("chat_template"))
    try:
        own = source.file("chat_template.jinja")
    except TokenizerError:  # it cannot be asked for: then it counts only where nothing else does
        if not templates:
            raise
        own = None
    if own is not None:
        further = sorted(own.parent.glob("additional_chat_templates/*.jinja"))
        templates = {_DEFAULT: _read_text(own)} | {path.stem: _read_text(path) for path in further}
    return ChatFiles(templates, _special_tokens(config))


def named_templates(given: Any) -> dict[str, str]:
    """Return the value of ``chat_template`` (a text, a list of named ones, or a mapping) as a mapping by name."""
    if isinstance(given, str):
        return {_DEFAULT: given}
    if isinstance(given, list):
        given = {item.get("name"): item.get("template") for item in given if isinstance(item, Mapping)}
    if not isinstance(given, Mapping):
        return {}
    return {name: text for name, text in given.items() if isinstance(name, str) and isinstance(text, str)}


def special_token_texts(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of special tokens, which may be given as objects or mappings that have one as ``content``."""
    texts = {
        name: value.get("content") if isinstance(value, Mapping) else getattr(value, "content", value)
        for name, value in given.items()
    }
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    extra = config.get("extra_special_tokens")
    named = {name: value for name, value in config.items() if name.endswith("_token")}
    return special_token_texts({**named, **(extra if isinstance(extra, Mapping) else {})})


def _json(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        content = json.loads(_read_text(path))
    except ValueError as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise TokenizerError(f"{path} must hold a JSON object")
    return content


def _read_text(path: pathlib.Path) -> str:
    try:
        return decode_text(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TokenizerError(f"{path} cannot be read: {error}") from error
