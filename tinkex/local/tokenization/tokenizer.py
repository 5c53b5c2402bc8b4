"""Byte-level BPE tokenizer built from the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinkex._validation.public_names import with_public_names
from tinkex.local.errors import LocalError
from tinkex.local.log import warn_once
from tinkex.local.model.gguf_file import GgufFile, read_gguf
from tinkex.local.tokenization.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from tinkex.local.tokenization.vocabulary import Vocabulary

#: Special tokens as templates name them, and as the file format does.
_SPECIAL_NAMES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "sep": "seperator", "cls": "cls"}


@with_public_names
class GgufTokenizer:
    """Byte-level BPE tokenizer of a GGUF file; safe to share between threads.

    `name` is the file's name for the way it cuts text, `chat_template` the model's template for conversations (several
    by name, or None), `special_tokens_map` has the special tokens under the names that templates use, and `end_ids` are
    the tokens that end an answer.
    """

    def __init__(self, model: GgufFile) -> None:
        vocabulary = Vocabulary(model)
        self.name: str = str(model.metadata.get("tokenizer.ggml.pre") or "default")
        self.chat_template: str | Mapping[str, str] | None = _chat_template(model)
        self.special_tokens_map: dict[str, str] = _special_tokens(model, vocabulary)
        self.end_ids: frozenset[int] = vocabulary.end_ids
        self._file = model.path.name
        rule = _pre_tokenizer(model, self.name)
        self._first = _added_ids(model, vocabulary, "bos", default=rule.add_bos)
        self._last = _added_ids(model, vocabulary, "eos", default=False)
        self._inner = _build(vocabulary, model, rule)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Turn text into token ids; special tokens written in the text are read as such.

        *add_special_tokens* adds BOS and EOS where the file asks for them, or its pre-tokenizer does by default.
        """
        ids: list[int] = self._inner.encode(text).ids
        return [*self._first, *ids, *self._last] if add_special_tokens else ids

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
    ids = {name: vocabulary.special_id(model, key) for name, key in _SPECIAL_NAMES.items()}
    return {f"{name}_token": vocabulary.texts[token] for name, token in ids.items() if token is not None}


def _pre_tokenizer(model: GgufFile, name: str) -> PreTokenizer:
    if name not in PRE_TOKENIZERS:
        raise LocalError(f"{model.path} cuts text in the way {name!r}; known are {', '.join(sorted(PRE_TOKENIZERS))}.")
    if not model.metadata.get("tokenizer.ggml.pre"):
        warn_once(
            f"{model.path} does not name its pre-tokenizer (tokenizer.ggml.pre). Text is split by llama.cpp's default,"
            " which may not be the one that the model was trained with."
        )
    return PRE_TOKENIZERS[name]


def _added_ids(model: GgufFile, vocabulary: Vocabulary, name: str, *, default: bool) -> Sequence[int]:
    """The id of BOS or EOS where texts are to have it."""
    if not model.metadata.get(f"tokenizer.ggml.add_{name}_token", default):
        return ()
    token = vocabulary.special_id(model, name)
    if token is None:
        raise LocalError(
            f"{model.path} asks for a {name.upper()} token, but does not have the key tokenizer.ggml.{name}_token_id."
        )
    return (token,)


def _build(vocabulary: Vocabulary, model: GgufFile, rule: PreTokenizer) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models

    pairs = [_pair(merge) for merge in model.require("tokenizer.ggml.merges")]
    try:
        inner = Tokenizer(models.BPE(vocabulary.ids, pairs, ignore_merges=rule.whole_words))
    except Exception as error:  # the package raises plain ones
        raise LocalError(f"{model.path} has tokenizer.ggml.merges that do not fit its tokens: {error}") from error
    inner.pre_tokenizer = rule.build()
    inner.decoder = decoders.ByteLevel()
    for token, control in vocabulary.special.items():
        added = AddedToken(vocabulary.texts[token], normalized=False, special=control)
        (inner.add_special_tokens if control else inner.add_tokens)([added])
    return inner


def _pair(merge: str) -> tuple[str, str]:
    middle = merge.find(" ", 1)  # a piece may begin with a space
    return merge[:middle], merge[middle + 1 :]
