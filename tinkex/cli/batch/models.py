"""Opens the models of a batch that the command line names."""

from __future__ import annotations

from typing import Any

import tinkex
from tinkex import bulk
from tinkex.cli._app import usage_error
from tinkex.cli._screen import note, working
from tinkex.cli.options.connect import Target, fetch_local_model, model_options
from tinkex.tokenizers import get_tokenizer


def online_models(service: Any, target: Target, *, text: bool) -> bulk.Models:
    """Open the models that the target names; those that rows name are opened when the first of them comes."""

    def open_model(name: str) -> Any:
        return service.create_sampling_client(
            **model_options(name), timeout=target.timeout, retry_config=tinkex.RetryConfig()
        )

    with working("Connecting"):
        models = bulk.Models(_names(service, target), open_model, target.tokenizer)
        opened = [models.get(name) for name in models.names]  # what the command line names has to be there
    with working("Loading the tokenizer"):
        for model in opened:
            if text and model.try_tokenizer() is None:
                note("There is no tokenizer: only rows of token ids can be sampled, and answers have no text.")
    return models


def _names(service: Any, target: Target) -> tuple[str, ...]:
    """The models every row goes to; without any, the one that the server offers, if it is one."""
    if target.names():
        return target.names()
    capabilities = service.get_server_capabilities(timeout=target.timeout)
    names = tuple(model.model_name for model in capabilities.supported_models if model.model_name)
    return names if len(names) == 1 else ()


def offline_models(target: Target) -> bulk.Models:
    """Return the same models for a dry run, which needs their tokenizers only and asks no server."""
    tokenizer: object = target.tokenizer
    names = target.names()
    if target.local:
        from tinkex.local.fetch import MODEL_NAME

        tokenizer, names = tokenizer or get_tokenizer(fetch_local_model()), (MODEL_NAME,)
    if tokenizer is None and any("base_model" not in model_options(name) for name in names):
        usage_error("A dry run does not ask the server what model a path is of: say --base-model or --tokenizer.")
    return bulk.Models(names or ("the server's model",), _tokenizer_only, tokenizer)


def _tokenizer_only(name: str) -> Any:
    return bulk.tokenizer_only(model_options(name).get("base_model", name))
