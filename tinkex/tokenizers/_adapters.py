"""The tokenizer interface of tinkex, and adapters for the tokenizers of other libraries."""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol

import attrs

from tinkex.tokenizers._chat_files import ChatFiles, FileSource, named_templates, read_chat_files, special_token_texts
from tinkex.tokenizers.errors import TokenizerError

_LONG: Final = (
    20_000  # characters: 5 ms or more, in which other threads are to run; the library lets them in a batch only
)
CONTROL_TOKEN: Final = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]+\]")
"""What control tokens look like in a rendered conversation: ``<|im_end|>``, ``</s>``, ``[INST]``."""
_SPECIAL_NAMES: Final = ("bos_token", "eos_token", "pad_token", "unk_token")
_LOOK_UPS: Final = (
    ("convert_tokens_to_ids", "convert_ids_to_tokens"),  # transformers
    ("token_to_id", "id_to_token"),  # tokenizers
    ("piece_to_id", "id_to_piece"),  # sentencepiece
    ("get_special_token", "id_to_piece"),  # mistral-common
)


class Tokenizer(Protocol):
    """Protocol: what tinkex asks of a tokenizer."""

    def encode(self, text: str, /) -> list[int]:
        """Turn text into token ids, with the special tokens that the model puts around every text."""

    def decode(self, ids: Sequence[int], /) -> str:
        """Turn token ids into text."""


@attrs.frozen(repr=False)
class LoadedTokenizer:
    """A tokenizer loaded from ``tokenizer.json``; safe to share between threads."""

    name: str
    _inner: Any
    _source: FileSource

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Turn text into token ids; special tokens written in the text are read as such.

        *add_special_tokens* puts the model's special tokens around the text as well.
        """
        if len(checked_text(text)) > _LONG:
            (encoded,) = self._inner.encode_batch([text], add_special_tokens=add_special_tokens)
        else:
            encoded = self._inner.encode(text, add_special_tokens=add_special_tokens)
        return list(encoded.ids)

    def encode_rendered(self, text: str) -> list[int]:
        """Turn a text that has its special tokens already into token ids."""
        return self.encode(text, add_special_tokens=False)

    @functools.cached_property
    def chat_files(self) -> ChatFiles:
        """The model's chat templates and special tokens; read, or downloaded, when first asked for."""
        return read_chat_files(self._source)

    @property
    def chat_template(self) -> str | Mapping[str, str] | None:
        """The model's chat template, several by name, or None; read, or downloaded, when first asked for."""
        return self.chat_files.chat_template

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Turn token ids into text, special tokens included unless they are to be skipped."""
        return str(self._inner.decode(checked_ids(ids), skip_special_tokens=skip_special_tokens))

    def decode_exactly(self, ids: Iterable[int]) -> str:
        """Turn token ids into text, special tokens included."""
        return self.decode(ids)

    def __repr__(self) -> str:
        return f"<tokenizer of {self.name}>"


@attrs.frozen(repr=False)
class AdaptedTokenizer:
    """Adapts a tokenizer object of another library: ids become lists of int; as safe to share as the original."""

    _inner: Any

    def encode(self, text: str, **options: Any) -> list[int]:
        """Turn text into token ids, the way the original does by default; options are the original's own.

        ``add_special_tokens=False`` may be given to any: an original that does not know it has none to add.
        """
        if options == {"add_special_tokens": False} and not _takes(self._inner.encode, "add_special_tokens"):
            options = {}
        encoded = self._inner.encode(checked_text(text), **options)
        return checked_ids(getattr(encoded, "ids", encoded))

    def encode_rendered(self, text: str) -> list[int]:
        """Turn a text that has its special tokens already into token ids.

        Raises:
            TokenizerError: The original has such a token, but reads its name as ordinary text.
        """
        if _names(self._inner.encode, "allowed_special"):  # tiktoken and openai-harmony refuse them otherwise
            return self.encode(text, allowed_special="all")
        ids = self.encode(text, add_special_tokens=False)
        self._check_reads_control_tokens(text, ids)
        return ids

    def _check_reads_control_tokens(self, text: str, ids: list[int]) -> None:
        look_up = _look_up(self._inner)
        if look_up is None:
            return
        encoded = set(ids[1:-1])  # those at the ends may not be written in the text
        for name in dict.fromkeys(CONTROL_TOKEN.findall(text)):
            token = _id_of(look_up, name, encoded)
            if token is not None and self.encode(name, add_special_tokens=False) != [token]:
                raise TokenizerError(
                    f"tokenizer: {self!r} takes {name} in a text for letters, not for its token {token}, so a rendered"
                    f" conversation would not be what the model knows. {self._way_out}"
                )

    @property
    def _way_out(self) -> str:
        if self.renders_itself:
            return "Let it render: ModelInput.from_ints(tokenizer.apply_chat_template(messages)['input_ids'])"
        return "Make the token ids with the library it belongs to, and pass them to ModelInput.from_ints."

    @property
    def renders_itself(self) -> bool:
        """Whether the original has an ``apply_chat_template`` of its own."""
        return callable(getattr(self._inner, "apply_chat_template", None))

    @property
    def chat_files(self) -> ChatFiles:
        """The chat templates and special tokens that the original has as attributes."""
        known = getattr(self._inner, "special_tokens_map", None)
        given = known if isinstance(known, Mapping) else {}
        tokens = {name: token for name, token in given.items() if name.endswith("_token")}
        if not (tokens and self.renders_itself):  # transformers has all of them there, and logs errors for the others
            tokens = {name: getattr(self._inner, name, None) for name in _SPECIAL_NAMES} | tokens
        return ChatFiles(named_templates(self.chat_template), special_token_texts(tokens))

    @property
    def chat_template(self) -> str | Mapping[str, str] | None:
        """The original's chat template, several by name, or None."""
        found: str | Mapping[str, str] | None = getattr(self._inner, "chat_template", None)
        return found

    def decode(self, ids: Iterable[int], **options: Any) -> str:
        """Turn token ids into text; options are the original's own."""
        return str(self._inner.decode(checked_ids(ids), **options))

    def decode_exactly(self, ids: Iterable[int]) -> str:
        """Turn token ids into text, special tokens included and spaces kept, whatever the original does by default."""
        options = {"skip_special_tokens": False} if _takes(self._inner.decode, "skip_special_tokens") else {}
        if hasattr(self._inner, "clean_up_tokenization_spaces"):  # of transformers: takes spaces out before full stops
            options["clean_up_tokenization_spaces"] = False
        return self.decode(ids, **options)

    def __repr__(self) -> str:
        inner = repr(self._inner)
        return inner if inner.startswith("<tokenizer ") else f"<tokenizer {inner}>"


_LookUp = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def _look_up(tokenizer: Any) -> _LookUp | None:
    """Return a tokenizer's functions from a token's name to its id and back, by the names they have in its library."""
    for to_id, to_name in _LOOK_UPS:
        find, back = getattr(tokenizer, to_id, None), getattr(tokenizer, to_name, None)
        if callable(find) and callable(back):
            return find, back
    return None


def _id_of(look_up: _LookUp, name: str, encoded: AbstractSet[int]) -> int | None:
    """Return the id of a control token that is not among the encoded ones; None for any other name."""
    find, back = look_up
    try:
        token = find(name)
        return operator.index(token) if token is not None and token not in encoded and back(token) == name else None
    except Exception:  # noqa: BLE001 - each library has its own way to say that there is none
        return None


def _takes(function: Any, option: str) -> bool:
    parameters = _parameters(function)
    return option in parameters or any(known.kind is known.VAR_KEYWORD for known in parameters.values())


def _names(function: Any, option: str) -> bool:
    """Return whether a function has an option by this name: not one that takes any and ignores it, as transformers'."""
    return option in _parameters(function)


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    method = getattr(function, "__func__", None)  # of Python's own: the parameters are those of the class
    return _read_parameters(function) if method is None else _method_parameters(method)


def _read_parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # a function in C that does not tell
        return {}


_method_parameters = functools.lru_cache(maxsize=64)(_read_parameters)


def adapt(candidate: object) -> LoadedTokenizer | AdaptedTokenizer:
    """Return an adapter for an object with ``encode`` and ``decode``; TypeError for any other."""
    if isinstance(candidate, LoadedTokenizer | AdaptedTokenizer):
        return candidate
    methods = (getattr(candidate, "encode", None), getattr(candidate, "decode", None))
    if isinstance(candidate, type) or not all(map(callable, methods)):
        raise TypeError(
            "tokenizer: expected a model name, a path or an object with encode and decode,"
            f" got {type(candidate).__name__}"
        )
    return AdaptedTokenizer(candidate)


def checked_text(text: object) -> str:
    """Validate a text to encode: str without lone surrogates."""
    if not isinstance(text, str):
        raise TypeError(f"text: expected str, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text: not valid Unicode at character {error.start} (a lone surrogate)") from None
    return text


def checked_ids(ids: Iterable[int]) -> list[int]:
    """Return token ids of any sequence type as a list of plain non-negative ints."""
    checked = list(map(operator.index, ids))
    if checked and min(checked) < 0:
        raise ValueError(f"token ids: expected non-negative integers, got {min(checked)}")
    return checked
