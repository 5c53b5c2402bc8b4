"""Where a command samples: the options that say it, and the client they lead to."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import click

import tinkex
from tinkex.cli._app import usage_error
from tinkex.cli._screen import downloading, working
from tinkex.tokenizers import Tokenizer, get_tokenizer

_OPTIONS: Final = (
    click.option("--local", is_flag=True, help="Use the small model on this machine: no key, no server."),
    click.option("--base-model", metavar="NAME", help="Sample from a base model, such as Qwen/Qwen3-8B."),
    click.option("--model-path", metavar="PATH", help="Sample from saved weights, tinker://..."),
    click.option("--base-url", metavar="URL", help="The server. Default: TINKER_BASE_URL, else the official one."),
    click.option("--tokenizer", metavar="NAME|PATH", help="The tokenizer. Default: the model's own."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Give up after this long. Default: 2 hours."),
)


@attrs.frozen(kw_only=True)
class Target:
    """Where to sample, as the command line says it."""

    local: bool
    base_model: str | None
    model_path: str | None
    base_url: str | None
    tokenizer: str | None
    timeout: float | None

    def check(self) -> None:
        """End the command when the options contradict each other or say too little."""
        if self.local and (self.base_model or self.model_path or self.base_url):
            usage_error("--local stands alone: leave out --base-model, --model-path and --base-url.")
        if self.base_model and self.model_path:
            usage_error("Give --base-model or --model-path, not both.")
        if not (self.local or self.base_model or self.model_path or self.base_url or os.environ.get("TINKER_BASE_URL")):
            usage_error("Say where to sample: --local, --base-model, --model-path or --base-url.")


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where to sample; they arrive checked, as one ``target``."""

    @functools.wraps(command)
    def with_target(**options: Any) -> None:
        target = Target(**{field.name: options.pop(field.name) for field in attrs.fields(Target)})
        target.check()
        command(target=target, **options)

    decorated: Callable[..., None] = with_target
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


@attrs.frozen
class Connected:
    """A model that is ready to sample from, and its tokenizer."""

    client: Any
    tokenizer: Tokenizer
    model: str

    def plain_text(self, tokens: list[int]) -> str:
        """Decode tokens for a person: without the special ones, where the tokenizer can tell."""
        try:
            return self.tokenizer.decode(tokens, skip_special_tokens=True)  # type: ignore[call-arg]
        except TypeError:
            return self.tokenizer.decode(tokens)


@contextlib.contextmanager
def connected(target: Target) -> Iterator[Connected]:
    """Open what the target names, showing on stderr what takes long; closed again at the end."""
    with open_service(target) as service:
        with working("Connecting"), wrong_arguments():
            path, name = target.model_path, target.base_model
            if path is None and name is None:
                name = _only_model(service, target.timeout)
            client = service.create_sampling_client(base_model=name, model_path=path, timeout=target.timeout)
        with working("Loading the tokenizer"):
            tokenizer = get_tokenizer(target.tokenizer) if target.tokenizer else client.get_tokenizer()
        yield Connected(client, tokenizer, name or path or "")


def open_service(target: Target) -> Any:
    """Make the service client that the target asks for."""
    if not target.local:
        with wrong_arguments():
            return tinkex.ServiceClient(base_url=target.base_url)
    fetch_local_model()
    with working("Starting the local model"):
        return tinkex.ServiceClient.local()


def fetch_local_model() -> pathlib.Path:
    """Return where the local model's file is, downloading it on first use."""
    import tinkex.local

    with downloading("Downloading the local model") as progress:
        return tinkex.local.fetch_model(progress=progress)


@contextlib.contextmanager
def wrong_arguments() -> Iterator[None]:
    """Report values that the client refuses as wrong usage."""
    try:
        yield
    except (TypeError, ValueError) as error:
        usage_error(str(error))


def _only_model(service: Any, timeout: float | None) -> str:
    capabilities = service.get_server_capabilities(timeout=timeout)
    names = [model.model_name for model in capabilities.supported_models if model.model_name]
    if len(names) != 1:
        offered = f"It offers: {', '.join(names)}." if names else "The server names none."
        usage_error(f"Say which model with --base-model. {offered}")
    return str(names[0])
