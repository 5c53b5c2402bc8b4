"""Resolve a model name, a path or an object to a tokenizer, with a process-wide cache."""

from __future__ import annotations

import importlib
import os
import pathlib
import re
from typing import Final

from tinkex._validation.values import shown
from tinkex.tokenizers._adapters import Tokenizer, adapt
from tinkex.tokenizers._chat_files import ModelDirectory
from tinkex.tokenizers._hub import HubFiles
from tinkex.tokenizers._loading_cache import LoadingCache
from tinkex.tokenizers._tokenizer_json import load_json
from tinkex.tokenizers.errors import TokenizerError, TokenizerExtraError

_LLAMA_3: Final = "meta-llama/Llama-3"
_LLAMA_3_PUBLIC: Final = "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"  # the original is gated
_TOY: Final = "tinkex/toy"
_EMBEDDED_MODEL: Final = "HuggingFaceTB/SmolLM2-135M-Instruct"
_NAME: Final = re.compile(r"(?!.*(\.\.|--))[a-z0-9][\w.-]{0,95}(/[a-z0-9][\w.-]{0,95})?", re.ASCII | re.IGNORECASE)
_OWN_FORMAT: Final = ("TML/", "thinkingmachines/")
_OTHER_FORMATS: Final = ("tiktoken.model", "tokenizer.model", "vocab.json")
_BRING_YOUR_OWN: Final = "load it with the library it is made for and pass the object, which needs encode and decode"

_LOADS: Final = LoadingCache[Tokenizer](size=32)
os.register_at_fork(after_in_child=_LOADS.reset_after_fork)


def get_tokenizer(model_or_tokenizer: object, *, revision: str | None = None) -> Tokenizer:
    """Return the tokenizer of a model name or path; an object that is a tokenizer already is adapted.

    - A name such as ``"Qwen/Qwen3-8B"`` loads ``tokenizer.json`` from the Hugging Face cache, or downloads it once.
      ``HF_HOME``, ``HF_TOKEN``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are respected; what is in the cache is used
      without asking the network. *revision* pins a branch, tag or commit; None means the main branch. A variant
      (``org/model/variant``) and a suffix (``model:suffix``) are ignored; Llama 3 uses a public copy.
    - ``"tinkex/toy"`` is the `ToyTokenizer` of `tinkex.testing`, which needs no file.
    - A path names a directory with a ``tokenizer.json``, such a file, or a ``.gguf`` model (``local`` extra).
    - An object with ``encode`` and ``decode`` (transformers, tokenizers, tiktoken, your own) keeps its own defaults.

    ``encode`` adds the special tokens that ``tokenizer.json`` asks for (a BOS token, for many models) and reads special
    tokens written in the text as such. What ``tokenizer_config.json`` asks for is not looked at: DeepSeek's models get
    their BOS token from the chat template, and none from ``encode``. ``decode`` keeps special tokens unless
    ``skip_special_tokens=True`` is given. Both do as the official SDK's tokenizer does. The 32 tokenizers used last are
    kept. Safe to call from many threads: they wait for one load instead of repeating it.

    Raises ``TokenizerError`` when there is no tokenizer to be had, ``TypeError`` for an object that is none.
    """
    if isinstance(model_or_tokenizer, os.PathLike):
        return _from_path(pathlib.Path(model_or_tokenizer))
    if not isinstance(model_or_tokenizer, str):
        return adapt(model_or_tokenizer)
    path = pathlib.Path(model_or_tokenizer).expanduser()
    if _looks_like_path(model_or_tokenizer) or path.is_dir():
        return _from_path(path)
    return _from_name(model_or_tokenizer, revision)


def model_tokenizer(model: str, *, revision: str | None = None) -> Tokenizer:
    """Return the tokenizer of a model's name, as `get_tokenizer` does, but never take the name for a path.

    For names that a server or a file of rows has given. Raises ``TokenizerError`` for what is no such name.
    """
    return _from_name(model, revision)


def tokenizer_at_hand(model: str) -> Tokenizer | None:
    """Return the tokenizer of a model's name if this machine has it already, else None; the network is not asked."""
    repository = tokenizer_repository(model)
    if not _NAME.fullmatch(repository):
        return None
    if repository == _TOY:
        return model_tokenizer(model)
    embedded = repository == _EMBEDDED_MODEL and _embedded_file() is not None
    return (
        model_tokenizer(model) if embedded or HubFiles(model, repository, None).has_cached("tokenizer.json") else None
    )


def tokenizer_repository(model: str) -> str:
    """Return the repository that holds a model's tokenizer.

    >>> tokenizer_repository("Qwen/Qwen3-8B/fast-variant:latest")
    'Qwen/Qwen3-8B'
    >>> tokenizer_repository("meta-llama/Llama-3.1-8B")
    'thinkingmachineslabinc/meta-llama-3-instruct-tokenizer'
    """
    name = model.partition(":")[0]
    if name.startswith(_LLAMA_3):
        return _LLAMA_3_PUBLIC
    return name.rpartition("/")[0] if name.count("/") == 2 else name


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text.endswith((".json", ".gguf"))


def _from_path(path: pathlib.Path) -> Tokenizer:
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        stat = file.stat()
    except OSError as error:
        raise TokenizerError(f"No tokenizer at {file}: {error.strerror}.{_other_formats(path)}") from None
    key = (str(file.absolute()), stat.st_mtime_ns, stat.st_size)
    return _LOADS.get(key, lambda: _load_gguf(file) if file.suffix == ".gguf" else _load_file(file))


def _other_formats(path: pathlib.Path) -> str:
    found = [name for name in _OTHER_FORMATS if (path / name).exists()]
    return f" There is {', '.join(found)}: {_BRING_YOUR_OWN}." if found else ""


def _load_file(file: pathlib.Path) -> Tokenizer:
    return load_json(str(file), file, ModelDirectory(file.parent))


def _load_gguf(file: pathlib.Path) -> Tokenizer:
    # Looked up by name, since the embedded model stands above this module and need not be installed.
    try:
        return adapt(importlib.import_module("tinkex.local").load_tokenizer(file))
    except ImportError as error:
        raise TokenizerExtraError(
            f"The tokenizer of {file} needs an extra. Run: pip install 'tinkex[local]'"
        ) from error


def _from_name(model: str, revision: str | None) -> Tokenizer:
    repository = tokenizer_repository(model)
    if not _NAME.fullmatch(repository):
        raise TokenizerError(f"{shown(model)} is neither a model name (organisation/model) nor an existing path.")
    if repository.startswith(_OWN_FORMAT):
        raise TokenizerError(
            f"{model} has a tokenizer of its own kind, which is not a tokenizer.json: {_BRING_YOUR_OWN}."
        )
    return _LOADS.get((repository, revision), lambda: _load_name(model, repository, revision))


def _load_name(model: str, repository: str, revision: str | None) -> Tokenizer:
    if repository == _TOY:
        return _toy()
    if repository == _EMBEDDED_MODEL and revision is None and (file := _embedded_file()) is not None:
        return _load_gguf(file)
    hub = HubFiles(model, repository, revision)
    found = hub.file("tokenizer.json")
    if found is None:
        raise TokenizerError(
            f"{hub} is not a tokenizer.json, and code from the repository is not run: {_BRING_YOUR_OWN}."
        )
    return load_json(repository, found, hub)


def _toy() -> Tokenizer:
    # Looked up by name, as what stands above this module.
    try:
        return adapt(importlib.import_module("tinkex.testing").ToyTokenizer())
    except ImportError as error:
        raise TokenizerError(f"The tokenizer {_TOY} is part of tinkex.testing. {error}") from None


def _embedded_file() -> pathlib.Path | None:
    # Another file that the user has chosen for the local server is another model than the one named.
    environ = {name: value for name, value in os.environ.items() if name != "TINKEX_GGUF"}
    try:
        found: pathlib.Path | None = importlib.import_module("tinkex.local").find_model(environ=environ)
    except ImportError:
        return None
    return found
