"""Byte-level BPE tokenizer built from the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import GgufFile, read_gguf
from tinkex.local.vocabulary import Vocabulary

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
#: How text is cut before it is merged, by the file's name for it: an expression, or None for GPT-2's own.
_CUTS = {
    "gpt-2": None,
    "default": None,
    "smollm": None,
    "llama-bpe": _LLAMA3,
    "qwen2": _LLAMA3.replace("{1,3}", ""),
}


#: Special tokens as templates name them, and as the file format does.
_SPECIAL_NAMES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "sep": "seperator", "cls": "cls"}


class GgufTokenizer:
    """Byte-level BPE tokenizer of a GGUF file; safe to share between threads.

    `name` is the file's name for the way it cuts text, `chat_template` the model's template for conversations (several
    by name, or None), `special_tokens_map` has the special tokens under the names that templates use, and `end_ids` are
    the tokens that end an answer.
    """

    def __init__(self, model: GgufFile) -> None:
        vocabulary = Vocabulary(model)
        self.name = str(model.metadata.get("tokenizer.ggml.pre", "default"))
        self.chat_template = _chat_template(model)
        self.special_tokens_map = _special_tokens(model, vocabulary)
        self.end_ids = vocabulary.end_ids
        self._file = model.path.name
        self._first = _first_ids(model)
        self._inner = _build(vocabulary, model, self.name)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Turn text into token ids; special tokens written in the text are read as such.

        *add_special_tokens* puts the token that begins a text in front, for a model that has one.
        """
        return [*(self._first if add_special_tokens else ()), *self._inner.encode(text).ids]

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Turn token ids into text, special tokens included unless they are to be skipped."""
        return str(self._inner.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def __repr__(self) -> str:
        return f"<tokenizer of {self._file}>"


def load_tokenizer(path: str | Path) -> GgufTokenizer:
    """Build the tokenizer that a GGUF file describes; needs the `tokenizers` package.

    Raises:
        LocalError: The file cannot be read, or its tokenizer is of a kind that is not known here.
    """
    return GgufTokenizer(read_gguf(path))


def _chat_template(model: GgufFile) -> str | Mapping[str, str] | None:
    named = {
        name: model.metadata.get(f"tokenizer.chat_template.{name}")
        for name in model.metadata.get("tokenizer.chat_templates", ())
    }
    usual: str | None = model.metadata.get("tokenizer.chat_template")
    found = {name: text for name, text in {**named, "default": usual}.items() if text is not None}
    return found if named else usual


def _special_tokens(model: GgufFile, vocabulary: Vocabulary) -> dict[str, str]:
    ids = {name: model.metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL_NAMES.items()}
    return {f"{name}_token": vocabulary.texts[token] for name, token in ids.items() if token is not None}


def _first_ids(model: GgufFile) -> Sequence[int]:
    metadata = model.metadata
    return [metadata["tokenizer.ggml.bos_token_id"]] if metadata.get("tokenizer.ggml.add_bos_token") else []


def _build(vocabulary: Vocabulary, model: GgufFile, name: str) -> Any:
    if name not in _CUTS:
        raise LocalError(f"{model.path} cuts text in the way {name!r}; known are {', '.join(sorted(_CUTS))}.")
    from tokenizers import AddedToken, Tokenizer, decoders, models

    ids = {text: token for token, text in enumerate(vocabulary.texts)}
    pairs = [_pair(merge) for merge in model.metadata["tokenizer.ggml.merges"]]
    inner = Tokenizer(models.BPE(ids, pairs, ignore_merges=name == "llama-bpe"))
    inner.pre_tokenizer = _cutter(name)
    inner.decoder = decoders.ByteLevel()
    for token, control in vocabulary.special.items():
        added = AddedToken(vocabulary.texts[token], normalized=False, special=control)
        (inner.add_special_tokens if control else inner.add_tokens)([added])
    return inner


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _cutter(name: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    cut = _CUTS[name]
    if cut is not None:
        split = pre_tokenizers.Split(Regex(cut), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    return byte_level
