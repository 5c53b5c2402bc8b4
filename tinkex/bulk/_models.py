"""The models a run samples from: clients and tokenizers, opened when the first row needs them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.values import shown
from tinkex.errors import TinkexError
from tinkex.sampling_client import SamplingClient
from tinkex.text import TextCodec
from tinkex.tokenizers import Tokenizer, TokenPieces, get_tokenizer

Open = Callable[[str], SamplingClient]
_MOST_FAILURES: Final = 1000
_NAME_SECONDS: Final = 60.0


class Failure:
    """A stored error, without its traceback, from which a new one is made each time it is to be raised.

    An exception that is raised again and again grows by its traceback, whose frames keep the rows alive.
    """

    def __init__(self, error: Exception) -> None:
        self._error = _bare(error)

    def error(self) -> Exception:
        """Return a copy to raise; errors that cannot be copied become a RuntimeError with the same words."""
        return _bare(self._error)


def _bare(error: Exception) -> Exception:
    try:
        copied = copy.copy(error)
    except Exception:  # noqa: BLE001 - a class whose arguments are not those of its constructor
        return RuntimeError(f"{type(error).__name__}: {error}")
    return copied if type(copied) is type(error) and str(copied) == str(error) else RuntimeError(str(error))


class Model:
    """One model: its client, and its tokenizer, which is loaded on first use. Safe to share between threads."""

    def __init__(self, client: SamplingClient, tokenizer: object = None) -> None:
        self.client = client
        self._named = tokenizer
        self._loading = threading.Lock()  # guards _loaded
        self._loaded: Tokenizer | Failure | None = None
        self._codec: TextCodec | None = None

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer; raises an error like the first one where it could not be loaded."""
        loaded = self._load()
        if isinstance(loaded, Failure):
            raise loaded.error()
        return loaded

    def try_tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer; None where it could not be loaded."""
        loaded = self._load()
        return None if isinstance(loaded, Failure) else loaded

    def decode(self, tokens: list[int], *, chat: bool) -> str | None:
        """Turn sampled tokens into text, without the special ones where the tokenizer can tell.

        With `chat` it is a message; else what they add to the prompt, a space at the beginning included, which many
        tokenizers leave out of texts. None without a tokenizer, and for ids that it does not have: a row holds them as
        they are.
        """
        if self.try_tokenizer() is None:
            return None
        try:
            codec = self.codec()
            return codec.decode(tokens) if chat else codec.pieces.text_behind(tokens)
        except Exception:  # noqa: BLE001 - the row keeps its token ids
            return None

    def pieces(self) -> TokenPieces | None:
        """Return the pieces of the tokenizer's vocabulary; None where it could not be loaded."""
        return None if self.try_tokenizer() is None else self.codec().pieces

    def codec(self) -> TextCodec:
        """Return what turns text into tokens and back; raises an error like the first one without a tokenizer."""
        if self._codec is None:
            self._codec = TextCodec(self.tokenizer())
        return self._codec

    def _load(self) -> Tokenizer | Failure:
        if self._loaded is None:
            with self._loading:
                if self._loaded is None:
                    try:
                        self._loaded = (
                            self.client.get_tokenizer() if self._named is None else get_tokenizer(self._named)
                        )
                    except Exception as error:  # noqa: BLE001 - each row that needs it says so
                        self._loaded = Failure(error)
        return self._loaded


@with_field_docs
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
    _opened: dict[str, Model] = attrs.field(factory=dict, init=False, eq=False, repr=False)
    _failed: dict[str, Failure] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    @classmethod
    def of(cls, models: Models | SamplingClient | Mapping[str, SamplingClient], tokenizer: object = None) -> Models:
        """Take one client, which goes by its `get_model_name`, or several by name.

        Raises TinkexError where the name of a client has to be asked for, and the server does not tell.
        """
        if isinstance(models, Models):
            return models
        if not isinstance(models, Mapping):
            if not hasattr(models, "get_model_name"):
                raise TypeError(f"models must be a sampling client, or several by name, not {shown(models)}")
            models = {_model_name(models): models}
        if not models:
            raise ValueError("models must name at least one")
        return cls(tuple(models), GivenClients(dict(models)), tokenizer)

    def get(self, name: str) -> Model:
        """Return the model, opened now if it is the first time; raises an error like the first one if that failed.

        Of models that failed, the last thousand are remembered; others are opened anew.
        """
        model = self._opened.get(name)
        if model is not None:
            return model
        if name not in self._failed:
            try:
                model = self._opened[name] = Model(self.open(name), self.tokenizer)
            except Exception as error:  # noqa: BLE001 - each row of this model says so
                if len(self._failed) >= _MOST_FAILURES:
                    del self._failed[next(iter(self._failed))]
                self._failed[name] = Failure(error)
            else:
                return model
        raise self._failed[name].error()

    def clients(self) -> dict[str, SamplingClient]:
        """Return the clients that are open now, by name."""
        return {name: model.client for name, model in list(self._opened.items())}

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


def _model_name(client: SamplingClient) -> str:
    try:
        return client.get_model_name(timeout=_NAME_SECONDS)
    except TinkexError as error:
        raise TinkexError(
            f"Which model this client samples from is not known, so its results could not be told from those of others."
            f" Give it a name: models={{'some name': client}}. ({error})"
        ) from error
