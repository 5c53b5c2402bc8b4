"""Target options: the server and the models that a command samples from, and the clients for them."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

import tinkex
from tinkex.cli._app import usage_error, with_options
from tinkex.cli._screen import downloading, note, working
from tinkex.cli.options.seconds import Seconds
from tinkex.errors import TinkexError, extra
from tinkex.tokenizers import Tokenizer, TokenPieces, get_tokenizer, text_decoder

if TYPE_CHECKING:
    from tinkex.local import SampleReport

_OPTIONS: Final = (
    click.option("--local", is_flag=True, help="Use the small model on this machine: no key, no server."),
    click.option("--base-model", multiple=True, metavar="NAME", help="Use a base model, such as Qwen/Qwen3-8B."),
    click.option(
        "--model-path", multiple=True, metavar="PATH", help="Use saved weights, tinker://..., of --base-model."
    ),
    click.option("--model", multiple=True, metavar="NAME|PATH", help="Either of them, or NAME+PATH."),
    click.option("--base-url", metavar="URL", help="The server. Default: TINKER_BASE_URL, else the official one."),
    click.option("--tokenizer", metavar="NAME|PATH", help="The tokenizer. Default: the model's own."),
    click.option(
        "--timeout", type=Seconds(endless=True), metavar="SECONDS", help="Give up after this long. Default: 2 hours."
    ),
)
_SCHEME: Final = "tinker://"
_PATIENCE: Final = tinkex.RetryConfig(max_elapsed=5.0)
"""A person waits: what does not work within seconds is told at once. Samples themselves have the usual patience."""


@attrs.frozen(kw_only=True)
class Target:
    """Target of a command: where to sample, as its options say."""

    local: bool = False
    base_model: tuple[str, ...] = ()
    model_path: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    base_url: str | None = None
    tokenizer: str | None = None
    timeout: float | None = None

    def check(self, *, several: bool = False) -> None:
        """End the command when the options contradict each other or say too little."""
        names = self.names()
        for path in self.model_path:
            if not path.startswith(_SCHEME):
                usage_error(f"model_path must start with {_SCHEME}, not {path[:60]!r}")
        if self.local and (names or self.base_url):
            usage_error("--local stands alone: leave out --base-model, --model-path, --model and --base-url.")
        if len(self.base_model) > 1 and self.model_path:
            usage_error(
                "With --model-path, --base-model names the model of these weights: give one. To compare, use --model."
            )
        if len(names) > 1 and not several:
            usage_error("Give one model: --base-model, --model-path, or one of each.")
        if not (self.local or names or self.base_url or os.environ.get("TINKER_BASE_URL")):
            usage_error("Say where to sample: --local, --base-model, --model-path or --base-url.")

    def names(self) -> tuple[str, ...]:
        """The models that are named, once each; see `model_options` for what a name may be."""
        bases, paths = self.base_model, self.model_path
        given = [f"{base}+{path}" for path in paths for base in bases] if bases and paths else [*bases, *paths]
        return tuple(dict.fromkeys((*given, *self.model)))


def model_options(name: str) -> dict[str, str]:
    """What `create_sampling_client` takes for a model's name: that of a base model, a path, or both joined with "+".

    >>> model_options("Qwen/Qwen3-8B+tinker://run/sampler_weights/1")
    {'base_model': 'Qwen/Qwen3-8B', 'model_path': 'tinker://run/sampler_weights/1'}
    """
    if name.startswith(_SCHEME):
        return {"model_path": name}
    base, plus, path = name.partition(f"+{_SCHEME}")
    return {"base_model": base, "model_path": _SCHEME + path} if plus else {"base_model": name}


def target_options(command: Callable[..., Any], *, several: bool = False) -> Callable[..., Any]:
    """Give a command the options that say where to sample; they arrive checked, as one ``target``."""

    @functools.wraps(command)
    def with_target(**options: Any) -> Any:
        target = Target(**{field.name: options.pop(field.name) for field in attrs.fields(Target)})
        target.check(several=several)
        return command(target=target, **options)

    return with_options(_OPTIONS, with_target)


@attrs.frozen
class Connected:
    """A model that is ready to sample from, and its tokenizer: None where it has none and the command needs none."""

    client: Any
    tokenizer: Tokenizer | None
    model: str

    def sampled_text(self, tokens: list[int], *, chat: bool) -> str | None:
        """Decode sampled tokens, as a message or as what they add to a prompt; None without a tokenizer."""
        if self.tokenizer is None:
            return None
        return text_decoder(self.tokenizer)(tokens) if chat else TokenPieces(self.tokenizer).text_behind(tokens)

    def plain_text(self, tokens: list[int]) -> str:
        """Decode tokens for a person: without the special ones, where the tokenizer can tell; without one, the ids."""
        if self.tokenizer is None:
            return " ".join(map(str, tokens))
        return text_decoder(self.tokenizer)(tokens)


@attrs.frozen
class Unavailable:
    """A model that cannot be sampled from, and why."""

    error: TinkexError
    model: str


@contextlib.contextmanager
def connected(target: Target, *, tokenizer: bool = True) -> Iterator[Connected]:
    """Open what the target names, showing on stderr what takes long; closed again at the end."""
    with connected_models(target, tokenizer=tokenizer) as (model,):
        if isinstance(model, Unavailable):
            raise model.error.with_traceback(None)
        yield model


@contextlib.contextmanager
def connected_models(target: Target, *, tokenizer: bool = True) -> Iterator[list[Connected | Unavailable]]:
    """Open every model that the target names; those that fail do not keep the others from being used.

    Without `tokenizer`, a tokenizer that cannot be had is no failure.
    """
    reports: list[SampleReport] = []
    with open_service(target, reports.append) as service:
        with working("Connecting"), wrong_arguments():
            names = target.names() or (only_model(service, target.timeout),)
            ask = functools.partial(
                service.create_sampling_client_async, retry_config=tinkex.RetryConfig(), timeout=target.timeout
            )
            futures = [(name, ask(**model_options(name))) for name in names]
            clients = [(name, _result_or_error(future.result)) for name, future in futures]
        with working("Loading the tokenizer"):
            load = functools.partial(_with_tokenizer, target.tokenizer, needed=tokenizer)
            models = [load(client, name) for name, client in clients]
        yield models
    for report in reports:
        note(str(report))


def _result_or_error(call: Callable[[], Any]) -> Any:
    """The result of a call, or the TinkexError that it raises."""
    try:
        return call()
    except TinkexError as error:
        return error


def _with_tokenizer(chosen: str | None, client: Any, name: str, *, needed: bool) -> Connected | Unavailable:
    if isinstance(client, TinkexError):
        return Unavailable(client, name)
    tokenizer = _result_or_error(lambda: get_tokenizer(chosen) if chosen else client.get_tokenizer())
    if not isinstance(tokenizer, TinkexError):
        return Connected(client, tokenizer, name)
    if needed:
        return Unavailable(tokenizer, name)
    note(f"{name}: the text is shown as token ids. {tokenizer}")
    return Connected(client, None, name)


def open_service(target: Target, on_sample: Callable[[SampleReport], None] | None = None) -> Any:
    """Make the service client that the target asks for; *on_sample* is told how fast the local model was."""
    if not target.local:
        with wrong_arguments():
            return tinkex.ServiceClient(
                base_url=target.base_url, config=tinkex.ClientConfig(retry=_PATIENCE, reach_timeout=5.0)
            )
    with extra("local", "The local model"):
        from tinkex.local import LocalServer, find_model

        if find_model(check=False) is None:  # else the server checks the file while its process starts
            fetch_local_model()
        server = LocalServer(on_sample=on_sample, preload_tokenizer=True).start(wait=False)
    with working("Starting the local model"):
        return tinkex.ServiceClient.local(server=server)


def fetch_local_model() -> pathlib.Path:
    """Return where the local model's file is, downloading it on first use."""
    with extra("local", "The local model"), downloading("Downloading the local model") as progress:
        import tinkex.local

        return tinkex.local.fetch_model(progress=progress)


@contextlib.contextmanager
def wrong_arguments() -> Iterator[None]:
    """Report values that the client refuses as wrong usage."""
    try:
        yield
    except TinkexError:  # some of them are ValueErrors too
        raise
    except (TypeError, ValueError) as error:
        usage_error(str(error))


def only_model(service: Any, timeout: float | None) -> str:
    """The one model that the server offers; ends the command where there are more, or none."""
    capabilities = service.get_server_capabilities(timeout=timeout)
    names = [model.model_name for model in capabilities.supported_models if model.model_name]
    if len(names) != 1:
        offered = f"It offers: {', '.join(names)}." if names else "The server names none."
        usage_error(f"Say which model with --base-model. {offered}")
    return str(names[0])
