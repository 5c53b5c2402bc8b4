"""Decode server capabilities: the models a server offers, in each of the forms that servers use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tinkex._validation.json_values import count, flag, text
from tinkex.errors import APIResponseError

if TYPE_CHECKING:
    from tinkex.types import ServerCapabilities


def decode_capabilities(value: Any) -> ServerCapabilities:
    """Read the JSON of get_server_capabilities. Entries without any name are left out.

    Raises:
        APIResponseError: There is no list of models in it.
    """
    from tinkex.types import ServerCapabilities, SupportedModel  # records are loaded with the first use

    models = [
        SupportedModel(
            name,
            max_context_length=_context_length(entry),
            trainable=flag(entry.get("trainable")),
            sampleable=flag(entry.get("sampleable")),
            tokenizer_id=text(entry.get("tokenizer_id")),
        )
        for name, entry in _models(value)
    ]
    return ServerCapabilities(models)


def decode_context_lengths(value: Any) -> dict[str, int]:
    """Read from the same JSON how many tokens of prompt and answer together each model takes, where that is said."""
    lengths: dict[str, int] = {}
    for name, entry in _models(value):
        lengths.setdefault(name, _context_length(entry) or 0)
    return lengths


def _models(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The models that have a name, and what is said of each."""
    models = value.get("supported_models") if isinstance(value, Mapping) else value
    if not isinstance(models, list):
        raise APIResponseError("The server's capabilities hold no list of supported models.")
    for each in models:
        entry = {"model_name": each} if isinstance(each, str) else each
        if isinstance(entry, Mapping):
            name = text(entry.get("model_name")) or text(entry.get("model_id"))
            if name is not None:
                yield name, entry


def _context_length(entry: Mapping[str, Any]) -> int | None:
    return count(entry.get("max_context_length"), 1)
