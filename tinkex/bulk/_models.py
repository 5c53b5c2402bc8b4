"""The models a run samples from: clients and tokenizers, opened when the first row needs them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import attrs

from tinkex.sampling_client import SamplingClient
from tinkex.tokenizers import Tokenizer, get_tokenizer

Open = Callable[[str], SamplingClient]


class Model:
    """One model: its client, and its tokenizer, which is loaded on first use. Safe to share between threads."""

    def __init__(self, client: SamplingClient, tokenizer: object = None) -> None:
        self.client = client
        self._named = tokenizer
        self._loading = threading.Lock()  # guards _loaded
        self._loaded: Tokenizer | Exception | None = None
        self._decode: Callable[[list[int]], str] | None = None

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer; raises the same error again where there is none to be had."""
        if self._loaded is None:
            with self._loading:
                if self._loaded is None:
                    self._loaded = self._load()
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded

    def try_tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer; None where there is none to be had."""
        try:
            return self.tokenizer()
        except Exception:  # noqa: BLE001 - rows of token ids do without
            return None

    def decode(self, tokens: list[int]) -> str | None:
        """Turn token ids into text, without the special ones where the tokenizer can tell.

        None without a tokenizer, and for ids that it does not have: a row holds them as they are.
        """
        try:
            if self._decode is None:
                self._decode = self._decoder()
            return self._decode(tokens)
        except Exception:  # noqa: BLE001
            return None

    def _decoder(self) -> Callable[[list[int]], str]:
        decode: Any = self.tokenizer().decode
        try:
            decode([], skip_special_tokens=True)
        except TypeError:
            return cast("Callable[[list[int]], str]", decode)
        return functools.partial(decode, skip_special_tokens=True)

    def _load(self) -> Tokenizer | Exception:
        try:
            return self.client.get_tokenizer() if self._named is None else get_tokenizer(self._named)
        except Exception as error:  # noqa: BLE001 - each row that needs it says so
            return error


@attrs.frozen
class Models:
    """Registry of a run's models: which ones every row goes to, and how their clients are opened.

    - *names*: those of the run; rows may name others.
    - *open*: makes the client of a name; called once a name, from a thread of the run.
    - *tokenizer*: a name, a path or an object, for all of them; None for each model's own.

    It pickles without what it has opened, if `open` pickles.
    """

    names: tuple[str, ...]
    open: Open
    tokenizer: object = None
    _opened: dict[str, Model | Exception] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    @classmethod
    def of(cls, models: Models | SamplingClient | Mapping[str, SamplingClient], tokenizer: object = None) -> Models:
        """Take one client, called as its weights, its base model or its session; or several by name."""
        if isinstance(models, Models):
            return models
        if not isinstance(models, Mapping):
            models = {_name(models): models}
        if not models:
            raise ValueError("models must name at least one")
        return cls(tuple(models), GivenClients(dict(models)), tokenizer)

    def get(self, name: str) -> Model:
        """Return the model, opened now if it is the first time; raises the same error again if that failed."""
        found = self._opened.get(name)
        if found is None:
            try:
                found = Model(self.open(name), self.tokenizer)
            except Exception as error:  # noqa: BLE001 - each row of this model says so
                found = error
            self._opened[name] = found
        if isinstance(found, Exception):
            raise found
        return found

    def clients(self) -> Sequence[SamplingClient]:
        """Return the clients that are open now."""
        return [model.client for model in list(self._opened.values()) if isinstance(model, Model)]

    def __reduce__(self) -> tuple[Any, ...]:
        return Models, (self.names, self.open, self.tokenizer)


@attrs.frozen
class GivenClients:
    """Opens models by returning clients that the caller made, by name."""

    clients: dict[str, SamplingClient]

    def __call__(self, name: str) -> SamplingClient:
        """Return the client of that name."""
        if name not in self.clients:
            raise ValueError(f"model {name!r} is none of this run's: {', '.join(sorted(self.clients))}")
        return self.clients[name]


def _name(client: SamplingClient) -> str:
    with contextlib.suppress(Exception):  # a server that does not tell
        path = client._described().get("model_path")  # noqa: SLF001 - other weights of one model are another model
        if isinstance(path, str) and path:
            return path
    try:
        return client.get_base_model()
    except Exception:  # noqa: BLE001 - a server that does not tell
        return client.sampling_session_id
