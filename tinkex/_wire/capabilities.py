"""Decode server capabilities: the models a server offers, in each of the forms that servers use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinkex._validation.json_values import count, flag, text
from tinkex.errors import APIResponseError
from tinkex.types import ServerCapabilities, SupportedModel


def decode_capabilities(value: Any) -> ServerCapabilities:
    """Read the JSON of get_server_capabilities. Entries without any name are left out.

    Raises:
        APIResponseError: There is no list of models in it.
    """
    models = value.get("supported_models") if isinstance(value, Mapping) else value
    if not isinstance(models, list):
        raise APIResponseError("The server's capabilities hold no list of supported models.")
    return ServerCapabilities([model for model in map(_model, models) if model is not None])


def _model(entry: Any) -> SupportedModel | None:
    if isinstance(entry, str):
        return SupportedModel(entry) if entry else None
    if not isinstance(entry, Mapping):
        return None
    name = text(entry.get("model_name")) or text(entry.get("model_id"))
    if name is None:
        return None
    return SupportedModel(
        name,
        max_context_length=count(entry.get("max_context_length"), 1),
        trainable=flag(entry.get("trainable")),
        sampleable=flag(entry.get("sampleable")),
        tokenizer_id=text(entry.get("tokenizer_id")),
    )
