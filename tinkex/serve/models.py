"""Models of the gateway: names, sampling clients, tokenizers."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import attrs

from tinkex.chat import ChatFormat, unread_variables
from tinkex.errors import APIStatusError, TinkexError, is_user_error
from tinkex.sampling_client import SamplingClient
from tinkex.serve.errors import GatewayError
from tinkex.service_client import ServiceClient
from tinkex.text import TextCodec
from tinkex.tokenizers import ChatTemplateError
from tinkex.types import SupportedModel

T = TypeVar("T")
logger: logging.Logger = logging.getLogger("tinkex.serve")
_SCHEME: Final = "tinker://"
_SECONDS: Final = 120.0  # to open a model, or to ask the server something
_MOST_MODELS: Final = 64  # that are kept open
_LONGEST_NAME: Final = 1024
_KEEP_LIST: Final = 60.0  # seconds
_LARGE: Final = 20_000  # characters: a few milliseconds of work


@attrs.frozen
class ModelTarget:
    """What a model's name stands for: a base model, saved weights, or weights of a base model."""

    base_model: str | None = None
    model_path: str | None = None

    @classmethod
    def parse(cls, name: str) -> ModelTarget:
        """Read ``NAME``, ``tinker://...``, ``NAME;tinker://...`` (the hosted form) or ``NAME+tinker://...``."""
        if name.startswith(_SCHEME):
            return cls(None, name)
        for mark in ";+":
            base, found, path = name.partition(f"{mark}{_SCHEME}")
            if found:
                return cls(base, _SCHEME + path)
        return cls(name)

    @property
    def root(self) -> str:
        """What is sampled from, as vLLM lists it."""
        return self.model_path or self.base_model or ""


def read_models(models: str | Iterable[str] | Mapping[str, str] | None) -> dict[str, ModelTarget]:
    """Return the models to serve by the names that clients give: `models` are names, ``NAME=PATH`` texts or a mapping.

    Raises:
        ValueError: A name is empty, or given twice.
    """
    given = [models] if isinstance(models, str) else models or ()
    pairs = list(given.items()) if isinstance(given, Mapping) else [_pair(text) for text in given]
    found: dict[str, ModelTarget] = {}
    for name, target in pairs:
        if not name or not target:
            raise ValueError(f"models: {name or target!r} needs a name and a target, as in NAME=tinker://...")
        if name in found:
            raise ValueError(f"models: {name!r} is given twice")
        found[name] = ModelTarget.parse(target)
    return found


def _pair(text: str) -> tuple[str, str]:
    if not isinstance(text, str):
        raise TypeError(f"models must be names, NAME=PATH texts or a mapping, not {type(text).__name__}")
    name, alias, target = text.partition("=")
    return (name, target) if alias else (text, text)


class ModelVocabulary(TextCodec):
    """The tokenizer of a model, of whose chat template requests may ask for variables that it does not read.

    Used by the thread of the event loop and by worker threads.
    """

    def __init__(self, tokenizer: object) -> None:
        super().__init__(tokenizer)
        self._unread: set[str] = set()

    def chat_format(self, variables: Mapping[str, Any]) -> ChatFormat:
        """Return the chat format with these template variables; those that the template does not read are left out.

        Raises:
            ChatTemplateError: There is no template.
        """
        unread = unread_variables(variables, self.tokenizer) if variables else []
        if not self._unread.issuperset(unread):
            logger.warning("The chat template of %r does not read %s.", self.tokenizer, ", ".join(unread))
            self._unread.update(unread)
        return super().chat_format({name: value for name, value in variables.items() if name not in unread})


@attrs.define(eq=False)
class ServedModel:
    """A model that is open: its client, its context length, and its tokenizer when first needed."""

    name: str
    """What the client calls it."""
    client: SamplingClient
    target: ModelTarget
    max_context_length: int | None
    """Most tokens of prompt and answer together; None where the server does not say."""
    named_tokenizer: object = None
    _vocabulary: asyncio.Task[ModelVocabulary] | None = None

    async def vocabulary(self) -> ModelVocabulary:
        """Return the tokenizer's vocabulary, loaded with the first call.

        Raises:
            GatewayError: 400: there is none. Prompts of token ids work without.
        """
        task = self._vocabulary
        if task is None or not _is_usable(task):
            task = self._vocabulary = asyncio.create_task(asyncio.to_thread(self._load))
        try:
            return task.result() if task.done() else await asyncio.shield(task)
        except TinkexError as error:
            advice = "Send token ids, or name a tokenizer (--tokenizer of the gateway)."
            raise GatewayError(400, f"There is no tokenizer for this model: {error} {advice}", "model") from error

    async def vocabulary_or_none(self) -> ModelVocabulary | None:
        """Return the tokenizer's vocabulary; None where there is none."""
        try:
            return await self.vocabulary()
        except GatewayError:
            return None

    def _load(self) -> ModelVocabulary:
        named = self.named_tokenizer
        vocabulary = ModelVocabulary(self.client.get_tokenizer(timeout=_SECONDS) if named is None else named)
        _ = vocabulary.decode
        try:
            vocabulary.chat_format({})
        except (ChatTemplateError, TinkexError, ImportError):
            logger.info("There is no chat template for %s.", self.target.root)
        return vocabulary


class ModelRegistry:
    """The models that clients may name: opened once each, also under racing requests; of one event loop.

    Args:
        service: Where they are sampled.
        models: Those that are offered, by name; empty for all that the server has.
        tokenizer: A name, a path or an object, for all of them; None for each model's own.
    """

    def __init__(self, service: ServiceClient, models: Mapping[str, ModelTarget], tokenizer: object) -> None:
        self._service = service
        self._models = models
        self._tokenizer = tokenizer
        self._open: OrderedDict[str, asyncio.Task[ServedModel]] = OrderedDict()
        self._asked: asyncio.Task[tuple[SupportedModel, ...]] | None = None
        self._asked_at = 0.0

    async def get(self, name: str | None) -> ServedModel:
        """Return the model of a name; without one the only model, or the first that the gateway was given.

        Raises:
            GatewayError: 404 for a name that is not offered, and what opening it ends with.
        """
        name = await self._default() if name is None else name
        task = self._open.get(name)
        if task is None or not _is_usable(task):
            task = self._open[name] = asyncio.create_task(self._opened(name))
            while len(self._open) > _MOST_MODELS:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return task.result() if task.done() else await asyncio.shield(task)

    async def entries(self) -> list[dict[str, Any]]:
        """Return the list of models as OpenAI's API has it, with vLLM's ``root``, ``parent`` and ``max_model_len``."""
        if not self._models:
            return [_entry(each.model_name, ModelTarget(each.model_name), each) for each in await self._supported()]
        known = {each.model_name: each for each in await self._supported_or_none()}
        return [_entry(name, target, known.get(target.base_model or "")) for name, target in self._models.items()]

    async def entry(self, name: str) -> dict[str, Any]:
        """Return the list's entry for one name, which may be any that can be sampled from."""
        for entry in await self.entries():
            if entry["id"] == name:
                return entry
        model = await self.get(name)
        return _entry(name, model.target, SupportedModel(model.target.root, model.max_context_length))

    async def _default(self) -> str:
        names = list(self._models) or [each.model_name for each in await self._supported()]
        if not names or (len(names) > 1 and not self._models):
            raise GatewayError(400, "model must be given: there is more than one, or none is listed.", "model")
        return names[0]

    async def _opened(self, name: str) -> ServedModel:
        target = self._models.get(name) if self._models else ModelTarget.parse(name[: _LONGEST_NAME + 1])
        if target is None or len(name) > _LONGEST_NAME:
            raise _not_found(name, "This gateway does not offer it.")
        try:
            future = self._service.create_sampling_client_async(
                base_model=target.base_model, model_path=target.model_path, timeout=_SECONDS
            )
            client = await asyncio.wrap_future(future)
        except TinkexError as error:
            if isinstance(error, APIStatusError) and is_user_error(error) and error.status in (400, 404, 422):
                raise _not_found(name, str(error)) from error
            raise
        except (TypeError, ValueError) as error:
            raise _not_found(name, str(error)) from error
        supported = {each.model_name: each for each in await self._supported_or_none()}
        found = supported.get(target.base_model or await asyncio.to_thread(_base_model, client) or "")
        return ServedModel(name, client, target, None if found is None else found.max_context_length, self._tokenizer)

    async def _supported(self) -> tuple[SupportedModel, ...]:
        task, now = self._asked, asyncio.get_running_loop().time()
        is_old = task is not None and task.done() and now - self._asked_at > _KEEP_LIST
        if task is None or is_old or not _is_usable(task):
            self._asked_at = now
            task = self._asked = asyncio.create_task(asyncio.to_thread(self._ask))
        return await asyncio.shield(task)

    async def _supported_or_none(self) -> tuple[SupportedModel, ...]:
        try:
            return await self._supported()
        except TinkexError:
            return ()

    def _ask(self) -> tuple[SupportedModel, ...]:
        found = self._service.get_server_capabilities(timeout=_SECONDS).supported_models
        return tuple(each for each in found if each.model_name and each.sampleable is not False)


def _base_model(client: SamplingClient) -> str | None:
    try:
        return client.get_base_model(timeout=_SECONDS)
    except TinkexError:
        return None


def _not_found(name: str, reason: str) -> GatewayError:
    return GatewayError(404, f"The model {name[:200]!r} does not exist. {reason}", "model", "model_not_found")


def _entry(name: str, target: ModelTarget, known: SupportedModel | None) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "tinkex",
        "root": target.root,
        "parent": target.base_model if target.model_path else None,
        "max_model_len": None if known is None else known.max_context_length,
    }


async def background(work: Callable[..., T], *arguments: Any, size: int) -> T:
    """Run work whose cost grows with `size` characters: a large one on a thread, so that other requests go on."""
    return await asyncio.to_thread(work, *arguments) if size > _LARGE else work(*arguments)


def _is_usable(task: asyncio.Task[Any] | None) -> bool:
    """Whether a shared task is under way, or has a result; one that failed is made again."""
    return task is not None and not (task.done() and (task.cancelled() or task.exception() is not None))
